"""Spheres of a volume."""

from __future__ import annotations

import math


def equivalent_diameter(volume: float) -> float:
    """Return the diameter of the sphere of equal volume, in the volume's unit of length."""
    return float((6 * volume / math.pi) ** (1 / 3))
