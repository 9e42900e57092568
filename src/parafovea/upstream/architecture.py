"""Detection of a checkpoint's architecture from its layers, then its configs, then defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from parafovea.errors import ModelError, quoted
from parafovea.geometry.grid import Shape, Vector, checked_spacing, vector3
from parafovea.models.folder import layer_problem
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.layers import upsampling_factor
from parafovea.upstream.checkpoint import Checkpoint

#: Transformers by the width of their tokens, for files without a model id.
MODELS = {
    384: "facebook/dinov3-vits16-pretrain-lvd1689m",
    768: "facebook/dinov3-vitb16-pretrain-lvd1689m",
    1024: "facebook/dinov3-vitl16-pretrain-sat493m",
    1280: "facebook/dinov3-vith16plus-pretrain-lvd1689m",
    4096: "facebook/dinov3-vit7b16-pretrain-lvd1689m",
}
OUTPUTS = ("labels", "affinities", "affinities_lsds")
#: Default context spacing over local spacing.
USUAL_RATIO = 4
#: Most pixels or voxels along an axis of a window.
LARGEST_SIDE = 1 << 16
_UPSAMPLING = re.compile(r"learned_upsample\.(\d+)\.weight")


@dataclass(frozen=True)
class Facts:
    """Everything that is needed to run a checkpoint.

    Parameters
    ----------
    classes, base_channels, input_channels : int
        Channels of the network, from its layers.
    context_channels : int or None
        Channels of the context; None without context fusion.
    learned_upsampling : int or None
        Factor of learned upsampling.
    orthogonal_planes, half_precision : bool
        Whether features are from three directions, and the network ran in half precision.
    output : str
        labels, affinities or affinities_lsds.
    offsets : tuple
        Offsets z, y, x of the affinities; empty if the file has none.
    window : tuple of int
        Voxels of the network's window along z, y, x.
    slice_size : int
        Side of a plane as the transformer's input, in pixels.
    model_id : str
        Name of the transformer.
    spacing : tuple of float
        Voxel size of the result along z, y, x, in nanometer.
    oversampling : int
        Voxels of the source per voxel of the result.
    context_spacing : tuple of float or None
        Voxel size of the context.
    assumed : tuple of str
        Values that are missing in the file and were assumed: a sentence each.
    """

    classes: int
    base_channels: int
    input_channels: int
    context_channels: int | None
    learned_upsampling: int | None
    orthogonal_planes: bool
    half_precision: bool
    output: str
    offsets: tuple[tuple[int, ...], ...]
    window: Shape
    slice_size: int
    model_id: str
    spacing: Vector
    oversampling: int
    context_spacing: Vector | None
    assumed: tuple[str, ...]

    def network(self) -> FusedUNet:
        """Return a network of this architecture on the device "meta"."""
        with torch.device("meta"):
            return FusedUNet(
                self.input_channels,
                self.classes,
                base_channels=self.base_channels,
                context_channels=self.context_channels or 0,
                fusion="none" if self.context_channels is None else "attention",
                learned_upsampling=self.learned_upsampling,
            )


class _Configs:
    """Values of a checkpoint's two configs, and a list of the values missing in both."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._configs = (checkpoint.model_config, checkpoint.training_config)
        self.path = checkpoint.path
        self.assumed: list[str] = []

    def get(self, *names: str) -> Any:
        """Return the first value that is not None, or None."""
        values = (config.get(name) for name in names for config in self._configs)
        return next((value for value in values if value is not None), None)

    def otherwise(self, names: Sequence[str], default: Any, meaning: str) -> Any:
        """Return a value, or `default`, which is then recorded as assumed."""
        value = self.get(*names)
        if value is None:
            self.assumed.append(f"{names[0]} is not in the file: {meaning} {default} assumed")
            return default
        return value

    def wrong(self, name: str, value: Any, wanted: str) -> ModelError:
        """Return the error for an invalid value."""
        return ModelError(
            f"{self.path}: {name} is {quoted(value)}, not {wanted}: correct the config in the file"
        )


