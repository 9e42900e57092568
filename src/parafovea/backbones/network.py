"""One tensor of a network of another project, as features of the planes or blocks of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from parafovea.backbones.backbone import fingerprint_of, token_shape
from parafovea.backbones.network_graph import Graph, computed, open_folder
from parafovea.errors import GridError, ModelError
from parafovea.geometry.grid import Shape, shape3
from parafovea.geometry.resample import reflected_indices
from parafovea.runtime.kept_objects import kept
from parafovea.settings.backbones.network import NetworkArguments

#: The axis across each plane.
ACROSS = {"xy": 0, "xz": 1, "yz": 2}


class NetworkFeatures:
    """Backbone `network`; see `Backbone` for its attributes.

    A token depends on the voxels within the reach that the import found, which the halo of a block
    holds, so that the size of a block changes nothing. Where the import found none, such as behind
    a mean over the whole image, a token depends on its window: all windows then have one size and
    lie on one lattice from the start of the view, and the borders of a window are discarded.

    A network of planes computes those through the centres of tokens: of the s slices that a token
    spans, number (s - 1) // 2.

    Parameters
    ----------
    arguments : NetworkArguments
        Folder, planes, bands, gain, tile, batch size.
    bands : sequence of str
        Names of the bands of a block (band, z, y, x); empty for blocks of one channel, which all
        channels of the network see.
    device : str
        Device to compute on; always in float32.

    Raises
    ------
    ModelError
        If the folder is incomplete or was changed, or the bands do not fit.
    MissingExtraError
        If the engine of the graph is not installed.
    """

    def __init__(
        self, arguments: NetworkArguments, *, bands: Sequence[str] = (), device: str = "cpu"
    ) -> None:
        self._arguments = arguments
        self._facts = facts = arguments.description
        self._folder = Path(arguments.weights).expanduser()
        self._bands = list(arguments.band_indices(bands))
        self._gain = facts.gain if arguments.gain is None else arguments.gain
        self._planes = tuple(arguments.planes.split("+")) if facts.dimensions == 2 else ()
        self.channels = tuple(f"{facts.name}_{n:04d}" for n in range(facts.features))
        self.stride: Shape = arguments.strides(3)
        self.halo: Shape = self._spread(facts.halo)
        self.tile: Shape = self._tile()
        self._device = torch.device(device)
        self._graph = self._opened()
        self.fingerprint = fingerprint_of(
            "network",
            sha256=facts.sha256,
            description=facts.model_dump(mode="json", exclude={"upstream", "gain", "name"}),
            arguments={
                "planes": self._planes,
                "stride": self.stride,
                "bands": self._bands,
                "gain": self._gain,
            },
        )

    def to(self, device: str) -> Self:
        """Open the graph on another device and return this backbone."""
        self._device = torch.device(device)
        self._graph = self._opened()
        return self

    def _opened(self) -> Graph:
        return kept(
            ("network", str(self._device)),
            self._folder,
            lambda: open_folder(self._folder, self._facts, self._device),
        )

    @torch.inference_mode()
    def __call__(self, block: Tensor) -> Tensor:
        """Return the tokens of a block; see `Backbone.__call__`."""
        shape = token_shape(block.shape[-3:], stride=self.stride, halo=self.halo)
        voxels = self._taken(block.to(self._device, torch.float32))
        if not self._planes:
            return self._tokens(voxels[None], (0, 1, 2), shape)[0]
        total = torch.zeros((len(self.channels), *shape), device=self._device)
        for plane in self._planes:
            axis = ACROSS[plane]
            rows, columns = (n for n in range(3) if n != axis)
            step, halo = self.stride[axis], self.halo[axis]
            # the planes through the centres of tokens, as images (plane, channel, row, column)
            seen = voxels.movedim(axis + 1, 0)[halo + (step - 1) // 2 :: step][: shape[axis]]
            found = self._tokens(seen, (rows, columns), (shape[rows], shape[columns]))
            total += found.movedim(0, axis + 1)
        return total / len(self._planes)

    def _taken(self, block: Tensor) -> Tensor:
        """Return a block as the network takes it, (channel, z, y, x)."""
        facts = self._facts
        seen = block[self._bands] if self._bands else block[None]
        if self._gain != 1:
            seen = (seen * self._gain).clamp(0, 1)
        seen = seen.expand(facts.input_channels, *block.shape[-3:])
        mean, deviation = (
            seen.new_tensor(values).view(-1, 1, 1, 1) for values in (facts.mean, facts.deviation)
        )
        return (seen - mean) / deviation

    def _tokens(self, images: Tensor, axes: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Return tokens (image, feature, ...) of images (image, channel, ...) with their halo.

        `axes` are those of the volume that the axes of an image are.
        """
        facts, flat = self._facts, self._facts.dimensions == 2
        # a plane's rows and columns are y and x for the network, whatever they are of the volume
        own = (1, 2) if flat else (0, 1, 2)
        block = [1, 1, 1]
        for axis, count in zip(own, tokens, strict=True):
            block[axis] = count * facts.stride[axis]
        window = facts.window_of(shape3(block))
        for place, (axis, taken) in enumerate(zip(own, axes, strict=True), 2):
            if facts.reach is None and block[axis] > facts.block[axis]:
                raise GridError(
                    f"a block of {block[axis]} voxels is larger than the window of {facts.window} "
                    f"of {self._arguments.weights} without its margins: use at most "
                    f"{facts.block[axis]}"
                )
            start = self.halo[taken] - facts.before[axis]
            images = images.narrow(place, start, images.shape[place] - start)
            images = _mirrored(images, place, window[axis])
        found = self._batched(images)
        for place, (axis, count) in enumerate(zip(own, tokens, strict=True), 2):
            found = found.narrow(place, facts.skipped[axis], count)
        return found

    def _batched(self, images: Tensor) -> Tensor:
        fixed = self._facts.fixed_batch
        size = fixed or (self._arguments.batch_size if self._facts.dimensions == 2 else 1)
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size].contiguous()
            if fixed and len(part) < fixed:
                part = torch.cat([part, part[-1:].expand(fixed - len(part), *part.shape[1:])])
            found = computed(self._graph, part, self._arguments.weights).to(self._device)
            wanted = (len(part), len(self.channels))
            if tuple(found.shape[:2]) != wanted or found.ndim != part.ndim:
                raise ModelError(
                    f"{self._arguments.weights} gives {tuple(found.shape)} for an input of "
                    f"{tuple(part.shape)}, but must give {wanted} and one axis for each of its "
                    "others: import it again"
                )
            parts.append(found[: min(size, len(images) - start)])
        return torch.cat(parts)

    def _spread(self, halo: Shape) -> Shape:
        """Return the halo of a block: for planes of all axes, that of a plane along each."""
        if self._planes and len(self._planes) > 1:
            return (max(halo),) * 3
        return halo

    def _tile(self) -> Shape:
        sides = self._arguments.block
        if not self._planes:
            return sides
        if len(self._planes) > 1:
            return (min(sides[1:]),) * 3
        return self._arguments.plane_step * self._arguments.batch_size, sides[1], sides[2]


def _mirrored(images: Tensor, axis: int, size: int) -> Tensor:
    """Return images of a size along an axis: cut at the end, or mirrored there."""
    count = images.shape[axis]
    if count >= size:
        return images.narrow(axis, 0, size)
    places = torch.from_numpy(reflected_indices(0, size, count)).to(images.device)
    return images.index_select(axis, places)
