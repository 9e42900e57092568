"""One interface for every source: a lazy array (z, y, x) on a Grid."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from parafovea.errors import GridError, ParafoveaError, SourceError
from parafovea.formats.metadata import SourceMetadata
from parafovea.geometry.grid import Box, Grid, Vector

Array = np.ndarray[Any, Any]
Slices = tuple[slice, slice, slice]

#: What the format libraries raise for damaged files; PIL raises SyntaxError for a broken PNG.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


#: Voxel size along z, y, x of images that do not state theirs, in metres.
_PIXEL: Vector = (1.0, 10.0, 10.0)


class LazyArray(Protocol):
    """An array (z, y, x) that reads only what it is asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, in the machine's byte order."""

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1."""


class StoredArray(Protocol):
    """An array as the file has it: any number of axes, in any order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element, as stored."""

    def __getitem__(self, index: tuple[slice | int, ...]) -> Any:
        """Return the elements of slices and integers, an index each axis."""


@dataclass(frozen=True)
class Source:
    """A volume that can be read a box at a time.

    Parameters
    ----------
    path : str
        As the user gave it.
    array : LazyArray
        (z, y, x); unsigned or signed integers or floats, booleans as uint8.
    grid : Grid
        Where the voxels lie. The world is aligned with the array.
    affine : ndarray or None
        4 x 4 float64, from voxel (x, y, z) to RAS millimetres, as the file states it; only for
        formats that have one.
    bands : tuple of str
        Names of the channels where the array has a leading axis of them, (band, z, y, x).
    conditions : mapping of str to tuple of int, optional
        The `month` and the `biome` of each plane, where images have them.
    planes : tuple of str
        Name of each plane, where planes are images of their own.
    ignored, background : int, optional
        Of a truth, the value of voxels that nobody has labelled, and that of nothing if not 0.
    series : str
        What tables of findings call the scan: the SeriesInstanceUID of DICOM, else the user's
        `series` or the name of the file without its ending.
    check : callable, optional
        Raises `SourceError` where what was read cannot be right as a whole; called once all voxels
        were read.
    """

    path: str
    array: LazyArray
    grid: Grid
    affine: Array | None = field(default=None, compare=False)
    series: str = ""
    bands: tuple[str, ...] = ()
    conditions: Mapping[str, tuple[int, ...]] | None = None
    planes: tuple[str, ...] = ()
    check: Callable[[], None] | None = field(default=None, compare=False)
    ignored: int | None = None
    background: int | None = None

    def read(self, box: Box) -> Array:
        """Return the voxels of a box.

        Parameters
        ----------
        box : Box
            Within the volume.

        Returns
        -------
        ndarray
            ([band,] z, y, x), of the array's dtype.

        Raises
        ------
        GridError
            If the box reaches outside of the volume.
        SourceError
            If the file is damaged there.
        """
        if box.intersection(self.grid.box) != box:
            raise GridError(
                f"box {box} reaches outside of {self.path}, which is {self.grid.box}: "
                "cut it to the volume first"
            )
        return self.array[box.slices]


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a source, and the user's metadata of it.

    Parameters
    ----------
    metadata : SourceMetadata
        From the user; it overrides the file.
    finer_than : tuple of float, optional
        Of a pyramid, the coarsest level is read whose spacing is at most this along z, y, x.
    unit : str, optional
        Of `finer_than`.
    bands : tuple of str
        Names of the channels to read, where the format has several.
    truth : bool
        Of a folder of tiles, take refined bands before those of a first stage.
    labels : bool
        Whether the voxels are class indices or object ids: a palette then does not change them,
        and neither does the side on which white is.
    """

    metadata: SourceMetadata
    finer_than: Vector | None = None
    unit: str | None = None
    bands: tuple[str, ...] = ()
    truth: bool = False
    labels: bool = False

    @property
    def pixels(self) -> tuple[Vector, str]:
        """Voxel size along z, y, x of images that do not state theirs, and its unit."""
        return self.finer_than or self.metadata.spacing or _PIXEL, self.unit or "meter"


@contextlib.contextmanager
def readable(path: str, *failures: type[Exception]) -> Iterator[None]:
    """Turn what a library raises for a damaged file into one `SourceError`.

    Parameters
    ----------
    path : str
        For the message.
    *failures : type
        Errors of one library beside the built-in ones.
    """
    damage: tuple[type[Exception], ...] = (*_DAMAGE, *failures)
    try:
        yield
    except ParafoveaError:
        raise
    except damage as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(
            f"{path} cannot be read ({reason[:200]}): it may be truncated or damaged, copy or "
            "write it again"
        ) from error


