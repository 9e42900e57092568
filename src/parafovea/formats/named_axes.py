"""Order of an array's axes, from the names in its file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parafovea.errors import SourceError
from parafovea.formats.source import pick_channel
from parafovea.formats.source_placement import plain_axes
from parafovea.geometry.grid import AXES

#: Names of axes, in lower case, with their letters.
_LETTERS = {
    **dict.fromkeys(("z", "depth", "plane", "planes", "slice", "slices", "section"), "z"),
    **dict.fromkeys(("y", "height", "row", "rows"), "y"),
    **dict.fromkeys(("x", "width", "column", "columns", "col", "cols"), "x"),
    **dict.fromkeys(("c", "ch", "channel", "channels", "band", "bands"), "c"),
    **dict.fromkeys(("t", "time", "frame", "frames"), "t"),
}

#: Names that are such a letter with a word that says that it is an axis.
_WORD = "(?:space|spatial|axis|dim|dimension|coord|coordinate|pos|position|pixel|index)"
_LETTERED = re.compile(f"(?:{_WORD}[ _-]?)?(?P<letter>[zyx])(?:[ _-]?{_WORD})?")

#: Attributes of Zarr arrays and HDF5 datasets that name their axes.
_ATTRIBUTES = (
    "_ARRAY_DIMENSIONS",
    "axis_names",
    "dimension_names",
    "axes",
    "axis_order",
    "dims",
    "axistags",
    "DIMENSION_LABELS",
    "transform",
)

Chosen = tuple[tuple[int | None, int, int], dict[int, int]]


def axis_letter(name: str) -> str:
    """Return the letter of an axis: z, y, x, c or t; other names are returned unchanged.

    Parameters
    ----------
    name : str
        Axis name, such as "Z", "depth", "space_z", "z axis" or "c^" (funlib's mark for a
        non-spatial axis).
    """
    plain = name.strip().lower().rstrip("^")
    lettered = _LETTERED.fullmatch(plain)
    return lettered["letter"] if lettered else _LETTERS.get(plain, plain)


def stated_names(
    attributes: Mapping[str, Any], *, dimensions: int, path: str, others: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """Return the letters of an array's axes, or None if nothing names z, y or x.

    Parameters
    ----------
    attributes : mapping
        Attributes of the array.
    dimensions : int
        Number of axes.
    path : str
        Used in error messages.
    others : mapping of str to sequence or None
        Other sources of axis names, such as `dimension_names` of Zarr 3.

    Raises
    ------
    SourceError
        If two sources contradict each other, or one has the wrong number of names.
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
    """Return the axis names in an attribute, or None if there are none."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8", "replace")
    if isinstance(plain, str) and plain.lstrip().startswith("{"):
        # axistags of vigra and ilastik are JSON in a string
        try:
            plain = json.loads(plain)
        except (ValueError, RecursionError):
            return None
    if isinstance(plain, Mapping):
        # `transform` of OpenOrganelle names the axes of an array in the order of C or Fortran
        reverse = str(plain.get("order", "C")).upper() == "F"
        plain = plain.get("axes")
        plain = plain[::-1] if reverse and isinstance(plain, list) else plain
    if isinstance(plain, str):
        # "zyx", "z y x", "z,y,x" and, in NeXus, "z:y:x" are three axes
        parts = plain.replace(",", " ").replace(":", " ").split()
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
    """Return which axes of an array are z, y, x, and the index to read along the others.

    Parameters
    ----------
    path : str
        Used in error messages.
    letters : sequence of str or None
        As `stated_names` returns them.
    shape : sequence of int
        Shape of the array.
    channel : int, optional
        Channel chosen by the user.

    Raises
    ------
    SourceError
        If y or x is missing, an axis is named twice, or an axis other than z, y, x and the
        channels is longer than 1.
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
