"""Predictor of windows: a network on a device with precision, memory format and batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parafovea.geometry.grid import Box
from parafovea.geometry.resample import AxisWeights
from parafovea.inference.engines import make_engine
from parafovea.inference.finite_scores import (
    first_layer,
    require_finite_layers,
    require_finite_scores,
)
from parafovea.inference.sample_inputs import RegionInputs
from parafovea.models.activation import activated, filtered
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.inference_unet import InferenceUNet
from parafovea.models.token_sampling import Weights, project, project_local
from parafovea.runtime.devices import keep_buffers
from parafovea.settings.inference import EngineName
from parafovea.settings.networks import Activation


class _Parts(NamedTuple):
    """Inputs projected together: tokens with their weights, and voxels ([band,] z, y, x)."""

    features: tuple[NDArray[Any], Weights]
    raw: NDArray[Any] | None
    context: tuple[NDArray[Any], Weights] | None


class Predictor:
    """Predictor of the class probabilities of windows.

    Every forward pass has the same batch size, so that a window's result does not depend on the
    number of remaining windows.

    Parameters
    ----------
    network : FusedUNet
        Network in evaluation mode.
    device : torch.device
        Device to run on.
    dtype : torch.dtype
        Precision of its convolutions: float32 or a half precision.
    batch_size : int
        Windows per forward pass.
    batch_statistics : bool
        Normalize by the statistics of the batch instead of the network's own. Batches are then not
        padded, and a window's result depends on the others in its batch.
    engine : {"torch", "openvino"}
        Engine of the network.
    compiled : bool
        Whether to use torch.compile.
    activation : {"softmax", "sigmoid", "residual"}
        `activation` of the recipe.
    base : sequence of int
        `base` of the recipe: the bands that a residual is added to.
    caution : float
        `caution` of the inference settings.
    tells_trust : bool
        Return also the trust, as a further channel; for scores that filter.

    Raises
    ------
    MissingExtraError
        If OpenVINO is selected but not installed.
    ModelError
        If a layer is not finite in this precision.
    """

    def __init__(
        self,
        network: FusedUNet,
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int = 1,
        batch_statistics: bool = False,
        engine: EngineName = "torch",
        compiled: bool = False,
        activation: Activation = "softmax",
        base: Sequence[int] = (),
        caution: float = 1.0,
        tells_trust: bool = False,
    ) -> None:
        self.activation: Activation = activation
        self._base = list(base)
        self._caution = caution
        self._tells_trust = tells_trust
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.flat = network.dimensions == 2
        # Projections of tokens stay in float32, as does interpolation except along its last axis.
        self._projections = network.eval().to(device)
        prepared = InferenceUNet(network, batch_statistics=batch_statistics)
        self._filled = not batch_statistics
        # Channels-last is the faster format for both oneDNN and cuDNN.
        order = torch.channels_last if self.flat else torch.channels_last_3d
        self.network = prepared.to(device, dtype).to(memory_format=order)  # type: ignore[call-overload]
        require_finite_layers(self.network, dtype)
        self.engine = make_engine(engine, network, self.network, dtype=dtype, compiled=compiled)
        keep_buffers()

    @torch.inference_mode()
    def __call__(self, region: RegionInputs, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Return the probabilities of at most `batch_size` windows.

        Parameters
        ----------
        region : RegionInputs
            Inputs of a region that contains the windows.
        boxes : sequence of Box
            Windows of equal shape.

        Returns
        -------
        ndarray
            (window, class, z, y, x) float32 in [0, 1]; after a softmax, classes sum to 1.

        Raises
        ------
        ScoreError
            If a score is not finite.
        """
        inputs = self.assemble(region, boxes)
        scores = self.engine.logits(*inputs)[: len(boxes)].float()
        if self.flat:
            scores = scores.unsqueeze(2)
        require_finite_scores(
            scores,
            boxes,
            precision=self.dtype,
            origin=lambda: first_layer(self.network, inputs),
        )
        bands = self._bands(region, boxes)
        if self._tells_trust and bands is not None:
            values = torch.cat(filtered(scores, bands, caution=self._caution), dim=1)
        else:
            values = activated(scores, self.activation, bands, caution=self._caution)
        result: NDArray[np.float32] = values.contiguous().cpu().numpy()
        return result

    @torch.inference_mode()
    def assemble(
        self, region: RegionInputs, boxes: Sequence[Box]
    ) -> tuple[Tensor, list[Tensor] | None, Tensor | None]:
        """Return the network's inputs for a batch of windows.

        Parameters
        ----------
        region : RegionInputs
            Inputs of a region that contains the windows.
        boxes : sequence of Box
            At most `batch_size` windows of equal shape.

        Returns
        -------
        features : Tensor
            (N, base_channels, [z,] y, x), projected local input; N is `batch_size`, or with
            `batch_statistics` the number of windows.
        guides : list of Tensor or None
            Context at each level; None without context.
        conditions : Tensor or None
            (N, channel), if the network takes conditions.
        """
        if self._together(region, boxes):
            # Planes at the same position are stacked to a volume and projected together.
            filled = [*boxes, *[boxes[-1]] * (self.batch_size - len(boxes))]
            features, levels = self._projected(_stacked(region, filled))
            guides = [level.transpose(0, 1) for level in levels]
            features = features.transpose(0, 1)
        else:
            windows = [self._projected(_single(region, box)) for box in boxes]
            features = self._batch([local for local, _ in windows])
            guides = [self._batch(list(w)) for w in zip(*[w for _, w in windows], strict=True)]
        conditions = self._conditions(region, boxes, len(features))
        return features, None if region.context is None else guides, conditions

    def _together(self, region: RegionInputs, boxes: Sequence[Box]) -> bool:
        """Return whether windows are whole planes, independently of other windows."""
        features = region.tokens
        if not (self.flat and self._filled) or features.sampler.zoom is not None:
            return False
        _, y, x = features.sampler.local.shape
        blocks = [block for block in (features, region.context) if block is not None]
        return all(
            max(box.start[1:]) <= 0
            and box.stop[1] >= y
            and box.stop[2] >= x
            and all(block.sampler.weights(box)[0].matrix.shape == (1, 1) for block in blocks)
            for box in boxes
        )

    def _conditions(self, region: RegionInputs, boxes: Sequence[Box], count: int) -> Tensor | None:
        """Return the conditions of windows, (count, channel), zero for padding."""
        if region.conditions is None:
            return None
        known = np.stack([region.condition(box) for box in boxes])
        filled = np.zeros((count, known.shape[1]), np.float32)
        filled[: len(known)] = known
        return torch.from_numpy(filled).to(self.device, self.dtype)

    def _bands(self, region: RegionInputs, boxes: Sequence[Box]) -> Tensor | None:
        """Return the bands that a residual is added to, (window, band, z, y, x) float32."""
        if self.activation != "residual":
            return None
        windows = [region.raw_window(box) for box in boxes]
        bands = np.stack([window[self._base] for window in windows if window is not None])
        return torch.from_numpy(bands).to(self.device, torch.float32)

    def _projected(self, parts: _Parts) -> tuple[Tensor, list[Tensor]]:
        """Return the projected local input and the context at each level."""
        tokens, weights = parts.features
        voxels = None if parts.raw is None else self._moved(parts.raw)
        local = project_local(
            self._projections, self._moved(tokens), weights, voxels, dtype=self.dtype
        )
        if parts.context is None:
            return local, []
        values, weights = parts.context
        tokens_wide = self._moved(values)
        views = []
        for level, guide in enumerate(self.network.guides):
            factors = (1 if self.flat else 2**level, 2**level, 2**level)
            z, y, x = (along.pooled(f) for along, f in zip(weights, factors, strict=True))
            views.append(project(tokens_wide, guide, (z, y, x), dtype=self.dtype))
        return local, views

    def _moved(self, values: NDArray[np.float16]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def _batch(self, windows: list[Tensor]) -> Tensor:
        """Stack windows (channel, z, y, x) to a full batch in channels-last format.

        With batch statistics, the batch is not padded.
        """
        last = [window.permute(1, 2, 3, 0).to(self.dtype) for window in windows]
        if self._filled:
            last += [torch.zeros_like(last[0])] * (self.batch_size - len(windows))
        batch = torch.stack(last) if len(last) > 1 else last[0][None]
        return batch.squeeze(1).permute(0, 3, 1, 2) if self.flat else batch.permute(0, 4, 1, 2, 3)


def _single(region: RegionInputs, box: Box) -> _Parts:
    """Return the parts of one window."""
    context = None if region.context is None else region.context.window(box)
    return _Parts(region.tokens.window(box), region.raw_window(box), context)


def _stacked(region: RegionInputs, boxes: Sequence[Box]) -> _Parts:
    """Return the parts of planes at the same position, stacked along z."""
    parts = [_single(region, box) for box in boxes]
    raw = [part.raw for part in parts if part.raw is not None]
    context = [part.context for part in parts if part.context is not None]
    return _Parts(
        _along_z([part.features for part in parts]),
        np.concatenate(raw, axis=-3) if raw else None,
        _along_z(context) if context else None,
    )


def _along_z(windows: Sequence[tuple[NDArray[Any], Weights]]) -> tuple[NDArray[Any], Weights]:
    _, y, x = windows[0][1]
    z = AxisWeights(0, np.eye(len(windows), dtype=np.float32))
    return np.concatenate([tokens for tokens, _ in windows], axis=1), (z, y, x)
