"""Stacking of slices to a volume: sorted along their normal, aligned, evenly spaced, complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.dicom.headers import SliceHeader
from parafovea.geometry.scan_space import LPS_TO_RAS, square_affine

Floats = NDArray[np.float64]

#: Slices closer than this, in millimetres, are at the same position.
SAME_PLACE = 0.01
#: Tolerated deviation of a slice from an even stack, in slice distances, and in millimetres, since
#: some scanners round positions to a tenth of one.
UNEVEN = 0.1
ROUNDED = 0.1
#: Tolerated drift caused by directions of three digits, per distance from the first slice.
ASIDE = 1e-3


@dataclass(frozen=True)
class Stack:
    """Slices in z order, and their geometry.

    Parameters
    ----------
    slices : tuple of SliceHeader
        Sorted along the normal of the slices.
    spacing : tuple of float or None
        Along z, y, x in millimetres; None if the files do not state it.
    directions : ndarray
        (3, 3) float64; columns are unit vectors along the array's x, y, z in LPS.
    """

    slices: tuple[SliceHeader, ...]
    spacing: tuple[float | None, float | None, float | None]
    directions: Floats

    def affine(self, spacing: Sequence[float]) -> Floats:
        """Return the affine from voxel (x, y, z, 1) to RAS millimetres.

        Parameters
        ----------
        spacing : sequence of float
            Along z, y, x, for the axes without a spacing in the files.
        """
        lengths = [
            other if own is None else own for own, other in zip(self.spacing, spacing, strict=True)
        ]
        affine = np.eye(4)
        affine[:3, :3] = self.directions * lengths[::-1]
        affine[:3, 3] = self.slices[0].position
        return LPS_TO_RAS @ affine


def stack(path: str, slices: Sequence[SliceHeader]) -> Stack:
    """Return the volume formed by the slices of one series.

    Parameters
    ----------
    path : str
        Path of the series, used in error messages.
    slices : sequence of SliceHeader
        In any order.

    Raises
    ------
    SourceError
        If slices differ in size, spacing or orientation, share a position, are missing or are
        unevenly spaced; the message names the files.
    """
    first = slices[0]
    _check_alike(slices, "pixels (rows, columns)", lambda s: s.shape, 0)
    _check_alike(slices, "pixel spacing in mm", lambda s: s.pixel_spacing or (0, 0), 1e-4)
    _check_alike(slices, "orientation", lambda s: (*s.row, *s.column), 1e-3)
    _check_rescaled(slices)
    row, column = np.asarray(first.row), np.asarray(first.column)
    gram = np.array([[row @ row, row @ column], [column @ row, column @ column]])
    if not np.allclose(gram, np.eye(2), atol=1e-3):
        raise SourceError(
            f"{first.label} has the orientation {(*first.row, *first.column)}, whose two "
            "directions are not perpendicular unit vectors: export the series again"
        )
    directions = _perpendicular(row, column)
    normal = directions[:, 2]
    ordered = sorted(slices, key=lambda s: float(normal @ s.position))
    y, x = first.pixel_spacing or (None, None)
    if len(ordered) == 1:
        return Stack((first,), (first.thickness, y, x), directions)
    places = np.array([normal @ s.position for s in ordered])
    _check_places(path, ordered, places)
    step = float(places[-1] - places[0]) / (len(ordered) - 1)
    # Slices are aligned along their normal, so that the axes of the volume are perpendicular.
    _check_in_line(path, ordered, directions)
    return Stack(tuple(ordered), (step, y, x), directions)


def doubts(found: Stack) -> tuple[str, ...]:
    """Return why slices may be missing that the positions of the others do not show.

    Parameters
    ----------
    found : Stack
        A stack of even spacing.
    """
    slices = found.slices
    first, count = slices[0], len(slices)
    said = []
    alike = {(s.acquisition, s.acquired) for s in slices}
    if len(alike) == 1 and first.frames == 1 and (first.acquired or 0) > count:
        said.append(
            f"{count} slices are there, but ImagesInAcquisition is {first.acquired}: some may be "
            "missing at an end, or belong to other series"
        )
    apart, thickness = found.spacing[0], first.thickness
    numbers = [s.number for s in slices]
    steps = {b - a for a, b in pairwise(n for n in numbers if n is not None)}
    if count > 2 and None not in numbers and len(steps) == 1 and apart and thickness:
        (step,) = (abs(each) for each in steps)
        if step > 1 and apart > (step - 0.5) * thickness:
            said.append(
                f"slices are {apart:.6g} mm apart, but {thickness:.6g} mm is stated, and their "
                f"InstanceNumber goes up by {step}: the ones between may be missing"
            )
    return tuple(said)


def _perpendicular(row: Floats, column: Floats) -> Floats:
    """Return unit vectors (3, 3) along the array's x, y, z, as columns."""
    frame = np.eye(4)
    frame[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1)
    directions = square_affine(frame)[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    return np.asarray(directions / np.where(np.abs(lengths - 1) > 1e-9, lengths, 1.0))


def _check_in_line(path: str, slices: Sequence[SliceHeader], directions: Floats) -> None:
    """Raise `SourceError` if slices are offset from the line through the first one."""
    first = slices[0]
    offsets = np.subtract([s.position for s in slices], first.position) @ directions
    sideways, along = offsets[:, :2], np.abs(offsets[:, 2])
    pixel = min(first.pixel_spacing or (0.0, 0.0))
    allowed = max(ROUNDED, UNEVEN * pixel) + ASIDE * along + 1e-9
    if (np.linalg.norm(sideways, axis=1) <= allowed).all():
        return
    drift = np.median(np.diff(sideways, axis=0), axis=0)
    tilt = float(np.linalg.norm(drift))
    steady = sideways - np.arange(len(slices))[:, None] * drift
    if tilt * (len(slices) - 1) > allowed[-1] and _is_line(steady, allowed):
        angle = np.degrees(np.arctan2(tilt, np.median(np.diff(along))))
        raise SourceError(
            f"{path} has slices that shift sideways by {tilt:.3g} mm from one to the next, as "
            f"with a gantry that is tilted by {angle:.3g} degrees: resample it to a straight "
            "volume first, as dcm2niix does"
        )
    # the median is used, so that a few slices out of line do not shift the line
    beside = np.linalg.norm(sideways - np.median(sideways, axis=0), axis=1)
    worst = int(np.flatnonzero(beside >= beside.max() - 1e-6)[0])
    count = int((beside > allowed).sum())
    others = f", as are {count - 1} more" if count > 1 else ""
    raise SourceError(
        f"{path} has slices that are out of line: {slices[worst].label} is "
        f"{beside[worst]:.3g} mm off the line of the other slices{others}: keep the slices of one "
        "reconstruction, or resample the scan to a straight volume first"
    )


def _is_line(steady: Floats, allowed: Floats) -> bool:
    """Return whether all slices shift by the same amount from one to the next."""
    beside = np.linalg.norm(steady - np.median(steady, axis=0), axis=1)
    return bool((beside <= allowed).all())


def _check_alike(
    slices: Sequence[SliceHeader],
    what: str,
    values: Callable[[SliceHeader], Sequence[float]],
    tolerance: float,
) -> None:
    expected = np.asarray(values(slices[0]), dtype=np.float64)
    for other in slices[1:]:
        found = np.asarray(values(other), dtype=np.float64)
        if np.abs(found - expected).max() > tolerance:
            raise SourceError(
                f"{other.label} has the {what} {_numbers(found)}, but {slices[0].label} has "
                f"{_numbers(expected)}: remove the slices that do not belong to the volume"
            )


def _check_rescaled(slices: Sequence[SliceHeader]) -> None:
    """Raise `SourceError` if only some slices state the rescaling or its unit."""
    stated = [s.rescale_stated for s in slices]
    for tag in sorted(set().union(*stated)):
        lacking = [s for s, own in zip(slices, stated, strict=True) if tag not in own]
        if lacking:
            having = next(s for s, own in zip(slices, stated, strict=True) if tag in own)
            raise SourceError(
                f"{lacking[0].label} does not state {tag}, but {having.label} does "
                f"({len(lacking)} of {len(slices)} slices lack it), so that their values would be "
                "on different scales: export the series again"
            )
    named = {s.rescale_type: s for s in slices if s.rescale_type}
    if len(named) > 1:
        (one, first), (other, second) = list(named.items())[:2]
        raise SourceError(
            f"{first.label} has the RescaleType {one!r}, but {second.label} has {other!r}: keep "
            "the slices of one kind of value"
        )


def _check_places(path: str, slices: Sequence[SliceHeader], places: Floats) -> None:
    gaps = np.diff(places)
    same = np.flatnonzero(gaps < SAME_PLACE)
    if same.size:
        k = int(same[0])
        pairs = "this pair" if same.size == 1 else f"this and {same.size - 1} more pairs"
        raise SourceError(
            f"{slices[k].label} and {slices[k + 1].label} are at the same position, "
            f"{places[k]:.6g} mm along the scan ({pairs} of {path}): keep the slices of one "
            "reconstruction or phase"
        )
    typical = float(np.median(gaps))
    wide = np.flatnonzero(gaps > 1.5 * typical)
    if wide.size:
        k = int(wide[0])
        count = sum(round(float(gap) / typical) - 1 for gap in gaps[wide])
        raise SourceError(
            f"{path} lacks {count} slice{'s' if count > 1 else ''}: from {slices[k].label} to "
            f"{slices[k + 1].label} it is {gaps[k]:.6g} mm, elsewhere {typical:.6g} mm "
            f"({_gaps(wide.size)}): copy or export the series again"
        )
    even = np.linspace(places[0], places[-1], len(places))
    off = np.abs(places - even)
    worst = int(off.argmax())
    if off[worst] > max(UNEVEN * typical, ROUNDED):
        raise SourceError(
            f"{path} has unevenly spaced slices, {gaps.min():.6g} to {gaps.max():.6g} mm apart: "
            f"{slices[worst].label} is {off[worst]:.3g} mm off an even stack; keep the slices of "
            "one spacing, or resample the scan first"
        )


def _gaps(count: int) -> str:
    return "the only gap" if count == 1 else f"one of {count} gaps"


def _numbers(values: NDArray[Any]) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"
