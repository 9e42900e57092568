"""Truth of a sample: a source like its image, with its own metadata and affine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.metadata import SourceMetadata, parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.source import Array, LazyArray, Slices, Source, bounded
from parafovea.geometry.grid import AXES, Grid, shape3, vector3

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
        The sheet's `metadata` of the sample. Its `truth_spacing`, `truth_unit`, `truth_origin`,
        `truth_channel`, `truth_ignore` and `truth_background` describe the truth. Its spacing, unit
        and origin describe the source; they also apply to a truth whose file states no spacing,
        such as a plain TIFF. Its channel only applies to the source.
    folder : Path
        Base folder of relative sidecar paths.
    like : mapping, optional
        The `grid` and the `affine` of the sample's source, as recorded by `resample_volume`. A
        truth with an affine is reoriented so that its axes match the source's.

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
    own = SourceMetadata(
        spacing=said.truth_spacing,
        unit=said.truth_unit,
        origin=said.truth_origin,
        channel=said.truth_channel,
    )
    try:
        truth = open_source(path, metadata=own, labels=True)
    except SpacingError:
        of_source = SourceMetadata(
            spacing=own.spacing or said.spacing,
            unit=own.unit or said.unit,
            origin=own.origin or said.origin,
            channel=own.channel,
        )
        truth = open_source(path, metadata=of_source, labels=True)
    truth = replace(truth, ignored=said.truth_ignore, background=said.truth_background)
    return truth if like is None else turned_like(truth, like)


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
    objects = parse_metadata(metadata, folder=folder).objects
    return open_truth(objects, metadata=metadata, folder=folder, like=like)


def turned_like(truth: Source, like: Mapping[str, Any]) -> Source:
    """Return a truth reoriented to the axes of its source, based on their affines.

    Parameters
    ----------
    truth : Source
        The truth as stored.
    like : mapping
        The `grid` and the `affine` of the source. Without an affine, the truth is returned as
        stored.

    Raises
    ------
    SourceError
        If the axes of the truth are oblique to those of its source.
    """
    there = like.get("affine")
    if truth.affine is None or there is None:
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


class TurnedArray:
    """An array with permuted and optionally reversed axes.

    Parameters
    ----------
    array : LazyArray
        As stored.
    order : sequence of int
        Stored axes that become z, y, x.
    flips : sequence of bool
        Whether z, y, x are reversed.
    """

    def __init__(self, array: LazyArray, order: list[int], flips: list[bool]) -> None:
        z, y, x = (array.shape[axis] for axis in order)
        self.shape = (z, y, x)
        self.dtype = array.dtype
        self._array, self._order, self._flips = array, order, flips

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        wanted = bounded(index, self.shape)
        stored = [slice(0, 0)] * 3
        for part, n, axis, flip in zip(wanted, self.shape, self._order, self._flips, strict=True):
            stored[axis] = slice(n - part.stop, n - part.start) if flip else part
        values = self._array[stored[0], stored[1], stored[2]].transpose(self._order)
        back = tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)
        return np.ascontiguousarray(values[back])