def detect(
    checkpoint: Checkpoint,
    *,
    spacing: Vector | None = None,
    context_spacing: Vector | None = None,
) -> Facts:
    """Detect the architecture of a checkpoint and check every layer against it.

    Parameters
    ----------
    checkpoint : Checkpoint
        Content of the file.
    spacing, context_spacing : tuple of float, optional
        Voxel sizes along z, y, x in nanometer, instead of those in the file.

    Returns
    -------
    Facts
        From the layers if possible, otherwise from the configs, otherwise assumed and recorded.

    Raises
    ------
    ModelError
        If layers are missing, unexpected or of inconsistent sizes, or the configs contradict them;
        names the layer and both values.
    """
    weights, configs = checkpoint.weights, _Configs(checkpoint)
    base, inputs = _shape(checkpoint, "input_conv.weight")
    classes, _ = _shape(checkpoint, "final_conv.weight")
    context = _context_channels(checkpoint, configs)
    fine, resolution = _spacings(configs, spacing)
    output = configs.get("output_type") or "labels"
    if not isinstance(output, str) or output not in OUTPUTS:
        raise configs.wrong("output_type", output, f"one of {', '.join(OUTPUTS)}")
    declared = configs.get("num_classes")
    if output == "labels" and declared is not None and declared != classes:
        raise ModelError(
            f"{checkpoint.path}: layer final_conv.weight has {classes} classes, but num_classes is "
            f"{quoted(declared)}: config and weights are from different models; use the file of "
            "one run"
        )
    planes = configs.otherwise(["use_orthogonal_planes"], False, "orthogonal planes")
    name = MODELS.get(inputs)
    if configs.get("model_id") is None and name is None:
        raise ModelError(
            f"{checkpoint.path} has no model_id, and no DINOv3 transformer has the {inputs} "
            "channels of layer input_conv.weight: give the folder of the transformer's weights"
        )
    model_id = configs.otherwise(["model_id"], name, "the transformer")
    if not isinstance(model_id, str):
        raise configs.wrong("model_id", model_id, "the name of a transformer")
    wide = None
    if context is not None:
        wide = context_spacing or _vector(configs, "context_scale")
        if wide is None:
            wide = vector3([s * USUAL_RATIO for s in resolution])
            configs.assumed.append(
                f"context_scale is not in the file: context {USUAL_RATIO} times coarser assumed"
            )
    facts = Facts(
        classes=classes,
        base_channels=base,
        input_channels=inputs,
        context_channels=context,
        learned_upsampling=_upsampling(checkpoint),
        orthogonal_planes=bool(planes),
        half_precision=bool(configs.get("use_half_precision"))
        or weights["input_conv.weight"].dtype == torch.float16,
        output=output,
        offsets=_offsets(configs),
        window=_window(configs),
        slice_size=_slice_size(configs),
        model_id=model_id,
        spacing=resolution,
        oversampling=fine,
        context_spacing=wide,
        assumed=(*configs.assumed, "the type of normalization is not in the file: batch norm "
                 "and batch renorm are equal in evaluation"),
    )  # fmt: skip
    problem = layer_problem(weights, facts.network())
    if problem is not None:
        raise ModelError(
            f"{checkpoint.path}: {problem}, in a DINOv3UNet3D with {facts.input_channels} input, "
            f"{facts.context_channels or 0} context and {facts.base_channels} base channels (from "
            "layers input_conv and context_input_conv): its weights are incomplete or from two "
            "networks; use another checkpoint of the run"
        )
    return facts


