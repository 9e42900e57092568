"""Checkpoints of PyTorch Connectomics, with the YAML of their training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from parafovea.errors import ModelError, shown
from parafovea.upstream.networks.bundle_config import read_mapping
from parafovea.upstream.networks.monai_weights import monai_found
from parafovea.upstream.networks.state_files import StateFile, read_state_file, tensors_in
from parafovea.upstream.networks.stated import Found, Stated

#: Beginning of the key of averaged weights among the callbacks of a checkpoint.
EMA = "EMAWeightsCallback"

#: Architectures that need code which MONAI does not have.
OTHERS = ("mednext", "mednext_custom", "rsunet", "nnunet", "nnunet_2d_pretrained")

#: Filters of a UNet whose YAML states none.
FILTERS = (32, 64, 128, 256, 512)


def connectomics_reader(config: Path) -> Callable[[Path, Stated, Path], Found]:
    """Return a reader of checkpoints whose architecture a YAML file states.

    Parameters
    ----------
    config : Path
        The resolved config of the training, as it saves beside its checkpoints.
    """

    def read(path: Path, stated: Stated, scratch: Path) -> Found:
        model = _model(config)
        architecture, arguments = _network(model, config)
        file, notes = _averaged(read_state_file(path))
        metadata = file.content.get("pytc_metadata")
        origin = {
            "config": config.name,
            **({} if not isinstance(metadata, Mapping) else _plain(metadata)),
        }
        _require_same(origin, architecture_of(model), path, config)
        return monai_found(
            architecture,
            {**arguments, **(stated.arguments or {})},
            file,
            scratch,
            options=stated,
            stated=_stated(model),
            notes=notes,
            origin=origin,
        )

    return read


def architecture_of(model: Mapping[str, Any]) -> str:
    """Return the name of the architecture that the `model` block of a config states; "" if none."""
    arch = model.get("arch")
    named = arch.get("type") if isinstance(arch, Mapping) else arch
    found = named or model.get("architecture") or ""
    return found if isinstance(found, str) else ""


def _model(config: Path) -> Mapping[str, Any]:
    values = read_mapping(config)
    shared = values.get("default")
    for holder in (values, shared):
        model = holder.get("model") if isinstance(holder, Mapping) else None
        if isinstance(model, Mapping) and architecture_of(model):
            return model
    based = " (it is based on other files by _base_)" if "_base_" in values else ""
    raise ModelError(
        f"{config} states no model.arch.type{based}: give the resolved config that the training "
        "saved beside its checkpoints"
    )


def _network(model: Mapping[str, Any], config: Path) -> tuple[str, dict[str, Any]]:
    """Return the class of MONAI and its arguments."""
    name = architecture_of(model)
    if name in OTHERS:
        raise ModelError(
            f"{config}: the architecture {name} is not one of MONAI, and its code is not part of "
            "this package: export the network with torch.onnx or torch.export, and import that "
            "file"
        )
    build = _BUILDERS.get(name)
    if build is None:
        raise ModelError(
            f"{config}: the architecture {shown(name)!r} is not known: it is one of "
            f"{', '.join(_BUILDERS)}"
        )
    channels = {key: model.get(key, 1) for key in ("in_channels", "out_channels")}
    class_name, arguments = build(model)
    return class_name, {**channels, **arguments}


def _block(model: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a block of the model; earlier configs have its keys in the model itself."""
    block = model.get(name)
    return {**model, **block} if isinstance(block, Mapping) else model


def _dimensions(model: Mapping[str, Any], block: Mapping[str, Any]) -> Any:
    size = model.get("input_size")
    return len(size) if isinstance(size, list) and size else block.get("spatial_dims", 3)


def _norm(block: Mapping[str, Any]) -> Any:
    norm = block.get("norm", "batch")
    return ["group", {"num_groups": block.get("num_groups", 8)}] if norm == "group" else norm


