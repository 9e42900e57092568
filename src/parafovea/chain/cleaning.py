"""What the settings of a segmentation ask for, which decides its stages and their steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Settings of a class as plain values; see `parafovea.settings.postprocess.ClassSettings`.
PlainSettings = Mapping[str, Any]


def cleanings_of(classes: Iterable[PlainSettings]) -> tuple[str, ...]:
    """Return the changes of classes that are needed, in order: of "small" and "holes".

    Parameters
    ----------
    classes : iterable of mapping
        Settings of classes; those that are missing have the defaults, which change nothing.
    """
    chosen = list(classes)
    small = any(each.get("min_voxels", 0) > 1 for each in chosen)
    holes = any(each.get("fill_holes", False) for each in chosen)
    return (*(("small",) if small else ()), *(("holes",) if holes else ()))


def splits_objects(classes: Iterable[PlainSettings]) -> bool:
    """Return whether objects of any class are split."""
    return any(
        each.get("instances", True) and each.get("split_distance") is not None for each in classes
    )
