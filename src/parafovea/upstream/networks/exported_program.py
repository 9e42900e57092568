"""Reading of files of torch.export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from parafovea.errors import ModelError, shown
from parafovea.models.networks.exported_archive import cleaned_program
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.networks import NETWORK_FILES
from parafovea.upstream.networks.stated import Found, Stated

#: float32, in the numbers of torch.export.
FLOAT32 = 7

_MULTIPLE = re.compile(r"(?:(\d+)\*)?s\d+")


def read_exported(path: Path, stated: Stated, scratch: Path) -> Found:
    """Read a file of torch.export, as data: nothing of it is run.

    Parameters
    ----------
    path : Path
        The file.
    stated : Stated
        What the options of the import state.
    scratch : Path
        Folder for the copy that holds data alone.

    Raises
    ------
    ModelError
        If the file is damaged, holds anything but data, or does not take one float32 array of
        images.
    """
    copy = scratch / NETWORK_FILES["exported"]
    program = cleaned_program(path, copy)
    name, values = program.input
    sides = values["sizes"]
    if values["dtype"] != FLOAT32:
        raise ModelError(
            f"{path} takes an input {name} that is not float32: export it with a float32 input"
        )
    if len(sides) not in (4, 5):
        raise ModelError(
            f"{path} takes an input of {len(sides)} axes, but must take 4, (window, channel, y, x)"
            ", or 5, (window, channel, z, y, x)"
        )
    known = [side.get("as_int") for side in sides]
    facts = _facts(known, sides, stated, path)
    origin = {
        "format": "torch.export",
        "file": path.name,
        "sha256": file_sha256(path),
        "torch": shown(program.graph.get("torch_version", "")),
    }
    return Found(
        type="exported",
        files={NETWORK_FILES["exported"]: copy},
        stated=Stated.model_validate(facts),
        input_channels=known[1],
        origin=origin,
    )


def _facts(
    known: list[int | None], sides: list[dict[str, Any]], stated: Stated, path: Path
) -> dict[str, Any]:
    """Return what the sides of the input state, None where they are free."""
    dimensions = len(sides) - 2
    if stated.dimensions not in (None, dimensions):
        raise ModelError(
            f"{path} takes an input of {dimensions} dimensions, but --dimensions is "
            f"{stated.dimensions}"
        )
    facts: dict[str, Any] = {"dimensions": dimensions}
    if known[0] is not None:
        facts["fixed_batch"] = known[0]
    flat = [1] if dimensions == 2 else []
    if all(side is not None for side in known[2:]):
        window = (*flat, *known[2:])
        if stated.window not in (None, window):
            raise ModelError(
                f"{path} takes windows of {window} voxels along z, y, x only, but --window is "
                f"{stated.window}: leave it out, or export the network with free sizes"
            )
        return {**facts, "window": window, "fixed_window": True}
    found = [_MULTIPLE.fullmatch(_expression(side)) for side in sides[2:]]
    if all(found):
        multiples = (int(each.group(1) or 1) for each in found if each is not None)
        facts["multiple_of"] = (*flat, *multiples)
    return facts


def _expression(side: dict[str, Any]) -> str:
    return str(side.get("as_expr", {}).get("expr_str", ""))
