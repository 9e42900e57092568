"""Formatting of lengths, counts and numbers: short units, round scale bars, few digits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parafovea.errors import GridError
from parafovea.geometry.grid import METRES, Grid
from parafovea.quality.descriptions.registry import describe

#: Symbols of the units of a Grid.
SYMBOLS = {
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
}

#: Display units of a length, ascending: (metres, symbol).
SHOWN = ((1e-10, "Å"), (1e-9, "nm"), (1e-6, "µm"), (1e-3, "mm"), (1.0, "m"), (1e3, "km"))

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar of a round length: `length` in the grid's unit, and its label such as "500 nm"."""

    length: float
    label: str


def shown_unit(metres: float) -> tuple[float, str]:
    """Return the largest display unit not above a length: its size in metres and its symbol."""
    # A length of exactly one unit may be slightly less due to rounding.
    fitting = [unit for unit in SHOWN if unit[0] <= metres * (1 + 1e-9)]
    return fitting[-1] if fitting else SHOWN[0]


def scale_bar(width: float, unit: str, *, share: float = 0.25) -> ScaleBar:
    """Return the longest bar of 1, 2 or 5 times a power of ten within a share of a width.

    Parameters
    ----------
    width : float
        Width of the image in `unit`.
    unit : str
        A unit of a Grid.
    share : float
        Maximum share of the width.

    Returns
    -------
    ScaleBar
        Length in `unit`, and label in the unit that gives the shortest number.

    Raises
    ------
    GridError
        If the width is not positive and finite.
    """
    if not (math.isfinite(width) and width > 0):
        raise GridError(f"image width {width} {unit} must be positive and finite")
    limit = width * share * METRES[unit] * (1 + 1e-9)
    power = math.floor(math.log10(limit))
    digit = next(d for d in (5, 2, 1) if d * 10.0**power <= limit or d == 1)
    metres = digit * 10.0**power
    size, symbol = shown_unit(metres)
    return ScaleBar(metres / METRES[unit], f"{metres / size:.6g} {symbol}")


def length_text(value: float, unit: str) -> str:
    """Return a length in a suitable unit: 2560 "nanometer" is "2.56 µm"."""
    size, symbol = shown_unit(abs(value) * METRES[unit])
    return f"{value * METRES[unit] / size:.3g} {symbol}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as "1 sample" and "1,200 samples"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def per_cent(share: float) -> str:
    """Return a share in percent, with 100 % and 0 % only for exact values."""
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %" if 0 < share < 1 else f"{100 * share:.0f} %"


def metric_text(value: float, name: str) -> str:
    """Return the value of a metric with its unit: "1.4 mm", and "1,200" for a count."""
    known = describe(name)
    if known.is_count and value == int(value):
        return f"{int(value):,}"
    unit = "" if known.is_count or not known.unit else f" {known.unit}"
    return f"{number_text(value)}{unit}"


def number_text(value: float) -> str:
    """Return a number with four digits, large and small ones as 1.23 × 10⁷."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e5:
        return f"{value:z.{4 if abs(value) < 1000 else 5}g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × {power_text(int(exponent))}"


def power_text(exponent: int) -> str:
    """Return a power of ten, such as 10⁷."""
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def volume_text(value: float, unit: str) -> str:
    """Return a volume in cubic `unit` with its unit, such as "1.23 × 10⁷ nm³"."""
    return f"{number_text(value)} {SYMBOLS[unit]}³"


def grid_facts(grid: Grid) -> dict[str, str]:
    """Return a grid's shape, voxel size and extent as texts, axes z, y, x."""
    spacing = " × ".join(f"{s:g}" for s in grid.spacing)
    size, symbol = shown_unit(max(grid.extent) * METRES[grid.unit])
    extent = " × ".join(f"{e * METRES[grid.unit] / size:.3g}" for e in grid.extent)
    return {
        "Voxels (z, y, x)": " × ".join(str(n) for n in grid.shape),
        "Voxel size": f"{spacing} {SYMBOLS[grid.unit]}",
        "Extent": f"{extent} {symbol}",
    }
