"""Numbers of radar and elevation bands, and their conversion to the range that a model states.

A model states which decibels, or metres, are 0 and 1 in its input; a source states what its own
numbers are. Neither is ever guessed from the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError, shown
from parafovea.formats.bands import canonical
from parafovea.settings.quantities import ELEVATION, QUANTITIES, RADAR, Range, check_range

#: What the numbers of a band are: a word, or the quantity at 0 and at 1.
Form = str | Range

#: Words for the numbers of a radar: decibels, or linear power (sigma nought, gamma nought).
DECIBELS, POWER = "decibels", "power"

#: The word for elevations in metres.
METERS = "meters"

#: Units in the header of a GeoTIFF, in lower case.
_UNITS = {
    "db": DECIBELS,
    "decibel": DECIBELS,
    "decibels": DECIBELS,
    "m": METERS,
    "meter": METERS,
    "metre": METERS,
    "meters": METERS,
    "metres": METERS,
}

#: Rounding tolerance for values in [0, 1].
_TOLERANCE = 1e-3

#: Linear power that stands for 0, of which there is no logarithm: -100 decibels.
_FAINTEST = 1e-10

_RADAR_EXAMPLE = (
    "radar=decibels, radar=power (linear sigma or gamma nought), or, where 0 and 1 stand for "
    "decibels, radar=VV:-25:0,VH:-32:-5"
)
_ELEVATION_EXAMPLE = "elevation=meters, or, where 0 and 1 stand for metres, elevation=0:3000"


def radar_forms(value: object) -> dict[str, Form]:
    """Return what the numbers of each radar band are, from the key `radar`.

    Parameters
    ----------
    value : object
        "decibels", "power", the decibels at 0 and 1 by band as a mapping to pairs, or as text such
        as "VV:-25:0,VH:-32:-5".

    Raises
    ------
    ValueError
        If it is none of these.
    """
    problem = f"radar {shown(repr(value))} is not known: for example {_RADAR_EXAMPLE}"
    if isinstance(value, str) and value.strip().lower() in (DECIBELS, POWER):
        return dict.fromkeys(RADAR, value.strip().lower())
    if isinstance(value, str):
        parts = [part.split(":") for part in value.split(",")]
        if any(len(part) != 3 for part in parts):
            raise ValueError(problem)
        named: list[tuple[str, object]] = [(part[0], part[1:]) for part in parts]
    elif isinstance(value, Mapping):
        named = [(str(name), pair) for name, pair in value.items()]
    else:
        raise ValueError(problem)
    found: dict[str, Form] = {}
    for name, pair in named:
        band = canonical(name)
        if band not in RADAR or band in found:
            raise ValueError(problem)
        found[band] = _range(band, pair, problem)
    if not found:
        raise ValueError(problem)
    return found


def elevation_forms(value: object) -> dict[str, Form]:
    """Return what the numbers of an elevation model are, from the key `elevation`.

    Parameters
    ----------
    value : object
        "meters", or the metres at 0 and 1 as a pair, or as text such as "0:3000".

    Raises
    ------
    ValueError
        If it is none of these.
    """
    problem = f"elevation {shown(repr(value))} is not known: for example {_ELEVATION_EXAMPLE}"
    if isinstance(value, str) and _UNITS.get(value.strip().lower()) == METERS:
        return {ELEVATION: METERS}
    pair = value.split(":") if isinstance(value, str) else value
    return {ELEVATION: _range(ELEVATION, pair, problem)}


def _range(band: str, pair: object, problem: str) -> Range:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(problem)
    try:
        low, high = (math.nan if isinstance(part, bool) else float(part) for part in pair)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(problem) from error
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(problem)
    check_range(band, (low, high))
    return low, high


@dataclass(frozen=True, slots=True)
class Conversion:
    """Conversion of a band's numbers to the range of a model's input.

    Parameters
    ----------
    band : str
        Name of the band.
    form : str or tuple of float
        What its numbers are.
    target : tuple of float or None
        The quantity at 0 and at 1 of the model's input; None if the model does not state it, so
        that nothing can be read.
    scaled : bool
        Whether scale and offset of the file, or of the user, apply before.
    """

    band: str
    form: Form
    target: Range | None
    scaled: bool = True

    def __call__(
        self,
        numbers: NDArray[np.float32],
        known: NDArray[np.float32],
        path: str,
        refused: type[SourceError],
    ) -> NDArray[np.float32]:
        """Return the values of a window as the model takes them, not clipped to [0, 1].

        Parameters
        ----------
        numbers : ndarray
            (y, x), scaled.
        known : ndarray
            The measured ones, at least one, finite.
        path : str
            Used in error messages.
        refused : type
            Exception class to raise.

        Raises
        ------
        SourceError
            Raised as `refused` if the numbers cannot be what they are said to be.
        """
        if self.target is None:
            raise refused(
                f"{path}: the sample sheet states what the numbers of {self.band} are, but the "
                "model does not state its range, so that they are read as they are: remove "
                f"{'elevation=' if self.band == ELEVATION else 'radar='} from the metadata column"
            )
        lowest, highest = float(known.min()), float(known.max())
        holds = f"{path}: band {self.band} holds {lowest:g} to {highest:g}"
        word = "elevation" if self.band == ELEVATION else "radar"
        fix = f"correct {word}= in the metadata column of the sample sheet, or in the JSON file"
        if self.form == POWER:
            if lowest < 0:
                raise refused(
                    f"{holds}, but linear power is never below 0: write radar=decibels if these "
                    "are decibels, or nodata= if they mark missing pixels"
                )
            quantity = 10 * np.log10(np.maximum(numbers, np.float32(_FAINTEST)))
            lowest, highest = (10 * math.log10(max(n, _FAINTEST)) for n in (lowest, highest))
        elif isinstance(self.form, str):
            quantity = numbers
            if self.form == DECIBELS and 0 <= lowest < highest <= 1:
                raise refused(
                    f"{holds}, which is not decibels but looks scaled to [0, 1], or linear: {fix}: "
                    f"{_RADAR_EXAMPLE}"
                )
        else:
            if lowest < -_TOLERANCE or highest > 1 + _TOLERANCE:
                raise refused(
                    f"{holds}, but should lie in [0, 1] if these stand for {self.form[0]:g} to "
                    f"{self.form[1]:g} {QUANTITIES[self.band].unit}: {fix}"
                )
            low, high = self.form
            quantity = low + numbers * (high - low)
            lowest, highest = low, high
        kind = QUANTITIES[self.band]
        if lowest < kind.lowest or highest > kind.highest:
            raise refused(
                f"{holds}, which are no {kind.unit}: {fix}, or write nodata= if they mark missing "
                "pixels"
            )
        low, high = self.target
        return ((quantity - low) / (high - low)).astype(np.float32)


def conversions(
    path: str,
    bands: Sequence[str],
    *,
    ranges: Mapping[str, Range],
    given: Mapping[str, Form],
    scaled: bool,
    metadata: Mapping[str, Any],
    units: Sequence[str | None] = (),
    refused: type[SourceError] = SourceError,
) -> tuple[Conversion | None, ...]:
    """Return the conversion of each band that is no reflectance; empty if there is none.

    Parameters
    ----------
    path : str
        Used in error messages.
    bands : sequence of str
        Bands that are read, in reading order.
    ranges : mapping
        The quantity at 0 and 1 of the model's input, by band; of other bands it states none, and
        their numbers are read as they are.
    given : mapping
        What the numbers are, by band, as stated by the user.
    scaled : bool
        Whether scale and offset apply to such bands.
    metadata : mapping
        The same in a sidecar: its keys `radar`, `elevation`, and `decibels` beside `bands`.
    units : sequence of str or None
        Unit of each of `bands` in the file's header.
    refused : type
        Exception class to raise.

    Raises
    ------
    SourceError
        Raised as `refused` if the model needs to know what numbers are, and nothing states it.
    """
    found: list[Conversion | None] = []
    for number, band in enumerate(bands):
        if band not in ranges:
            # headers are opened for their sizes, too, where no model is known
            stated = given.get(band)
            found.append(None if stated is None else Conversion(band, stated, None, scaled))
            continue
        form = given.get(band)
        if form is None:
            form = _stated(path, band, metadata, refused)
        if form is None and number < len(units):
            form = _UNITS.get((units[number] or "").strip().lower())
            form = form if (form == METERS) == (band == ELEVATION) else None
        if form is None:
            example = _ELEVATION_EXAMPLE if band == ELEVATION else _RADAR_EXAMPLE
            raise refused(
                f"{path} does not state what the numbers of {band} are, and the model takes "
                f"{QUANTITIES[band].unit}: write {example} in the metadata column of the sample "
                f"sheet, or the key {example.partition('=')[0]} in the JSON file"
            )
        found.append(Conversion(band, form, ranges[band], scaled))
    return tuple(found) if any(found) else ()


def _stated(
    path: str, band: str, metadata: Mapping[str, Any], refused: type[SourceError]
) -> Form | None:
    """Return what a sidecar says of a band's numbers, None if it says nothing."""
    try:
        if band == ELEVATION:
            return elevation_forms(metadata["elevation"])[band] if "elevation" in metadata else None
        if "radar" in metadata:
            return radar_forms(metadata["radar"]).get(band)
        limits, names = metadata.get("decibels"), metadata.get("bands")
        if limits is None:
            return None
        if isinstance(limits, list) and isinstance(names, list) and len(limits) == len(names):
            pairs = {canonical(str(name)): pair for name, pair in zip(names, limits, strict=True)}
            return radar_forms({band: pairs[band]})[band] if band in pairs else None
        raise ValueError(
            f"decibels {shown(repr(limits))} are not a pair for each of its bands: write "
            '"radar": {"VV": [-25, 0], "VH": [-32, -5]}'
        )
    except ValueError as error:
        raise refused(f"the JSON file of {path}: {error}") from error