def _basic_unet(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    block = _block(model, "monai")
    filters = list(block.get("filters") or FILTERS)
    # of fewer than six levels, the last is repeated
    features = (filters + filters[-1:] * 6)[:6]
    return "BasicUNet", {
        "spatial_dims": _dimensions(model, block),
        "features": features,
        "dropout": block.get("dropout", 0.0),
        "act": block.get("activation", "relu"),
        "norm": _norm(block),
        "upsample": block.get("upsample_mode", block.get("upsample", "deconv")),
    }


def _unet(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    block = _block(model, "monai")
    upsampling = block.get("upsample_mode", "deconv")
    if upsampling not in (None, "", "deconv"):
        raise ModelError(
            f"model.monai.upsample_mode is {shown(upsampling)}, a UNet that is not MONAI's own: "
            "export the network with torch.onnx or torch.export, and import that file"
        )
    filters = list(block.get("filters") or FILTERS)
    return "UNet", {
        "spatial_dims": _dimensions(model, block),
        "channels": filters,
        "strides": list(block.get("strides") or [2] * (len(filters) - 1)),
        "num_res_units": block.get("num_res_units", 2),
        "kernel_size": block.get("kernel_size", 3),
        "norm": _norm(block),
        "dropout": block.get("dropout", 0.0),
    }


def _unetr(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    block = _block(model, "transformer")
    size = model.get("input_size")
    return "UNETR", {
        "img_size": size,
        "spatial_dims": _dimensions(model, block),
        "feature_size": block.get("feature_size", 16),
        "hidden_size": block.get("hidden_size", 768),
        "mlp_dim": block.get("mlp_dim", 3072),
        "num_heads": block.get("num_heads", 12),
        "proj_type": block.get("proj_type", block.get("pos_embed", "perceptron")),
        "norm_name": block.get("norm", "instance"),
        "dropout_rate": block.get("dropout", 0.0),
    }


def _swin_unetr(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    block = _block(model, "transformer")
    return "SwinUNETR", {
        "spatial_dims": _dimensions(model, block),
        "feature_size": block.get("feature_size", 16),
        "drop_rate": block.get("dropout", 0.0),
        "attn_drop_rate": block.get("attn_drop_rate", 0.0),
        "dropout_path_rate": block.get("dropout_path_rate", 0.0),
    }


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]] = {
    "monai_basic_unet3d": _basic_unet,
    "monai_unet": _unet,
    "monai_unetr": _unetr,
    "monai_swin_unetr": _swin_unetr,
}


def _stated(model: Mapping[str, Any]) -> Stated:
    """Return the window that the network was trained with."""
    size = model.get("input_size")
    if not isinstance(size, list) or not size:
        return Stated()
    window = (1,) * (3 - len(size)) + tuple(size)
    return Stated.model_validate({"window": window, "dimensions": len(size)})


def _averaged(file: StateFile) -> tuple[StateFile, tuple[str, ...]]:
    """Return a checkpoint with averaged weights in place of its own, if it has them."""
    callbacks = file.content.get("callbacks")
    for name, state in callbacks.items() if isinstance(callbacks, Mapping) else ():
        if not str(name).startswith(EMA) or not isinstance(state, Mapping):
            continue
        averaged = next(filter(None, map(tensors_in, (state, *state.values()))), {})
        if averaged:
            weights, live = _merged(file.weights, averaged)
            note = (
                f"the weights are the {len(averaged)} averaged ones (EMA) of {shown(str(name))}, "
                "which the validation score of the file is of"
            )
            extra = f"{live} tensors are not averaged, and are the last ones" if live else ""
            return replace(file, weights=weights, notes=()), (note, *filter(None, [extra]))
    return file, ("the file has no averaged weights (EMA): the weights are the last ones",)


def _merged(
    own: Mapping[str, Tensor], averaged: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], int]:
    """Return averaged weights under the names of a checkpoint, and how many are its own."""
    found, live = dict(own), 0
    for name in own:
        ends = [name.split(".", count)[-1] for count in range(name.count(".") + 1)]
        match = next((end for end in ends if end in averaged), None)
        if match is not None:
            found[name] = averaged[match]
        elif not name.endswith("batches_tracked") and not name.startswith("loss"):
            live += 1
    return found, live


def _plain(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value for name, value in metadata.items() if isinstance(value, str | int | float)
    }


def _require_same(origin: Mapping[str, Any], stated: str, path: Path, config: Path) -> None:
    known = origin.get("model_arch")
    if known is not None and known != stated:
        raise ModelError(
            f"{path} is of the architecture {shown(known)}, but {config} states {stated}: give the "
            "config of its own training"
        )
