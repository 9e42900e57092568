"""Backbone `dinov3` as in DINOv3UNet3D: planes of a window, each normalized by itself.

Each plane of a window is resized to a square, its minimum and maximum are mapped to 0 and 255, and
the tokens are interpolated back to the window's voxels. A token therefore depends on the window:
this mode exists only to reproduce DINOv3UNet3D checkpoints.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.transform import resize

from parafovea.backbones.backbone import fingerprint_of, token_shape
from parafovea.backbones.huggingface import ACROSS, channel_names, patch_tokens
from parafovea.backbones.vision_weights import VisionModel
from parafovea.geometry.grid import Box, Shape, shape3
from parafovea.geometry.resample import read_reflected_array
from parafovea.settings.backbones.huggingface import Compatibility, HuggingfaceArguments

#: Windows with more planes than this per plane of the result are downsampled across the planes.
THINNED_BEYOND = 2.0


class CompatibleDinov3:
    """Backbone `dinov3` in compatibility mode; see `Backbone` for its attributes.

    Parameters
    ----------
    model : VisionModel
        A DINOv3 transformer with its configuration and statistics; moved to `device`.
    arguments : HuggingfaceArguments
        Planes, stride (voxels averaged into a stored token), batch size, compatibility.
    compatibility : Compatibility
        Size of a slice and of the window.
    device : str
        Device to compute on; bfloat16 autocast on CUDA, float32 elsewhere.
    """

    halo: Shape = (0, 0, 0)

    def __init__(
        self,
        model: VisionModel,
        arguments: HuggingfaceArguments,
        compatibility: Compatibility,
        *,
        device: str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._model = model
        model.network.to(self._device)
        self._levels = (model.config.last,)
        self._planes = tuple(arguments.planes.split("+"))
        self._batch = arguments.batch_size
        self._slice = compatibility.slice_size
        self.channels = channel_names(model, self._levels)
        self.stride: Shape = (arguments.voxels_per_token(model.config.multiple),) * 3
        self.tile: Shape = compatibility.window
        self.fingerprint = fingerprint_of(
            "dinov3",
            **model.identity,
            arguments={"planes": arguments.planes, "stride": self.stride},
            compatibility=compatibility.model_dump(mode="json"),
            statistics=[list(model.statistics.mean), list(model.statistics.std)],
        )

    def to(self, device: str) -> Self:
        """Move the network to another device and return this backbone."""
        self._device = torch.device(device)
        self._model.network.to(self._device)
        return self

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the means of the features over each token's voxels; see `Backbone.__call__`.

        The block is cut into windows from its first voxel on; a window that extends beyond the
        block is padded by reflection.
        """
        shape = token_shape(block.shape, stride=self.stride, halo=self.halo)
        voxels = block.cpu().numpy()
        total = torch.empty((len(self.channels), *shape), device=self._device)
        step = self.stride[0]
        for box in Box.whole(voxels.shape).tiles(self.tile):
            window = read_reflected_array(voxels, Box.sized(box.start, self.tile))
            tokens = self.features(window, self.tile, stride=step)
            place = Box(*(shape3([n // step for n in corner]) for corner in (box.start, box.stop)))
            kept = (slice(None), *Box.whole(place.shape).slices)
            total[(slice(None), *place.slices)] = tokens[kept]
        return total

    @torch.inference_mode()
    def features(
        self,
        window: NDArray[Any],
        shape: Shape,
        *,
        stride: int = 1,
        layer: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the features of a window, the mean of all its planes.

        Parameters
        ----------
        window : ndarray
            (z, y, x), any real type and range.
        shape : tuple of int
            Voxels of the result along z, y, x; fewer than the window's if the window is finer.
        stride : int
            Voxels of the result that are averaged along each axis; divides `shape`.
        layer : tuple of Tensor, optional
            (output, channel) weights and (output,) bias of a pointwise convolution that is applied
            to tokens, since it commutes with their interpolation.

        Returns
        -------
        torch.Tensor
            (channel or output, z, y, x) float32, `shape` divided by `stride`.
        """
        total: torch.Tensor | None = None
        for plane in self._planes:
            axis = ACROSS[plane]
            rows, columns = (shape[a] for a in range(3) if a != axis)
            planes = _planes(window, axis, shape[axis])
            for start in range(0, len(planes), self._batch):
                tokens = self._tokens(planes[start : start + self._batch])
                if layer is not None:
                    tokens = torch.einsum("oc,pcyx->poyx", layer[0], tokens)
                    tokens = tokens + layer[1][:, None, None]
                size = (rows, columns)
                full = F.interpolate(tokens, size=size, mode="bilinear", align_corners=False)
                if stride > 1:
                    full = F.avg_pool2d(full, stride) / stride
                if total is None:
                    size3 = [n // stride for n in shape]
                    total = torch.zeros((full.shape[1], *size3), device=self._device)
                places = torch.arange(start, start + len(full), device=self._device) // stride
                total.movedim(axis + 1, 0).index_add_(0, places, full)
        if total is None:
            raise AssertionError("a window has planes")
        return total.div_(len(self._planes))

    def _tokens(self, planes: NDArray[Any]) -> torch.Tensor:
        images = np.stack([_eight_bit(_square(plane, self._slice)) for plane in planes])
        grey = torch.from_numpy(images).to(self._device, torch.float32)[:, None] / 255
        return patch_tokens(self._model, grey, levels=self._levels)


def _planes(window: NDArray[Any], axis: int, count: int) -> NDArray[Any]:
    """Return `count` evenly spaced planes across an axis, after downsampling if there are many."""
    found = window.shape[axis]
    if found / count > THINNED_BEYOND:
        size = list(window.shape)
        size[axis] = count
        values = torch.from_numpy(window.astype(np.float32))[None, None]
        thin = F.interpolate(values, size=size, mode="trilinear", align_corners=False)[0, 0]
        window = thin.numpy().astype(window.dtype)
    chosen = np.linspace(0, window.shape[axis] - 1, count, dtype=int)
    return np.moveaxis(window, axis, 0)[chosen]


def _square(plane: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a plane (row, column) resized to `size` x `size`, anti-aliased when it shrinks."""
    if plane.shape == (size, size):
        return plane
    resized: NDArray[Any] = resize(plane, (size, size), preserve_range=True, anti_aliasing=True)
    return resized.astype(plane.dtype)


def _eight_bit(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a plane scaled from its minimum and maximum to 0 and 255, truncated to integers."""
    values = plane if plane.dtype in (np.uint8, np.uint16) else plane.astype(np.float32)
    low = values.min()
    span = values.max() - low + 1e-8
    grey: NDArray[np.uint8] = ((values - low) / span * 255).astype(np.uint8)
    return grey
