"""Which axis of an array is which, by the names that its file gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from parafovea.errors import SourceError
from parafovea.formats.source import pick_channel
from parafovea.formats.source_placement import plain_axes
from parafovea.geometry.grid import AXES

#: Words for an axis, in lower case, each with its letter.
_LETTERS = {
    **dict.fromkeys(("z", "depth", "plane", "planes", "slice", "slices", "section"), "z"),
    **dict.fromkeys(("y", "height", "row", "rows"), "y"),
    **dict.fromkeys(("x", "width", "column", "columns", "col", "cols"), "x"),
    **dict.fromkeys(("c", "ch", "channel", "channels", "band", "bands"), "c"),
    **dict.fromkeys(("t", "time", "frame", "frames"), "t"),
}

#: Attributes of Zarr arrays and HDF5 datasets that name their axes.
_ATTRIBUTES = (
    "_ARRAY_DIMENSIONS",
    "axis_names",
    "dimension_names",
    "axes",
    "axistags",
    "DIMENSION_LABELS",
)

Chosen = tuple[tuple[int | None, int, int], dict[int, int]]


def axis_letter(name: str) -> str:
    """Return the letter of an axis: z, y, x, c or t; the name itself for another one.

    Parameters
    ----------
    name : str
        Such as "Z", "depth" or "c^" (as funlib marks what is not in space).
    """
    plain = name.strip().lower().rstrip("^")
    return _LETTERS.get(plain, plain)


def stated_names(
    attributes: Mapping[str, Any], *, dimensions: int, path: str, others: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """Return the letters of the axes of an array, None where nothing names z, y or x.

    Parameters
    ----------
    attributes : mapping
        Of the array.
    dimensions : int
        How many axes it has.
    path : str
        For messages.
    others : mapping of str to sequence or None
        What else names the axes, such as `dimension_names` of Zarr 3.

    Raises
    ------
    SourceError
        If two statements contradict each other, or one has another number of names.
    """
    said: dict[str, tuple[str, ...]] = {}
    for key, value in (*others.items(), *((key, attributes.get(key)) for key in _ATTRIBUTES)):
        names = _names(value)
        if names is None or not {axis_letter(name) for name in names} & {*AXES}:
            continue
        if len(names) != dimensions:
            raise SourceError(
                f"{path} has {dimensions} axes, but {key} names {', '.join(names)}: correct it in "
                "the file"
            )
        said[key] = tuple(axis_letter(name) for name in names)
    if len({*said.values()}) > 1:
        listed = "; ".join(f"{key}: {', '.join(names)}" for key, names in said.items())
        raise SourceError(
            f"{path} names its axes in ways that contradict each other ({listed}): correct them "
            "in the file"
        )
    return next(iter(said.values()), None)


def _names(value: Any) -> tuple[str, ...] | None:
    """Return names of axes from an attribute, None where it has none."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8", "replace")
    if isinstance(plain, str) and plain.lstrip().startswith("{"):
        # the tags of vigra and ilastik are JSON in a text
        try:
            plain = json.loads(plain)
        except ValueError:
            return None
    if isinstance(plain, Mapping):
        plain = plain.get("axes")
    if isinstance(plain, str):
        # "zyx" is three axes, and so is "z y x"
        parts = plain.replace(",", " ").split()
        plain = [*plain] if len(parts) == 1 and {*plain.lower()} <= {*"zyxct"} else parts
    if not isinstance(plain, list | tuple) or not plain:
        return None
    names = []
    for each in plain:
        name = each.get("key", each.get("name")) if isinstance(each, Mapping) else each
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        names.append("" if name is None else str(name))
    return tuple(names)


def chosen_axes(
    path: str, letters: Sequence[str] | None, shape: Sequence[int], channel: int | None
) -> Chosen:
    """Return which axes of an array are z, y, x, and which element of the others is read.

    Parameters
    ----------
    path : str
        For messages.
    letters : sequence of str or None
        As `stated_names` returns them.
    shape : sequence of int
        Of the array.
    channel : int, optional
        The user's.

    Raises
    ------
    SourceError
        If y or x is missing, an axis is named twice, or one beside z, y, x and the channels is
        longer than 1.
    """
    if letters is None:
        axes = plain_axes(path, shape)
        pick_channel(path, 1, channel)
        return axes, {}
    named = ", ".join(letters)
    twice = [letter for letter in letters if letter in (*AXES, "c") and letters.count(letter) > 1]
    if twice or not {"y", "x"} <= {*letters}:
        problem = f"name {twice[0]} twice" if twice else "lack y or x"
        raise SourceError(f"{path} has the axes {named}, which {problem}: correct their names")
    fixed: dict[int, int] = {}
    for axis, letter in enumerate(letters):
        if letter == "c":
            fixed[axis] = pick_channel(path, int(shape[axis]), channel)
        elif letter not in AXES and shape[axis] != 1:
            raise SourceError(
                f"{path} has {shape[axis]} elements along the axis {letter or 'without a name'} "
                f"(axes {named}): save one of them as an array of its own"
            )
    if "c" not in letters:
        pick_channel(path, 1, channel)
    z = letters.index("z") if "z" in letters else None
    return (z, letters.index("y"), letters.index("x")), fixed