def voxel_dtype(dtype: np.dtype[Any], path: str) -> np.dtype[Any]:
    """Return the type in which voxels are handed out, or raise `SourceError`.

    Booleans become uint8; other types keep their width, in the machine's byte order.
    """
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if dtype.kind in "uif":
        return dtype.newbyteorder("=")
    kinds = {"c": "complex numbers", "O": "objects", "V": "records"}
    if dtype.names is not None and dtype.names[:3] == ("R", "G", "B"):
        raise SourceError(
            f"{path} is a colour image ({len(dtype.names)} values a voxel): give the volume that "
            "was measured, of one number a voxel"
        )
    raise SourceError(
        f"{path} holds {kinds.get(dtype.kind, 'text or dates')} ({dtype}) instead of numbers: "
        "write it again as integers or floats"
    )


def pick_channel(path: str, count: int, channel: int | None) -> int:
    """Return which of `count` channels to read, or raise `SourceError` where it is unspecified."""
    if channel is None and count > 1:
        raise SourceError(
            f"{path} has {count} channels: write channel=0 (up to {count - 1}) in the metadata "
            "column of its line in the sample sheet"
        )
    if channel is not None and channel >= count:
        raise SourceError(
            f"{path} has {count} channel{'s' if count > 1 else ''}, and no channel {channel}: "
            f"use channel={count - 1} or less"
        )
    return channel or 0


class VolumeView:
    """The axes z, y, x of a stored array of any axes, read on demand.

    Parameters
    ----------
    stored : StoredArray
        What the file holds.
    path : str
        For messages.
    axes : tuple of int or None
        Which stored axes are z, y, x; None for one that the file does not have, of length 1.
    fixed : mapping of int to int
        Which element of each other stored axis is read.
    dtype : dtype, optional
        Of the voxels handed out, where it is not the stored one.
    failures : tuple of type
        Errors of the library beside the built-in ones.
    """

    def __init__(
        self,
        stored: StoredArray,
        path: str,
        *,
        axes: tuple[int | None, int | None, int | None],
        fixed: Mapping[int, int] | None = None,
        dtype: np.dtype[Any] | None = None,
        failures: tuple[type[Exception], ...] = (),
    ) -> None:
        self._stored = stored
        self._path = path
        self._axes = axes
        self._fixed = dict(fixed or {})
        self._failures = failures
        self.dtype = voxel_dtype(stored.dtype, path) if dtype is None else dtype
        z, y, x = (1 if a is None else int(stored.shape[a]) for a in axes)
        self.shape = (z, y, x)

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        wanted = bounded(index, self.shape)
        sizes = [s.stop - s.start for s in wanted]
        if 0 in sizes:
            return np.empty(sizes, self.dtype)
        stored_index: list[slice | int] = [
            self._fixed.get(axis, 0) for axis in range(len(self._stored.shape))
        ]
        for axis, part in zip(self._axes, wanted, strict=True):
            if axis is not None:
                stored_index[axis] = part
        with readable(self._path, *self._failures):
            values = np.asarray(self._stored[tuple(stored_index)])
            # What was read has its axes in the stored order; those that are missing come last.
            order = np.argsort(
                np.argsort([99 if a is None else a for a in self._axes], kind="stable")
            )
            full = values.reshape(values.shape + (1,) * (3 - values.ndim)).transpose(order)
            if list(full.shape) != sizes:
                raise SourceError(
                    f"{self._path} gave {full.shape} voxels instead of {tuple(sizes)}: "
                    "it may be truncated, copy it again"
                )
        return np.ascontiguousarray(full, dtype=self.dtype)


def bounded(index: Slices, shape: tuple[int, int, int]) -> Slices:
    """Return slices with both ends given and within `shape`; steps other than 1 are refused."""
    ends = []
    for part, length in zip(index, shape, strict=True):
        start, stop, step = part.indices(length)
        if step != 1:
            raise GridError(f"slice {part} has step {step}: read without steps, then skip")
        ends.append(slice(start, max(start, stop)))
    z, y, x = ends
    return z, y, x
