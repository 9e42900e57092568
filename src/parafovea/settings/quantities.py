"""Bands that are no reflectance: their quantity, its unit, its range in a model's input."""

from __future__ import annotations

from dataclasses import dataclass

#: The quantity of a band at 0 and at 1 of a model's input.
Range = tuple[float, float]


@dataclass(frozen=True)
class Quantity:
    """What a band holds.

    Attributes
    ----------
    unit : str
        Unit in which a model states its range.
    lowest, highest : float
        No measurement lies outside of these, in that unit.
    example : tuple of float
        A range, for messages.
    """

    unit: str
    lowest: float
    highest: float
    example: Range


#: Bands of a radar: the polarizations sent and received.
RADAR = ("VV", "VH", "HH", "HV")

#: The band of a digital elevation model.
ELEVATION = "DEM"

#: What bands hold that are no reflectance, by name.
QUANTITIES = {
    **{name: Quantity("decibels", -100.0, 60.0, (-25.0, 0.0)) for name in ("VV", "HH")},
    **{name: Quantity("decibels", -100.0, 60.0, (-32.0, -5.0)) for name in ("VH", "HV")},
    ELEVATION: Quantity("meters", -12000.0, 9000.0, (0.0, 3000.0)),
}


def check_range(band: str, limits: Range) -> None:
    """Raise `ValueError` if two numbers cannot be the range of a band.

    Parameters
    ----------
    band : str
        A key of `QUANTITIES`.
    limits : tuple of float
        The quantity at 0 and at 1.
    """
    low, high = limits
    kind = QUANTITIES[band]
    if not low < high:
        raise ValueError(
            f"range of {band} {low:g} to {high:g}: write the lower number first, in {kind.unit}"
        )
    if low < kind.lowest or high > kind.highest:
        raise ValueError(
            f"range of {band} {low:g} to {high:g} is not of {kind.unit}, which lie within "
            f"{kind.lowest:g} to {kind.highest:g}: correct it, for example {list(kind.example)}"
        )