def _shape(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    """Return output and input channels of a convolution that every network has."""
    weight = checkpoint.weights.get(name)
    if weight is None:
        raise ModelError(
            f"{checkpoint.path} has no layer {name} among its {len(checkpoint.weights)} tensors: "
            "give a checkpoint of a DINOv3UNet3D"
        )
    if weight.ndim != 5:
        raise ModelError(
            f"{checkpoint.path}: layer {name} has shape {tuple(weight.shape)}, of a network with "
            f"{weight.ndim - 2} dimensions instead of 3: give a checkpoint of a 3D UNet"
        )
    return int(weight.shape[0]), int(weight.shape[1])


def _context_channels(checkpoint: Checkpoint, configs: _Configs) -> int | None:
    if any("context" in name for name in checkpoint.weights):
        return _shape(checkpoint, "context_input_conv.weight")[1]
    if configs.get("use_context_fusion"):
        raise ModelError(
            f"{checkpoint.path}: use_context_fusion is True, but none of its "
            f"{len(checkpoint.weights)} layers is for context: config and weights are from "
            "different models; use the file of one run"
        )
    return None


def _upsampling(checkpoint: Checkpoint) -> int | None:
    numbers = [int(m[1]) for name in checkpoint.weights if (m := _UPSAMPLING.fullmatch(name))]
    if not numbers:
        return None
    if max(numbers) not in (3, 6, 9):
        raise ModelError(
            f"{checkpoint.path}: the last layer of learned_upsample has number {max(numbers)} "
            "instead of 3, 6 or 9 (factors 2, 4, 8): copy the file again"
        )
    return upsampling_factor(max(numbers))


def _vector(configs: _Configs, name: str) -> Vector | None:
    value = configs.get(name)
    if value is None:
        return None
    values = [value] * 3 if isinstance(value, int | float) else value
    try:
        z, y, x = (float(v) for v in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise configs.wrong(name, value, "a number or three, in nanometer") from error
    try:
        return checked_spacing((z, y, x))
    except ValueError as error:
        raise configs.wrong(name, value, "three sizes of a voxel, in nanometer") from error


def _spacings(configs: _Configs, given: Vector | None) -> tuple[int, Vector]:
    """Return the oversampling of the source, and the voxel size of the result."""
    raw, result = _vector(configs, "min_resolution_for_raw"), _vector(configs, "base_resolution")
    known = result or raw
    if known is None and given is None:
        configs.assumed.append("base_resolution is not in the file: voxels of 8 nanometer assumed")
    if raw is None or result is None:
        return 1, given or known or (8.0, 8.0, 8.0)
    factors = {round(b / a, 6) for a, b in zip(raw, result, strict=True)}
    factor = factors.pop()
    if factors or factor < 1 or factor != int(factor):
        raise configs.wrong(
            "min_resolution_for_raw", raw, f"an integer fraction of base_resolution {result}"
        )
    return int(factor), given or result


def _window(configs: _Configs) -> Shape:
    value = configs.otherwise(["input_size", "target_volume_size"], (128, 128, 128), "a window of")
    sizes = [value] * 3 if isinstance(value, int) else value
    try:
        z, y, x = (int(n) for n in sizes)
    except (TypeError, ValueError, OverflowError) as error:
        raise configs.wrong("input_size", value, "three numbers of voxels") from error
    if not 16 <= min(z, y, x) <= max(z, y, x) <= LARGEST_SIDE or any(n % 16 for n in (z, y, x)):
        raise configs.wrong(
            "input_size", value, f"multiples of 16 up to {LARGEST_SIDE} along z, y, x"
        )
    return z, y, x


def _slice_size(configs: _Configs) -> int:
    names = ["dinov3_slice_size", "image_size"]
    value = configs.otherwise(names, 512, "planes of pixels")
    if type(value) is not int or not 1 <= value <= LARGEST_SIDE:
        raise configs.wrong(" or ".join(names), value, f"a number of pixels up to {LARGEST_SIDE}")
    return value


def _offsets(configs: _Configs) -> tuple[tuple[int, ...], ...]:
    value = configs.get("affinity_offsets") or ()
    whole = isinstance(value, list | tuple) and all(
        isinstance(offset, list | tuple)
        and len(offset) == 3
        and all(isinstance(n, int) for n in offset)
        for offset in value
    )
    if not whole:
        raise configs.wrong("affinity_offsets", value, "offsets of three numbers of voxels")
    return tuple(tuple(offset) for offset in value)
