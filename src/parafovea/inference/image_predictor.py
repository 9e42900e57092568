"""Predictor of windows by a network of another project, which takes the voxels alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from parafovea.errors import ModelError
from parafovea.geometry.grid import Box
from parafovea.inference.finite_scores import require_finite_scores
from parafovea.inference.sample_inputs import RegionInputs
from parafovea.models.activation import activated
from parafovea.models.networks.image_network import ImageNetwork
from parafovea.settings.inference import EngineName
from parafovea.settings.recipe import ModelSpec

#: How far beyond 0 and 1 rounding takes probabilities that a network computes by itself.
ROUNDING = 1e-3


class ImagePredictor:
    """Predictor of the class probabilities of windows.

    Every forward pass has the same batch size, so that a window's result does not depend on the
    number of remaining windows.

    Parameters
    ----------
    network : ImageNetwork
        The network.
    spec : ModelSpec
        Description of the model.
    device : torch.device
        Device to run on.
    dtype : torch.dtype
        Precision, from `ImageNetwork.precision`.
    batch_size : int
        Windows per forward pass, unless the network takes a fixed number.
    engine : str
        Engine of the network.
    flipped : sequence of int
        Axes z, y, x, by number, along which the network sees windows the other way.
    """

    def __init__(
        self,
        network: ImageNetwork,
        spec: ModelSpec,
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int = 1,
        engine: EngineName = "torch",
        flipped: Sequence[int] = (),
    ) -> None:
        self.batch_size = batch_size
        self._network, self._spec = network, spec
        self._device, self._dtype = device, dtype
        self._flipped = [2 + axis for axis in flipped]
        self._passed = network.spec.fixed_batch or batch_size
        self._run = network.runner(device, dtype, engine)
        self._mean = self._per_channel(network.spec.mean or (0.0,))
        self._deviation = self._per_channel(network.spec.deviation or (1.0,))

    @torch.inference_mode()
    def __call__(self, region: RegionInputs, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Return the probabilities of windows.

        Parameters
        ----------
        region : RegionInputs
            Voxels of a region that contains the windows with the network's margin.
        boxes : sequence of Box
            Windows of equal shape, without the margin.

        Returns
        -------
        ndarray
            (window, class, z, y, x) float32 in [0, 1]; those of exclusive classes sum to 1.

        Raises
        ------
        ScoreError
            If a score is not finite.
        ModelError
            If the output is not what `model.json` says of it.
        """
        images = self.images(region, boxes)
        starts = range(0, len(images), self._passed)
        passes = [self._scores(images[first : first + self._passed]) for first in starts]
        scores = torch.cat(passes) if len(passes) > 1 else passes[0]
        scores = self._on_voxels(scores, boxes[0].shape)
        require_finite_scores(scores, boxes, precision=self._dtype)
        bands = images[:, list(self._spec.base)] if self._spec.base else None
        values = self._probabilities(scores, None if bands is None else self._inside(bands))
        result: NDArray[np.float32] = values.contiguous().cpu().numpy()
        return result

    def images(self, region: RegionInputs, boxes: Sequence[Box]) -> Tensor:
        """Return the normalized voxels of windows with their margin, (window, channel, z, y, x)."""
        margin = self._spec.margin
        windows = [region.raw_window(box.expanded(margin)) for box in boxes]
        values = np.stack([window for window in windows if window is not None]).astype(np.float32)
        if not self._spec.bands:
            values = values[:, None]
        return torch.from_numpy(values).to(self._device)

    def _per_channel(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, -1, 1, 1, 1)

    def _scores(self, images: Tensor) -> Tensor:
        """Return the output for at most a full batch, (window, channel, z, y, x) float32."""
        taken = ((images - self._mean) / self._deviation).flip(self._flipped)
        flat = self._network.spec.dimensions == 2
        if flat:
            taken = taken.squeeze(2)
        missing = self._passed - len(taken)
        filled = torch.cat([taken, taken.new_zeros(missing, *taken.shape[1:])])
        returned = self._run(self._network.ordered(filled).contiguous())
        found = self._network.selected(returned)[: len(taken)].float()
        return (found.unsqueeze(2) if flat else found).flip(self._flipped)

    def _on_voxels(self, scores: Tensor, shape: Sequence[int]) -> Tensor:
        """Return scores at the voxels of the windows, interpolated from a coarser output."""
        network = self._network.spec
        wanted = tuple(n // stride for n, stride in zip(shape, network.stride, strict=True))
        found = tuple(scores.shape[2:])
        if found != wanted:
            raise ModelError(
                f"{self._spec.name}: a window of {tuple(shape)} voxels gives an output of {found}, "
                f"but with the margin {network.margin} and the stride {network.stride} in "
                f"model.json it must be {wanted}: import the network again, and state them"
            )
        if found == tuple(shape):
            return scores
        return interpolate(scores, size=tuple(shape), mode="trilinear", align_corners=False)

    def _inside(self, images: Tensor) -> Tensor:
        """Return images without the margin."""
        z, y, x = self._spec.margin
        return pad(images, (-x, -x, -y, -y, -z, -z))

    def _probabilities(self, scores: Tensor, base: Tensor | None) -> Tensor:
        """Return the probabilities of the classes in their order."""
        network, activation = self._network.spec, self._spec.activation
        chosen = list(network.selected)
        if activation == "residual":
            return activated(scores[:, chosen], activation, base)
        values = activated(scores, activation)[:, chosen]
        if activation == "none" and not self._spec.output_bands:
            self._require_probabilities(values)
        values = values.clamp(0, 1)
        if network.complement:
            rest = (1 - values.sum(dim=1, keepdim=True)).clamp(0, 1)
            values = torch.cat([rest, values], dim=1)
        return values

    def _require_probabilities(self, values: Tensor) -> None:
        low, high = float(values.min()), float(values.max())
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise ModelError(
                f"{self._spec.name}: the output reaches from {low:g} to {high:g}, so that it is "
                "scores and not probabilities: import the network with --activation softmax or "
                "sigmoid"
            )
