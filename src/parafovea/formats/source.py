"""Common interface of all sources: a lazy array (z, y, x) on a Grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from parafovea.errors import GridError, ParafoveaError, SourceError, describe, quoted, shown
from parafovea.geometry.grid import Box, Grid, Vector
from parafovea.runtime.names import hidden_character
from parafovea.runtime.optional_packages import missing_extra

if TYPE_CHECKING:
    from parafovea.formats.metadata.source_metadata import SourceMetadata
    from parafovea.formats.tiles.tile import Position

Array = np.ndarray[Any, Any]
Slices = tuple[slice, slice, slice]

#: What is no error of the bytes that are read: a request to stop.
_STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)

#: Characters of a library's message in an error.
_REASON = 200

#: Voxel size along z, y, x of images without a stated size, in metres.
_PIXEL: Vector = (1.0, 10.0, 10.0)


class LazyArray(Protocol):
    """An array (z, y, x) that is read on demand."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of a voxel, in native byte order."""

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1."""


class StoredArray(Protocol):
    """An array as stored: any number of axes, in any order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of an element, as stored."""

    def __getitem__(self, index: tuple[slice | int, ...]) -> Any:
        """Return the elements selected by one slice or integer per axis."""


@dataclass(frozen=True)
class Source:
    """A volume that can be read box by box.

    Parameters
    ----------
    path : str
        Source string as given by the user.
    array : LazyArray
        (z, y, x); unsigned or signed integers or floats, booleans as uint8.
    grid : Grid
        Position of the voxels. The world is aligned with the array.
    affine : ndarray or None
        4 x 4 float64, from voxel (x, y, z) to RAS millimetres, as stated in the file; only for
        formats that have one.
    bands : tuple of str
        Names of the channels if the array has a leading band axis, (band, z, y, x).
    channel_names : tuple of str
        Names of all channels of the file, of which `array` is one, as they stand there; "" for one
        without a name.
    conditions : mapping of str to tuple of int, optional
        The `month` and the `biome` of each plane, for images that have them.
    planes : tuple of str
        Name of each plane, if planes are separate images.
    positions : tuple of Position or None
        Position of each plane on the ground, for images that have one; empty for other volumes.
    ignored, background : int, optional
        Values of unlabelled voxels and, if not 0, of background in a truth.
    gaps : tuple of (int, int), optional
        For a stack of separate slices, the planes after which slices are missing, and how many;
        None for other sources.
    placed_by_user : bool
        Whether spacing, unit or origin of a truth are the user's.
    series : str
        Name of the scan in tables of findings: the SeriesInstanceUID of DICOM, otherwise the
        user's `series` or the file name without its ending.
    check : callable, optional
        Raises `SourceError` if the voxels read cannot be right as a whole; called after all voxels
        have been read.
    whole : Source, optional
        The whole source, if this is a part of one, which is its `box`.
    box : Box, optional
        Voxels of the whole.
    """

    path: str
    array: LazyArray
    grid: Grid
    affine: Array | None = field(default=None, compare=False)
    series: str = ""
    bands: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    conditions: Mapping[str, tuple[int, ...]] | None = None
    planes: tuple[str, ...] = ()
    positions: tuple[Position | None, ...] = ()
    check: Callable[[], None] | None = field(default=None, compare=False)
    ignored: int | None = None
    background: int | None = None
    gaps: tuple[tuple[int, int], ...] | None = None
    placed_by_user: bool = False
    whole: Source | None = field(default=None, compare=False, repr=False)
    box: Box | None = None

    def __post_init__(self) -> None:
        for name in (self.series, *self.bands, *self.planes):
            hidden = hidden_character(name)
            if hidden is not None:
                raise SourceError(
                    f"{shown(self.path)} names {quoted(name)} with the control character {hidden}: "
                    "name it anew"
                )

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
            If the file is damaged within the box.
        """
        if box.intersection(self.grid.box) != box:
            raise GridError(
                f"box {box} reaches outside {self.path}, which is {self.grid.box}: "
                "crop it to the volume first"
            )
        return self.array[box.slices]


