"""Checkpoints of PIVOT, as Lightning writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parafovea.errors import ModelError, shown
from parafovea.kinds import Kind, kind_named
from parafovea.models.networks.pivot_network import HEADS, PivotShape, build
from parafovea.models.weights_file import write_weights
from parafovea.settings.networks import NETWORK_FILES
from parafovea.settings.recipe import DEFAULT_KIND
from parafovea.upstream.networks.state_files import StateFile, read_state_file
from parafovea.upstream.networks.stated import Found, Stated

#: A name that layers have without the prefixes of a training module.
NAMES = ("backbone.output_conv.weight",)

#: Preprocessing of the guide: millimetres, and Hounsfield units that become 0 and 1.
GUIDE: dict[str, Any] = {
    "spacing": (1.0, 1.0, 1.0),
    "unit": "millimeter",
    "normalization": {"method": "window", "low": -1000.0, "high": 400.0},
    "window": (128, 128, 128),
}


def read_pivot(path: Path, stated: Stated, scratch: Path) -> Found:
    """Read a checkpoint, of which a task takes one head.

    Parameters
    ----------
    path : Path
        The .ckpt file.
    stated : Stated
        What the options state; the kind decides which head is taken, detection if it is not stated.
    scratch : Path
        Folder for temporary files.

    Raises
    ------
    ModelError
        If the file is damaged or malicious, or is not of such a network.
    """
    file = read_state_file(path)
    file = file.named_as(NAMES)
    try:
        module, problem = build(file.weights)
        shape = PivotShape.of(file.weights)
    except ModelError as error:
        raise ModelError(f"{path} holds {error}") from error
    if problem is not None:
        raise ModelError(f"{path} does not fit the network of PIVOT: {problem}")
    _require_same(path, file, shape)
    wanted = module.state_dict()
    kept = {
        name: (each.float() if each.is_floating_point() else each).contiguous().clone()
        for name, each in file.weights.items()
        if name in wanted
    }
    target = scratch / NETWORK_FILES["pivot"]
    write_weights(kept, target)
    kind = stated.kind or ("detection" if "center" in shape.heads else DEFAULT_KIND)
    output = _output(kind_named(kind))
    entry = stated.entry if stated.entry is not None else output.get("entry", HEADS[0])
    if entry not in shape.heads and not isinstance(entry, int):
        raise ModelError(
            f"{path} has no head {shown(entry)!r}: it has {', '.join(shape.heads)}; choose one "
            "with --entry"
        )
    known = {
        **GUIDE,
        **(output if shape.heads.get(str(entry), (0, 0))[0] == 1 else {}),
        "entry": entry,
        "kind": kind,
        "dimensions": 3,
        "activation": "sigmoid",
        "multiple_of": (2 ** (len(shape.widths) - 1),) * 3,
    }
    notes = (
        "the file states no voxel size, window and Hounsfield units: they are those of its guide",
        f"the output is the head {entry}, of {', '.join(shape.heads)}",
    )
    return Found(
        "pivot",
        {target.name: target},
        Stated.model_validate(known),
        shape.in_channels,
        file.origin,
        (*notes, *file.notes),
    )


def _output(kind: Kind) -> dict[str, Any]:
    """Return the head that a task of a kind takes, with its classes."""
    if kind.exclusive:
        classes = ("background", "nodule")
        return {"entry": "segmentation", "classes": classes, "complement": True}
    return {} if kind.banded else {"entry": "center", "classes": ("nodule",)}


def _require_same(path: Path, file: StateFile, shape: PivotShape) -> None:
    """Raise `ModelError` if the checkpoint states another architecture than its weights have."""
    said = file.content.get("hyper_parameters")
    if not isinstance(said, Mapping):
        return
    features = said.get("init_features", shape.widths[0])
    if features != shape.widths[0]:
        raise ModelError(
            f"{path} states init_features {shown(features)}, but its weights have "
            f"{shape.widths[0]}: copy the file again"
        )
