"""Inference on arrays in memory, without the workflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.errors import GridError, ModelError
from parafovea.geometry.grid import METRES, Box, Vector, vector3
from parafovea.geometry.windows import Layout
from parafovea.inference.array_inputs import OpenedVolume, checked_volume
from parafovea.inference.array_windows import CachedModel, blended
from parafovea.inference.blending import window_weights
from parafovea.inference.window_loop import windows_in_order
from parafovea.inference.window_plan import planned_layout
from parafovea.inference.window_predictors import Network
from parafovea.models.loading import load_network
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.runtime.devices import choose_device
from parafovea.runtime.optional_packages import extras_named
from parafovea.settings.inference import BlendingMode, InferenceSettings
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.recipe import ModelSpec
from parafovea.upstream.importing import open_upstream

logger = logging.getLogger(__name__)

Probabilities = NDArray[np.float32]
WindowPredictor = Callable[[Box], Probabilities]

DEGRADED = (
    "⚠️ WARNING: Model was trained with context fusion but no context_volume provided.\n"
    "           Inference may produce suboptimal results."
)


class VolumeInference:
    """A model for the prediction of arrays in memory.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model.
    network : FusedUNet or ImageNetwork
        Its network.
    source : str
        Origin of the model, for messages.
    device : torch.device
        Device for the computation.
    overlap : float or "auto"
        Overlap of windows as a share of a window; auto: as in the workflow, with automatic windows.
    blending : str
        Importance map of a window, see `blending.importance_map`.

    Attributes
    ----------
    model_config : dict
        Description of the model under the names of the upstream family's configs.
    training_config : dict
        Training settings, as far as the model records them.
    degraded : bool
        Whether the last prediction lacked the context that the model was trained with.
    timing : dict
        Seconds of the last prediction by part.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: Network,
        *,
        source: str,
        device: torch.device,
        overlap: float | Literal["auto"] = "auto",
        blending: BlendingMode = "gaussian",
    ) -> None:
        self.spec = spec
        self.source = source
        self.device = device
        self.settings = InferenceSettings(overlap=overlap, blending=blending)
        self.degraded = False
        self.timing: dict[str, float] = {}
        self.model_config = describe_model(spec)
        upstream = spec.training.get("upstream", {})
        self.training_config: dict[str, Any] = upstream.get("training_config", spec.training)
        self._open: Callable[[NDArray[Any], NDArray[Any] | None], OpenedVolume]
        if isinstance(network, FusedUNet) and spec.backbone.arguments.get("compatibility"):
            # an extra, which other models do without
            with extras_named():
                from parafovea.inference.upstream_windows import UpstreamModel

            self._open = UpstreamModel(spec, network, source=source, device=device)
        else:
            self._open = CachedModel(spec, network, source=source, device=device)

    def predict(
        self,
        volume: NDArray[Any],
        context_volume: NDArray[Any] | None = None,
        return_probabilities: bool = False,
        *,
        spacing: Vector | None = None,
        context_spacing: Vector | None = None,
    ) -> NDArray[Any] | tuple[NDArray[Any], Probabilities]:
        """Return the labels of a volume, by sliding window if it is larger than a window.

        Parameters
        ----------
        volume : ndarray
            (z, y, x), real numbers of any range, at the model's spacing.
        context_volume : ndarray, optional
            (z, y, x), context for a model with context fusion, ignored by others. Concentric
            context has as many voxels as `volume` around the same centre; registered context
            covers `volume` in fewer voxels.
        return_probabilities : bool
            Whether to also return the probabilities.
        spacing, context_spacing : tuple of float, optional
            Voxel sizes of both along z, y, x in the model's unit, checked against the model.

        Returns
        -------
        labels : ndarray
            (z, y, x) int64 class indices; for affinities and detection heatmaps (channel, z, y, x)
            float32 in [0, 1].
        probabilities : ndarray
            (class, z, y, x) float32; only with `return_probabilities`.

        Raises
        ------
        GridError
            If an array is not three-dimensional, or shapes or spacings do not fit the model.
        VoxelError
            If voxels are not real numbers, or are NaN or infinite.
        """
        voxels = checked_volume(volume, "volume")
        uses_context = self.spec.context is not None
        wide = None
        if uses_context and context_volume is not None:
            wide = checked_volume(context_volume, "context_volume")
        self._check_spacings(spacing, context_spacing)
        self.degraded = uses_context and wide is None
        if self.degraded:
            logger.warning(DEGRADED)
        opened = self._open(voxels, wide)
        layout = planned_layout(opened.grid.shape, self.spec, self.settings)
        started = time.perf_counter()
        probabilities = self._blended(opened.predict, layout)
        total = time.perf_counter() - started
        self.timing = {**opened.timing(), "windows": layout.lattice.size, "prediction_s": total}
        how = f" ({'without' if wide is None else 'with'} context)" if uses_context else ""
        shown = {name: round(value, 3) for name, value in self.timing.items()}
        logger.info("Feature extraction timing%s: %s", how, shown)
        labels: NDArray[Any] = probabilities
        if self.spec.yields_classes:
            labels = probabilities.argmax(axis=0)
        return (labels, probabilities) if return_probabilities else labels

    def _blended(self, predict: WindowPredictor, layout: Layout) -> Probabilities:
        """Return the weighted means of all windows' probabilities, (class, z, y, x)."""
        weights = window_weights(self.settings, layout.window)
        windows = ((box, predict(box)) for box in windows_in_order(layout))
        return blended(windows, layout, weights, classes=len(self.spec.classes))

    def _check_spacings(self, spacing: Vector | None, context_spacing: Vector | None) -> None:
        spec = self.spec
        factor = _oversampling(spec)
        wanted = {"spacing": (spacing, vector3([s / factor for s in spec.spacing]))}
        if spec.context is not None:
            wanted["context_spacing"] = (context_spacing, spec.context.spacing)
        for name, (given, own) in wanted.items():
            if given is not None and not np.allclose(given, own, rtol=1e-3):
                raise GridError(
                    f"{name} {tuple(given)} {spec.unit} differs from that of {self.source}, {own} "
                    f"{spec.unit}: load the volume with voxels of {own} {spec.unit}, then predict("
                    f"volume, ..., {name}={own})"
                )


