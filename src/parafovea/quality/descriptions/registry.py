"""All metrics by name."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from parafovea.quality.descriptions.description import PLACE, Description
from parafovea.quality.descriptions.detections import DETECTIONS
from parafovea.quality.descriptions.segmentation import SEGMENTATION
from parafovea.quality.descriptions.tiles import TILES, comparisons
from parafovea.quality.descriptions.volumes import VOLUMES

#: All metrics by name; in names, `PLACE` stands for a class or a band.
DESCRIPTIONS: Mapping[str, Description] = {
    **VOLUMES,
    **SEGMENTATION,
    **DETECTIONS,
    **TILES,
    **dict(comparisons()),
}


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], Description], ...]:
    return tuple(
        (re.compile(re.escape(name).replace(re.escape(PLACE), "(.+)")), description)
        for name, description in DESCRIPTIONS.items()
        if PLACE in name
    )


def describe(name: str) -> Description:
    """Return the description of a metric.

    Parameters
    ----------
    name : str
        Such as "iou.nucleus"; a name without an entry, of a kind of its own, is its own label.
    """
    if name in DESCRIPTIONS:
        return DESCRIPTIONS[name]
    for pattern, found in _patterns():
        if match := pattern.fullmatch(name):
            return Description(
                found.label.replace(PLACE, match[1]),
                found.unit,
                found.meaning.replace(PLACE, match[1]),
                found.low,
                found.high,
                found.better,
                found.is_count,
            )
    return Description(name)


def is_described(name: str) -> bool:
    """Return whether a metric has an entry."""
    return name in DESCRIPTIONS or any(p.fullmatch(name) for p, _ in _patterns())


def registry_table() -> str:
    """Return all metrics as a table in Markdown."""
    lines = ["| metric | name | unit | better | meaning |", "|---|---|---|---|---|"]
    for name, each in DESCRIPTIONS.items():
        shown = [text.replace(PLACE, "NAME") for text in (name, each.label, each.meaning)]
        lines.append(f"| `{shown[0]}` | {shown[1]} | {each.unit} | {each.better} | {shown[2]} |")
    return "\n".join(lines) + "\n"
