"""Sliding windows for imported upstream models: features computed for each window."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.backbones import load_backbone
from parafovea.backbones.upstream_dinov3 import CompatibleDinov3
from parafovea.errors import GridError, ModelError, ScoreError
from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.resample import read_reflected_array
from parafovea.inference.array_inputs import check_context, concentric_view
from parafovea.inference.finite_scores import all_finite
from parafovea.inference.sample_inputs import check_channels
from parafovea.models.activation import activated
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.token_sampling import Pointwise
from parafovea.settings.recipe import ModelSpec


class UpstreamModel:
    """A model of the upstream family with its transformer.

    Parameters
    ----------
    spec : ModelSpec
        An imported model.
    network : FusedUNet
        Its network.
    source : str
        Origin of the model, for messages.
    device : torch.device
        Device for the computation; in half precision on a GPU if the checkpoint was.

    Raises
    ------
    ModelError
        If the transformer's weights are not available, or its width does not match the network.
    """

    def __init__(
        self, spec: ModelSpec, network: FusedUNet, *, source: str, device: torch.device
    ) -> None:
        self.spec = spec
        self.source = source
        backbone = load_backbone(
            spec.backbone, spacing=spec.spacing, dimensions=3, device=str(device)
        )
        if not isinstance(backbone, CompatibleDinov3):
            raise ModelError(f"{source} has no compatibility mode: import its checkpoint again")
        if spec.context is not None and spec.context.backbone != spec.backbone:
            raise ModelError(
                f"{source} has other backbones for context ({spec.context.backbone}) than volume "
                f"({spec.backbone}), unlike any checkpoint: import its checkpoint again"
            )
        channels = len(backbone.channels)
        context = 0 if spec.context is None else channels
        check_channels(spec, features=channels, context=context, source=source)
        self.backbone = backbone
        self.device = device
        half = bool(spec.training.get("upstream", {}).get("half_precision"))
        self.dtype = torch.float16 if half and device.type == "cuda" else torch.float32
        self.local = _layer(network, "input_conv", device)
        self.wide = None if spec.context is None else _layer(network, "context_input_conv", device)
        self.network = network.to(device, self.dtype)

    def __call__(self, volume: NDArray[Any], context: NDArray[Any] | None) -> UpstreamVolume:
        """Return a prepared volume, with its context if given."""
        return UpstreamVolume(self, volume, context)


def _layer(
    network: FusedUNet, name: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a pointwise convolution in float32, for the projection of features."""
    weight, bias = Pointwise.of(network.get_submodule(name))
    return weight.detach().to(device, torch.float32), bias.detach().to(device, torch.float32)


class UpstreamVolume:
    """A volume prepared for an `UpstreamModel`; see `OpenedVolume`.

    Parameters
    ----------
    model : UpstreamModel
        The model.
    volume, context : ndarray
        (z, y, x), values of any range.

    Raises
    ------
    GridError
        If the context's shape does not fit the volume, or a finer volume is not a whole number of
        voxels of the result.
    """

    def __init__(
        self, model: UpstreamModel, volume: NDArray[Any], context: NDArray[Any] | None
    ) -> None:
        self._model = model
        self._volume = volume
        self._context = context
        compatibility = model.spec.backbone.arguments["compatibility"]
        self._fine = int(compatibility.get("oversampling", 1))
        if any(n % self._fine for n in volume.shape):
            raise GridError(
                f"volume has {volume.shape} voxels, but {model.source} takes {self._fine} along "
                f"each axis per voxel of its result: cut it to multiples of {self._fine}"
            )
        shape = shape3([n // self._fine for n in volume.shape])
        self.grid = Grid(shape, model.spec.spacing, unit=model.spec.unit)
        if context is not None:
            check_context(context, self.grid, model.spec, model.source)
        self._seconds = {"local_features_s": 0.0, "context_features_s": 0.0}

    def timing(self) -> dict[str, float]:
        """Return the seconds of the features by view."""
        if self._context is None:
            return {"local_features_s": self._seconds["local_features_s"]}
        return dict(self._seconds)

    @torch.inference_mode()
    def predict(self, box: Box) -> NDArray[np.float32]:
        """Return a window's probabilities, (class, z, y, x)."""
        model, size = self._model, box.shape
        fine = box.scaled((self._fine,) * 3)
        local = self._features(
            read_reflected_array(self._volume, fine), size, model.local, "local_features_s"
        )
        wide = None
        if self._context is not None and model.wide is not None:
            ratio = model.spec.context_ratio or (1.0, 1.0, 1.0)
            view = concentric_view(self._context, self.grid.shape, box, ratio)
            wide = self._features(view, size, model.wide, "context_features_s")
        logits = model.network.forward_projected(local, wide, size=size).float()
        if not all_finite(logits):
            raise ScoreError(
                f"scores of the window {box} are not finite, in {model.dtype}: check the volume's "
                f"values and the weights of {model.source}"
            )
        found = activated(logits, model.spec.activation)[0]
        result: NDArray[np.float32] = found.cpu().numpy()
        return result

    def _features(
        self,
        window: NDArray[Any],
        size: tuple[int, int, int],
        layer: tuple[torch.Tensor, torch.Tensor],
        name: str,
    ) -> torch.Tensor:
        started = time.perf_counter()
        features = self._model.backbone.features(window, size, layer=layer)
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        self._seconds[name] += time.perf_counter() - started
        features = features[None].to(self._model.dtype)
        if not all_finite(features):
            raise ScoreError(
                f"{name.removesuffix('_s').replace('_', ' ')} of {self._model.source} are not "
                f"finite, in {self._model.dtype}: check the volume's values and the weights of "
                "the transformer"
            )
        return features
