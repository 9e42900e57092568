"""Truth of a sample: a source like its image, with its own metadata and affine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.covered_part import covered_part, overlapping
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.formats.region import cut
from parafovea.formats.source import Array, LazyArray, Source
from parafovea.formats.turned_array import TurnedArray
from parafovea.geometry.grid import AXES, Box, Grid, shape3, vector3

#: Tolerated rotation of a truth against its source, in voxels over its whole length.
_TURN = 0.5
#: Significant digits of a position in voxels: affines are stored as 32-bit floats.
_DIGITS = 5


def open_truth(
    path: str | None,
    *,
    metadata: str,
    folder: Path = Path(),
    like: Mapping[str, Any] | None = None,
) -> Source | None:
    """Open a truth volume, placed by its own metadata, or else by its sample's.

    Parameters
    ----------
    path : str or None
        Path of the truth; None if there is none.
    metadata : str
        The sheet's `metadata` of the sample. Its words that begin with `truth_` describe the truth.
        Its spacing, unit and origin describe the source; they also apply to a truth whose file
        states no spacing, such as a plain TIFF. Its channel and series only apply to the source.
    folder : Path
        Base folder of relative sidecar paths.
    like : mapping, optional
        The place of the sample's source, as recorded by `resample_volume`; see `place_of`. A truth
        that lies where the file of the source states it to be follows the words that move the
        source. A truth with an affine is reoriented so that its axes match the source's.

    Returns
    -------
    Source or None
        The truth on its grid, in the world of the source's grid, and then without an affine.

    Raises
    ------
    SourceError
        If the truth cannot be read, no spacing is stated, or its axes are oblique to those of its
        source.
    """
    if path is None:
        return None
    said = parse_metadata(metadata, folder=folder)
    try:
        truth = _opened(path, said, said.truth_channel)
    except SourceError as error:
        error.add_note(_WORDS)
        raise
    _check_slices(truth, like or {})
    return (
        truth if like is None else cut_like(_of_same_voxels(turned_like(truth, like), like), like)
    )


def cut_like(truth: Source, like: Mapping[str, Any]) -> Source:
    """Return the part of a truth that lies where its sample does, if that is a part of its source.

    Parameters
    ----------
    truth : Source
        The truth in the world of the source's grid.
    like : mapping
        From `place_of`.

    Raises
    ------
    SourceError
        If it does not cover the source, or states no place of its own, or lies beside the part.
    """
    region = like.get("region")
    if region is None:
        return truth
    whole = Grid.from_dict(dict(like["grid"]))
    there = truth.grid.converted(whole.unit)
    covered_part(truth.path, there, whole)
    starts, stops = zip(*region, strict=True)
    chosen = Box(shape3(starts), shape3(stops))
    box = overlapping(there, whole.crop(chosen))
    if not box.size:
        raise SourceError(
            f"truth {truth.path} lies beside the part {chosen} of its source that is the "
            "sample: give a truth of that part, or correct its place"
        )
    return truth if box == truth.grid.box else cut(truth, box)


def _check_slices(truth: Source, like: Mapping[str, Any]) -> None:
    """Raise `SourceError` if a truth and its source lack different slices."""
    theirs = like.get("gaps")
    if theirs is None or truth.gaps is None or like["grid"]["shape"][0] != truth.grid.shape[0]:
        return
    gaps = {int(plane): int(count) for plane, count in theirs}
    if gaps == dict(truth.gaps):
        return
    differing = {*gaps.items()} ^ {*truth.gaps}
    raise SourceError(
        f"truth {truth.path} and its source lack different slices by the numbers in their names, "
        f"first after plane {min(differing)[0]}, so that their planes do not belong together: give "
        "both the same slices"
    )


def _of_same_voxels(truth: Source, like: Mapping[str, Any]) -> Source:
    """Return a truth, or raise `SourceError` if it lacks a plane of its source or has one more.

    Volumes that differ by one voxel cover the same region to the precision that other spacings
    need, but with the spacing of the source, one of the planes is missing somewhere.
    """
    if "grid" not in like:
        return truth
    grid = Grid.from_dict(dict(like["grid"]))
    there = truth.grid.converted(grid.unit)
    if (
        there.shape == grid.shape
        and not any(there.origin)
        and np.allclose(there.spacing, grid.spacing, rtol=1e-3, atol=0)
        and (np.abs(grid.origin) > 0.5 * np.array(grid.spacing)).any()
        and not truth.placed_by_user
    ):
        raise SourceError(
            f"truth {truth.path} has as many voxels of the same size as its source, but states no "
            f"origin, while that of the source is {grid.origin} {grid.unit} along z, y, x, so that "
            "they would be compared at other places: write truth_origin= in the metadata column of "
            "the sample sheet, with that of the source if the truth has its voxels"
        )
    alike = all(
        abs(a - b) <= 1e-3 * b and abs(p - q) <= 0.5 * b
        for a, b, p, q in zip(there.spacing, grid.spacing, there.origin, grid.origin, strict=True)
    )
    for axis, n, m in zip(AXES, there.shape, grid.shape, strict=True):
        if alike and abs(n - m) == 1:
            raise SourceError(
                f"truth {truth.path} has the voxels of its source, but {n} of them along {axis} "
                f"instead of {m}: give a truth of all planes, or state its place by truth_origin="
            )
    return truth


#: How the sheet describes a truth, for errors that name the words of a source.
_WORDS = (
    "of a truth; its words in the metadata column are truth_spacing=, truth_unit=, truth_origin=, "
    "truth_channel= and truth_series="
)


def _opened(path: str, said: SourceMetadata, channel: int | None) -> Source:
    """Open a truth or the true objects as the user describes them."""
    own = SourceMetadata(
        spacing=said.truth_spacing,
        unit=said.truth_unit,
        origin=said.truth_origin,
        channel=channel,
        series=said.truth_series,
        truth_complete=said.truth_complete,
    )
    try:
        truth = open_source(path, metadata=own, labels=True)
    except SpacingError:
        of_source = own.model_copy(
            update={
                "spacing": own.spacing or said.spacing,
                "unit": own.unit or said.unit,
                "origin": own.origin or said.origin,
            }
        )
        truth = replace(open_source(path, metadata=of_source, labels=True), placed_by_user=True)
    is_placed = truth.placed_by_user or (own.spacing, own.unit, own.origin) != (None, None, None)
    return replace(
        truth,
        ignored=_ignored(path, truth.ignored, said),
        background=said.truth_background,
        placed_by_user=is_placed,
    )


def _ignored(path: str, stated: int | None, said: SourceMetadata) -> int | None:
    """Return the value of unlabelled voxels, by the user or the file."""
    if said.truth_ignore is not None or stated is None or stated == said.truth_background:
        return said.truth_ignore
    if stated == 0 and said.truth_background is None:
        raise SourceError(
            f"truth {path} states 0 as the value of missing data (_FillValue, nodata), while 0 is "
            "the background: write truth_background=0 in the metadata column of the sample sheet "
            "where it is, or truth_ignore=0 where nobody has labelled these voxels"
        )
    return stated


def open_truth_objects(
    metadata: str, *, folder: Path = Path(), like: Mapping[str, Any] | None = None
) -> Source | None:
    """Open the true objects named in a sample's metadata, if any.

    Parameters
    ----------
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Base folder of relative sidecar paths.
    like : mapping, optional
        As for `open_truth`.

    Returns
    -------
    Source or None
        Object ids on their grid.

    Raises
    ------
    SourceError
        As `open_truth`.
    """
    said = parse_metadata(metadata, folder=folder)
    if said.objects is None:
        return None
    channel = said.truth_channel if said.objects_channel is None else said.objects_channel
    try:
        objects = _opened(said.objects, said, channel)
    except SourceError as error:
        error.add_note(_WORDS.replace("a truth", "true objects"))
        raise
    if like is None:
        return objects
    return cut_like(_of_same_voxels(turned_like(objects, like), like), like)


def followed(truth: Source, like: Mapping[str, Any]) -> Source:
    """Return a truth moved by the words that move its source, if it lies where its file does.

    Parameters
    ----------
    truth : Source
        The truth as stored; one that the user places has its place.
    like : mapping
        From `place_of`.
    """
    stated = like.get("stated")
    if stated is None or truth.placed_by_user:
        return truth
    old, new = (Grid.from_dict(dict(stated[key])) for key in ("grid", "moved"))
    is_scan = truth.affine is not None and stated["affine"] is not None
    if is_scan:
        was, now = np.asarray(stated["affine"], float), np.asarray(like["affine"], float)
        own = np.asarray(truth.affine, float)
    else:
        was, now, own = (_affine_of(grid) for grid in (old, new, truth.grid))
    before, after = np.linalg.solve(was, own), np.linalg.solve(now, own)
    if not _fits(before, truth.grid, old) or _fits(after, truth.grid, new):
        return truth
    placed = now @ before
    lengths = vector3(np.linalg.norm(placed[:3, :3], axis=0)[::-1])
    origin = (0.0, 0.0, 0.0) if is_scan else vector3(placed[:3, 3][::-1].tolist())
    grid = Grid(truth.grid.shape, lengths, origin, "millimeter")
    if is_scan:
        return replace(truth, affine=placed, grid=grid.converted(truth.grid.unit))
    return replace(truth, grid=grid.converted(new.unit))


#: Distance in voxels up to which the faces of two volumes are the same.
_APART = 0.51


def _affine_of(grid: Grid) -> Array:
    """Return the map from voxels (x, y, z, 1) of a grid to its world in millimetres."""
    placed = grid.converted("millimeter")
    affine = np.diag([*placed.spacing[::-1], 1.0])
    affine[:3, 3] = placed.origin[::-1]
    return affine


def _fits(matrix: Array, grid: Grid, source: Grid) -> bool:
    """Return whether a truth fills the box of a source, or has its voxels and lies within.

    Parameters
    ----------
    matrix : ndarray
        (4, 4), from voxels (x, y, z, 1) of the truth to those of the source.
    grid, source : Grid
        Of the two.
    """
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape[::-1]])).reshape(3, -1)
    corners = matrix[:3, :3] @ ends + matrix[:3, 3:]
    low = corners.min(axis=1) + 0.5
    high = corners.max(axis=1) + 0.5 - np.array(source.shape[::-1])
    fills = (np.abs(low) < _APART).all() and (np.abs(high) < _APART).all()
    within = (low > -_APART).all() and (high < _APART).all()
    same_voxels = np.allclose(np.linalg.norm(matrix[:3, :3], axis=0), 1, atol=1e-3)
    return bool(fills or (within and same_voxels))


def turned_like(truth: Source, like: Mapping[str, Any]) -> Source:
    """Return a truth reoriented to the axes of its source, based on their affines.

    Parameters
    ----------
    truth : Source
        The truth as stored.
    like : mapping
        From `place_of`. Without an affine, the axes of the truth stay as stored.

    Raises
    ------
    SourceError
        If the axes of the truth are oblique to those of its source, or its affine turns or
        reverses axes and its source has none.
    """
    truth = followed(truth, like)
    there = like.get("affine")
    if truth.affine is None:
        return truth
    if there is None:
        _check_as_stored(truth)
        return replace(truth, affine=None)
    grid = Grid.from_dict(dict(like["grid"]))
    # from voxels of the truth to voxels of the source, along z, y, x
    matrix = np.linalg.solve(np.asarray(there, float), truth.affine)
    steps, start = matrix[:3, :3][::-1, ::-1], matrix[:3, 3][::-1]
    order = [int(axis) for axis in np.abs(steps).argmax(axis=1)]
    along = steps[[0, 1, 2], order]
    drift = steps.copy()
    drift[[0, 1, 2], order] = 0
    if sorted(order) != [0, 1, 2] or (np.abs(drift) @ np.array(truth.grid.shape) > _TURN).any():
        raise SourceError(
            f"truth {truth.path} is rotated or sheared against its source by the affines of the "
            f"two, of which the truth's is {np.round(truth.affine, 4).tolist()}: resample it to "
            "the source"
        )
    flips = [bool(step < 0) for step in along]
    shape = shape3([truth.grid.shape[axis] for axis in order])
    first = start + np.array(
        [step * (n - 1) if flip else 0.0 for step, n, flip in zip(along, shape, flips, strict=True)]
    )
    straight = order == [0, 1, 2] and not any(flips)
    if straight and np.allclose(along, 1, atol=1e-4) and np.allclose(first, 0, atol=1e-3):
        return replace(truth, affine=None)
    spacing = vector3(
        [abs(round(float(k), 7)) * s for k, s in zip(along, grid.spacing, strict=True)]
    )
    origin = grid.world([round(float(index), _DIGITS) for index in first])
    array: LazyArray = TurnedArray(truth.array, order, flips)
    return replace(truth, array=array, grid=Grid(shape, spacing, origin, grid.unit), affine=None)


def _check_as_stored(truth: Source) -> None:
    """Raise `SourceError` if an affine turns or reverses axes, for a source without one.

    Programs write arrays without orientation with x and y along those of RAS, or of LPS.
    """
    steps = np.asarray(truth.affine, float)[:3, :3]
    signs = np.sign(np.diag(steps))
    in_order = (np.abs(steps).argmax(axis=0) == np.arange(3)).all()
    if truth.placed_by_user or (in_order and signs[2] > 0 and signs[0] == signs[1]):
        return
    raise SourceError(
        f"truth {truth.path} has an affine that turns or reverses its axes, "
        f"{np.round(steps, 4).tolist()}, while its source has none to compare with: save the truth "
        "with the axes of its source, or, if its voxels are stored as those of the source, write "
        "truth_origin=0,0,0 in the metadata column of the sample sheet"
    )


def check_upright(truth: object, path: str) -> None:
    """Raise `SourceError` for a truth whose affine permutes, reverses or tilts z, y, x.

    Parameters
    ----------
    truth : object
        A source; without an affine, it is in the world of its grid.
    path : str
        Used in the error message.
    """
    affine = getattr(truth, "affine", None)
    if affine is None:
        return
    steps = np.asarray(affine, float)[:3, :3]
    for axis, name in enumerate(AXES[::-1]):
        if steps[axis, axis] <= 0 or np.abs(steps[:, axis]).argmax() != axis:
            raise SourceError(
                f"truth {path} has an affine whose axis {name} does not point along "
                f"{name}: it needs the orientation of its source, whose affine is unknown here"
            )
