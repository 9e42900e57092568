"""Conversion of a DINOv3UNet3D checkpoint to a model or a model folder of this package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parafovea.errors import ModelError, shown
from parafovea.geometry.grid import Vector
from parafovea.models.folder import fill, finite_problem, is_exact_in_half, save_model
from parafovea.models.model_json import field_path
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.recipe import ModelSpec
from parafovea.upstream.architecture import Facts, detect
from parafovea.upstream.checkpoint import Checkpoint, find_checkpoint, read_checkpoint

#: Number of local shape descriptors, which precede the affinities in outputs with both.
DESCRIPTORS = 10
PATCH = 16


@dataclass(frozen=True)
class ImportedModel:
    """A checkpoint as a model of this package.

    Parameters
    ----------
    checkpoint : Checkpoint
        The checkpoint file.
    facts : Facts
        Architecture of the checkpoint.
    spec : ModelSpec
        Description of the model.
    network : FusedUNet
        Network in evaluation mode, float32, on the CPU; shares memory with `checkpoint` if
        possible.
    """

    checkpoint: Checkpoint
    facts: Facts
    spec: ModelSpec
    network: FusedUNet


def open_upstream(
    path: Path,
    *,
    name: str | None = None,
    weights: str | None = None,
    spacing: Vector | None = None,
    context_spacing: Vector | None = None,
    classes: Sequence[str] = (),
) -> ImportedModel:
    """Read a checkpoint and return it as a model of this package.

    Parameters
    ----------
    path : Path
        A checkpoint file or a run folder, as for `find_checkpoint`.
    name : str, optional
        Name of the model; by default the names of the run's folder and the file.
    weights : str, optional
        Folder of the transformer's weights, or its name on the hub; by default from the file.
    spacing, context_spacing : tuple of float, optional
        Voxel sizes along z, y, x in nanometer, instead of those in the file.
    classes : sequence of str, optional
        Names of the classes, the background first.

    Returns
    -------
    ImportedModel
        Ready to run.

    Raises
    ------
    ModelError
        If the file is malicious, damaged, incomplete, or not of this family.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    facts = detect(checkpoint, spacing=spacing, context_spacing=context_spacing)
    values = _description(checkpoint, facts, weights=weights, classes=classes)
    values["name"] = name or f"{file.resolve().parent.name}-{file.stem}"
    try:
        spec = ModelSpec.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{field_path(problem['loc'])}: {shown(problem['msg'])}" for problem in error.errors()
        )
        raise ModelError(f"{file} cannot be imported: {reasons}; correct its config") from error
    network = facts.network()
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.weights.items()
    }
    problem = finite_problem(tensors)
    if problem is not None:
        raise ModelError(f"{file}: {problem} in float32: use another checkpoint of the run")
    fill(network, tensors)
    return ImportedModel(checkpoint, facts, spec, network.eval())


def import_model(
    path: Path,
    output: Path,
    *,
    weights: str | None = None,
    spacing: Vector | None = None,
    context_spacing: Vector | None = None,
    classes: Sequence[str] = (),
) -> tuple[str, ...]:
    """Convert a checkpoint to a model folder.

    Parameters
    ----------
    path, weights, spacing, context_spacing, classes
        As for `open_upstream`.
    output : Path
        Folder to write, replaced if it exists; its name becomes the model's.

    Returns
    -------
    tuple of str
        Notes on assumed values and the precision of kernels, a sentence each.

    Raises
    ------
    ModelError
        See `open_upstream`.
    """
    model = open_upstream(
        path,
        name=output.name,
        weights=weights,
        spacing=spacing,
        context_spacing=context_spacing,
        classes=classes,
    )
    save_model(output, model.spec, model.network, exact=True)
    return (*model.spec.training["upstream"]["assumed"], _precision(model.network))


def _precision(network: FusedUNet) -> str:
    kernels = {n: t for n, t in network.named_parameters() if t.ndim > 1}
    kept = [name for name, kernel in kernels.items() if not is_exact_in_half(kernel.detach())]
    if not kept:
        return f"all {len(kernels)} kernels are stored in float16, which represents them exactly"
    shown = ", ".join(kept[:3]) + (", …" if len(kept) > 3 else "")
    return (
        f"{len(kept)} of {len(kernels)} kernels are stored in float32, since float16 would change "
        f"them: {shown}"
    )


def _description(
    checkpoint: Checkpoint, facts: Facts, *, weights: str | None, classes: Sequence[str]
) -> dict[str, Any]:
    """Return the content of `model.json` for a checkpoint, without name and hash."""
    assumed = list(facts.assumed)
    names = tuple(classes) or _channel_names(facts)
    if not classes:
        assumed.append(f"class names are not in the file: {', '.join(names)} assumed")
    elif len(classes) != facts.classes:
        raise ModelError(
            f"{len(classes)} class names were given ({', '.join(classes)}), but "
            f"{checkpoint.path} has {facts.classes} classes: name all, the background first"
        )
    backbone = {
        "name": "dinov3",
        "arguments": {
            "weights": weights or facts.model_id,
            "planes": "xy+xz+yz" if facts.orthogonal_planes else "xy",
            "stride": _stored_stride(facts),
            "compatibility": {
                "slice_size": facts.slice_size,
                "window": list(facts.window),
                "oversampling": facts.oversampling,
            },
        },
    }
    context = None
    if facts.context_channels is not None:
        context = {
            "spacing": facts.context_spacing,
            "alignment": "concentric",
            "backbone": backbone,
        }
    return {
        "unit": "nanometer",
        "spacing": facts.spacing,
        # Each plane is normalized by itself, so this only has to preserve all values.
        "normalization": {"method": "percentile", "low": 0.0, "high": 100.0},
        "raw_input": False,
        "backbone": backbone,
        "context": context,
        "network": {
            "base_channels": facts.base_channels,
            "fusion": "none" if context is None else "attention",
            "learned_upsampling": facts.learned_upsampling,
            "output": facts.output,
        },
        "classes": names,
        "window": facts.window,
        "input_channels": facts.input_channels,
        "context_channels": facts.context_channels or 0,
        "weights_sha256": "0" * 64,
        "training": {
            "upstream": {
                "file": checkpoint.path.name,
                "sha256": checkpoint.sha256,
                "epoch": checkpoint.epoch,
                "half_precision": facts.half_precision,
                "model_config": checkpoint.model_config,
                "training_config": checkpoint.training_config,
                "assumed": assumed,
            }
        },
    }


def _channel_names(facts: Facts) -> tuple[str, ...]:
    if facts.output == "labels":
        return ("background", *(f"class_{i}" for i in range(1, facts.classes)))
    descriptors = DESCRIPTORS if facts.output == "affinities_lsds" else 0
    names = [f"descriptor_{i}" for i in range(descriptors)]
    names += ["affinity_" + "_".join(map(str, offset)) for offset in facts.offsets]
    if len(names) != facts.classes or len(set(names)) != len(names):
        return tuple(f"channel_{i}" for i in range(facts.classes))
    return tuple(names)


def _stored_stride(facts: Facts) -> int:
    """Return the voxels per stored token: at most those covered by a patch of the transformer."""
    patches = facts.slice_size / PATCH
    pitch = min(n / patches for n in facts.window[0 if facts.orthogonal_planes else 1 :])
    return max(stride for stride in (1, 2, 4, 8, 16) if stride <= max(1.0, pitch))
