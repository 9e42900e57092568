"""Stacks of image files, one plane per file: folders and patterns of any registered format."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.registry import member_reader
from parafovea.formats.slice_names import counted_twice, gaps
from parafovea.formats.source import (
    Array,
    LazyArray,
    Request,
    Slices,
    Source,
    bounded,
    channel_count,
)
from parafovea.formats.source_placement import Stated, place

logger = logging.getLogger(__name__)


def open_volume(location: Location, request: Request) -> Source:
    """Open image files as the planes of one volume.

    Parameters
    ----------
    location : Location
        Its `slices` are the files in z order.
    request : Request
        User metadata; slices never state a spacing along z.

    Returns
    -------
    Source
        Each slice is read when its plane is requested.

    Raises
    ------
    SourceError
        If a file is damaged, has several planes, or differs from the first.
    """
    path, files = location.path, location.slices
    missing = _gaps(path, files)
    if request.labels:
        _check_palettes(files)
    planes = [_plane(file, request.metadata.channel, labels=request.labels) for file in files]
    for file, plane in zip(files, planes, strict=True):
        if plane.shape[0] != 1:
            raise SourceError(
                f"{file} has {plane.shape[0]} planes, but {path} takes one per file: "
                "give it on its own, as a TIFF stack"
            )
        if plane.shape != planes[0].shape or plane.dtype != planes[0].dtype:
            raise SourceError(
                f"{file} is {_described(plane)}, but {files[0]} is {_described(planes[0])}: "
                "remove it from the slices or correct it"
            )
    stack = SliceStack(planes)
    return Source(
        path,
        stack,
        place(path, stack.shape, Stated(), request.metadata),
        channel_names=("",) * min(channel_count(plane) for plane in planes),
        gaps=missing,
    )


class SliceStack:
    """Planes (1, y, x) of equal shape and dtype, stacked along z.

    Parameters
    ----------
    planes : sequence of LazyArray
        Planes in z order.
    """

    def __init__(self, planes: Sequence[LazyArray]) -> None:
        self._planes = planes
        self.shape = (len(planes), *planes[0].shape[1:])
        self.dtype = planes[0].dtype

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        z, y, x = bounded(index, self.shape)
        out = np.empty([s.stop - s.start for s in (z, y, x)], self.dtype)
        for k, plane in enumerate(self._planes[z]):
            out[k] = plane[slice(0, 1), y, x][0]
        return out


def _gaps(path: str, files: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return the planes after which slices are missing, and how many, by their file names.

    Missing slices, and slices that are numbered more than once, are a warning.
    """
    if counted_twice(files, path):
        logger.warning(
            "%s: the numbers in the names contain several counters, so the slices are sorted "
            "by the first number, then the next, from %s to %s: if these are several "
            "channels or series, choose one with a pattern",
            path,
            files[0],
            files[-1],
        )
    found = gaps(files, path)
    if found:
        missing = sum(gap.count for gap in found)
        logger.warning(
            "%s: %d of %d slices are missing by the numbers in the names, first after %s; "
            "planes after a gap are placed too low by its length",
            path,
            missing,
            missing + len(files),
            found[0].after,
        )
    return tuple((files.index(gap.after), gap.count) for gap in found)


def _check_palettes(files: Sequence[str]) -> None:
    """Raise `SourceError` if an index has different meanings in different slices."""
    known: bytes | None = None
    for file in files:
        palette_of = getattr(member_reader("image_stack", file), "palette_of", None)
        palette = None if palette_of is None else palette_of(file)
        if palette is None:
            continue
        longer, shorter = sorted([known or palette, palette], key=len, reverse=True)
        if not longer.startswith(shorter):
            raise SourceError(
                f"{file} has a different palette from the slices before it, so its indices mean "
                "different labels: save all slices with one palette, or the labels in gray"
            )
        known = longer


def _plane(file: str, channel: int | None, *, labels: bool) -> LazyArray:
    reader = member_reader("image_stack", file)
    plane: LazyArray = reader.open_plane(file, channel=channel, labels=labels)
    return plane


def _described(plane: LazyArray) -> str:
    return f"{plane.shape[1]} x {plane.shape[2]} {plane.dtype}"