@dataclass(frozen=True, slots=True)
class Request:
    """Options for opening a source, with the user metadata.

    Parameters
    ----------
    metadata : SourceMetadata
        User metadata; overrides the file.
    finer_than : tuple of float, optional
        For a pyramid, read the coarsest level whose spacing is at most this along z, y, x.
    unit : str, optional
        Unit of `finer_than`.
    bands : tuple of str
        Names of the channels to read, if the format has several.
    truth : bool
        For a folder of tiles, prefer refined bands to those of a first stage.
    labels : bool
        Whether the voxels are class indices or object ids: they are then not changed by a palette
        or by the photometric interpretation (white is 0).
    channels : bool
        Whether the file is one of channels, of which the one in `metadata` is read.
    """

    metadata: SourceMetadata
    finer_than: Vector | None = None
    unit: str | None = None
    bands: tuple[str, ...] = ()
    truth: bool = False
    labels: bool = False
    channels: bool = False

    @property
    def refuses_holes(self) -> bool:
        """Whether no voxel may be missing: in a truth, unless the user states it as complete."""
        return self.labels and not self.metadata.truth_complete

    @property
    def pixels(self) -> tuple[Vector, str]:
        """Voxel size along z, y, x of images without a stated size, and its unit."""
        return self.finer_than or self.metadata.spacing or _PIXEL, self.unit or "meter"


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn whatever goes wrong while foreign bytes are read into a `SourceError` of their file.

    This is the one boundary between a damaged file and everything else. The libraries of the
    formats raise what they like at a file that is not as they expect: `LookupError`, `TokenError`,
    `zlib.error`, `LZMAError`, `SystemError`, and of those in Rust a `PanicException`, which is no
    `Exception` at all. A size that is damaged is a `MemoryError`.

    Parameters
    ----------
    path : str
        File, folder or series, for the message.

    Raises
    ------
    SourceError
        For any exception but a `ParafoveaError`, which gets a note about the file unless it names
        it, and a request to stop, such as `KeyboardInterrupt`.
    MissingExtraError
        If an optional package is not installed, which is no error of the file.
    """
    try:
        yield
    except ParafoveaError as error:
        if path not in describe(error):
            error.add_note(f"in {path}")
        raise
    except _STOPS:
        raise
    except MemoryError as error:
        raise SourceError(
            f"{path} cannot be read in the memory of this machine ({_reason(error)}): the sizes in "
            "it may be damaged, copy or write it again; if they are right, it needs more memory"
        ) from error
    except BaseException as error:
        missing = missing_extra(error) if isinstance(error, ImportError) else None
        if missing is not None:
            missing.add_note(f"in {path}")
            raise missing from error
        raise SourceError(
            f"{path} cannot be read ({_reason(error)}): it may be truncated or damaged, copy or "
            "write it again"
        ) from error


def _reason(error: BaseException) -> str:
    """Return the message of a library's error in one line, or the error's name without one."""
    return (" ".join(str(error).split()) or type(error).__name__)[:_REASON]


class ReadableArray:
    """A lazy array whose reads fail with a `SourceError` alone; see `readable`.

    Parameters
    ----------
    array : LazyArray
        Array of a format.
    path : str
        Its source, for messages.
    """

    def __init__(self, array: LazyArray, path: str) -> None:
        self._array = array
        self._path = path
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1."""
        with readable(self._path):
            return self._array[index]


def voxel_dtype(dtype: np.dtype[Any], path: str) -> np.dtype[Any]:
    """Return the data type in which voxels are read, or raise `SourceError`.

    Booleans become uint8; other types keep their width, in native byte order.
    """
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if dtype.kind in "uif":
        return dtype.newbyteorder("=")
    kinds = {"c": "complex numbers", "O": "objects", "V": "records"}
    if dtype.names is not None and dtype.names[:3] == ("R", "G", "B"):
        raise SourceError(
            f"{path} is a colour image ({len(dtype.names)} values per voxel): give the volume that "
            "was measured, with one number per voxel"
        )
    raise SourceError(
        f"{path} holds {kinds.get(dtype.kind, 'text or dates')} ({dtype}) instead of numbers: "
        "write it again as integers or floats"
    )


def pick_channel(path: str, count: int, channel: int | None) -> int:
    """Return the channel to read out of `count`, or raise `SourceError` if it is unspecified."""
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
    """View (z, y, x) of a stored array with any axes, read on demand.

    Parameters
    ----------
    stored : StoredArray
        Array as stored in the file.
    path : str
        Used in error messages.
    axes : tuple of int or None
        Stored axes that are z, y, x; None for an axis that the file lacks, of length 1.
    fixed : mapping of int to int
        Index to read along each of the other stored axes.
    dtype : dtype, optional
        Data type of the voxels, if not the stored one.
    """

    def __init__(
        self,
        stored: StoredArray,
        path: str,
        *,
        axes: tuple[int | None, int | None, int | None],
        fixed: Mapping[int, int] | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        self._stored = stored
        self._path = path
        self.axes = axes
        self.fixed: Mapping[int, int] = dict(fixed or {})
        self.dtype = voxel_dtype(stored.dtype, path) if dtype is None else dtype
        z, y, x = (1 if a is None else int(stored.shape[a]) for a in axes)
        self.shape = (z, y, x)

    @property
    def channels(self) -> int:
        """Number of elements along the stored axes other than z, y, x: the channels."""
        return math.prod(int(self._stored.shape[axis]) for axis in self.fixed)

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        wanted = bounded(index, self.shape)
        sizes = [s.stop - s.start for s in wanted]
        if 0 in sizes:
            return np.empty(sizes, self.dtype)
        stored_index: list[slice | int] = [
            self.fixed.get(axis, 0) for axis in range(len(self._stored.shape))
        ]
        for axis, part in zip(self.axes, wanted, strict=True):
            if axis is not None:
                stored_index[axis] = part
        with readable(self._path):
            values = np.asarray(self._stored[tuple(stored_index)])
            # The block has its axes in the stored order; missing axes come last.
            order = np.argsort(
                np.argsort([99 if a is None else a for a in self.axes], kind="stable")
            )
            full = values.reshape(values.shape + (1,) * (3 - values.ndim)).transpose(order)
            if list(full.shape) != sizes:
                raise SourceError(
                    f"{self._path} gave {full.shape} voxels instead of {tuple(sizes)}: "
                    "it may be truncated, copy it again"
                )
        return np.ascontiguousarray(full, dtype=self.dtype)


def channel_count(array: LazyArray) -> int:
    """Return the number of channels that an array was chosen from."""
    return array.channels if isinstance(array, VolumeView) else 1


def bounded(index: Slices, shape: tuple[int, int, int]) -> Slices:
    """Return slices with both ends set, within `shape`; raises for steps other than 1."""
    ends = []
    for part, length in zip(index, shape, strict=True):
        start, stop, step = part.indices(length)
        if step != 1:
            raise GridError(f"slice {part} has step {step}: read without steps, then skip")
        ends.append(slice(start, max(start, stop)))
    z, y, x = ends
    return z, y, x