def _oversampling(spec: ModelSpec) -> int:
    compatibility = spec.backbone.arguments.get("compatibility") or {}
    return int(compatibility.get("oversampling", 1))


def describe_model(spec: ModelSpec) -> dict[str, Any]:
    """Return a description of a model under the names of the upstream family's `model_config`.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model; the checkpoint's own entries come first in the result.
    """
    if not isinstance(spec.network, FusedUNetSpec):
        return {
            "model_type": spec.network.type,
            "num_classes": len(spec.classes),
            "input_size": spec.window,
            "input_channels": spec.input_channels,
            "learn_upsampling": False,
            "use_orthogonal_planes": False,
            "use_half_precision": False,
            "use_context_fusion": False,
            "output_type": "labels",
        }
    upstream = spec.training.get("upstream", {})
    arguments = spec.backbone.arguments
    compatibility = arguments.get("compatibility") or {}
    to_nanometer = METRES[spec.unit] / METRES["nanometer"]
    context = spec.context
    return {
        **upstream.get("model_config", {}),
        "model_type": "dinov3_unet3d" if upstream else "fused_unet",
        "num_classes": len(spec.classes),
        "base_channels": spec.network.base_channels,
        "input_size": spec.window,
        "input_channels": spec.input_channels,
        "model_id": arguments.get("weights", spec.backbone.name),
        "dinov3_slice_size": compatibility.get("slice_size"),
        "dinov3_stride": upstream.get("training_config", {}).get("dinov3_stride"),
        "learn_upsampling": spec.network.learned_upsampling is not None,
        "upsampling_factor": spec.network.learned_upsampling,
        "use_orthogonal_planes": arguments.get("planes") == "xy+xz+yz",
        "use_half_precision": bool(upstream.get("half_precision", False)),
        "use_context_fusion": context is not None,
        "context_channels": spec.context_channels if context is not None else None,
        "context_scale": None if context is None else [s * to_nanometer for s in context.spacing],
        "output_type": spec.network.output,
    }


def load_inference_model(
    path: str | Path,
    *,
    device: str | None = None,
    weights: str | None = None,
    overlap: float | None = None,
) -> VolumeInference:
    """Return a model for arrays in memory, and log its description.

    Parameters
    ----------
    path : str or Path
        A model folder, a checkpoint of the DINOv3UNet3D family (`best.pkl`,
        `checkpoint_epoch_*.pkl`), or the folder of a run with one. Nothing in it is executed.
    device : str, optional
        Device in torch's notation; by default the first GPU, otherwise the CPU.
    weights : str, optional
        Folder of the DINOv3 transformer's weights, or its name on the hub; by default that of the
        model.
    overlap : float, optional
        Overlap of windows as a share of a window, in volumes larger than a window. By default 0.5
        for a checkpoint; windows and overlap of a model folder are chosen as in the workflow.

    Returns
    -------
    VolumeInference
        The model, with `model_config`, `training_config` and `predict`.

    Raises
    ------
    ModelError
        If the model is damaged, unsafe or of another family, or its transformer's weights are not
        available.
    """
    where = Path(path)
    if (where / "model.json").is_file():
        spec, network = load_network(where)
        if spec.bands:
            raise ModelError(
                f"{where} takes the channels {', '.join(spec.bands)}, not arrays of one channel: "
                "use it with a sample sheet or parafovea predict"
            )
        if weights is not None:
            spec = _with_weights(spec, weights)
        usual: float | Literal["auto"] = "auto"
    else:
        imported = open_upstream(where, weights=weights)
        spec, network = imported.spec, imported.network
        usual = 0.5
    chosen = choose_device() if device is None else torch.device(device)
    inference = VolumeInference(
        spec,
        network,
        source=str(where),
        device=chosen,
        overlap=usual if overlap is None else overlap,
    )
    _announce(inference)
    return inference


def _with_weights(spec: ModelSpec, weights: str) -> ModelSpec:
    values = spec.model_dump()
    for part in (values, values["context"]):
        if part is not None and part["backbone"]["name"] in ("dinov3", "huggingface"):
            part["backbone"]["arguments"] = {**part["backbone"]["arguments"], "weights": weights}
    return ModelSpec.model_validate(values)


def _announce(inference: VolumeInference) -> None:
    config = inference.model_config
    logger.info("Use context fusion: %s", config["use_context_fusion"])
    if config["use_context_fusion"]:
        logger.info("Context channels: %s", config["context_channels"])
    logger.info("Learned upsampling: %s", config["learn_upsampling"])
    logger.info("Use orthogonal planes: %s", config["use_orthogonal_planes"])
    logger.info("Half precision: %s", config["use_half_precision"])
    logger.info("Classes: %s, output type: %s", config["num_classes"], config["output_type"])
    for assumed in inference.spec.training.get("upstream", {}).get("assumed", ()):
        logger.info("Note: %s", assumed)
