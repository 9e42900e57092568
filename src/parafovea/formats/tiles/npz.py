"""NPZ files of tiles, `NAME.npz`: read without unpickling, written reproducibly.

The header of an array, with its shape and data type, is checked before the array is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.bands import choose_bands, is_mask
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.reflectance import measured
from parafovea.formats.tiles.tile import Position, StoredTile, check_tile_size, readable_tile
from parafovea.formats.unpacking import LARGEST_HEADER, LARGEST_TILE

#: Arrays read as model input, in order of precedence: optical tiles of a first stage, refined
#: tiles, radar.
INPUT_KEYS = ("opt_v1", "opt_v2", "sar")

#: Arrays read as the target of a refinement.
TRUTH_KEYS = ("opt_v2", "opt_v1")

#: Array of class indices.
CLASSES = "classes"

#: Class index of pixels of unknown class, which are excluded.
UNKNOWN = 255

#: Array that is true where a pixel was measured, (y, x); always in results, optional in inputs.
VALID = "valid"

#: Names of arrays, besides masks, that would change how others are read, but are not read.
UNREAD = ("nodata", "scale", "offset", "bands", "crs", "transform")

#: Reader of the header, and bytes of its length, by version.
_READERS = {
    (1, 0): (np.lib.format.read_array_header_1_0, 2),
    (2, 0): (np.lib.format.read_array_header_2_0, 4),
}


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and data type from the header of an array, and advance the stream past it.

    Parameters
    ----------
    stream : file
        Positioned at its beginning.

    Returns
    -------
    tuple or None
        None if the header version is one that plain arrays do not need.

    Raises
    ------
    ValueError
        If the header is invalid.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        return None
    read, width = _READERS[version]
    length = stream.read(width)
    size = int.from_bytes(length, "little")
    if size > LARGEST_HEADER:
        raise ValueError(f"its header of {size} bytes is larger than {LARGEST_HEADER}")
    shape, _, dtype = read(io.BytesIO(length + stream.read(size)))
    return shape, dtype


class Content:
    """An NPZ file that is opened once, on first access; not thread-safe.

    Parameters
    ----------
    path : Path
        Path of the file.
    """

    names_bands: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = contextlib.ExitStack()
        self._stream: IO[bytes] | None = None
        self._archive: zipfile.ZipFile | None = None

    def close(self) -> None:
        """Close the file, if it was opened."""
        self._opened.close()

    def digest(self) -> bytes:
        """Return the SHA-256 of the file's bytes.

        Raises
        ------
        TileError
            If the file cannot be read.
        """
        with readable_tile(self.path):
            stream = self._file()
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").digest()  # type: ignore[arg-type]

    def key(self, keys: Sequence[str]) -> str:
        """Return the first key whose array exists, or the first key if none does.

        Raises
        ------
        TileError
            If the file is not an NPZ archive.
        """
        with readable_tile(self.path):
            there = set(self._zip().namelist())
        return next((key for key in keys if f"{key}.npy" in there), keys[0])

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and data type of an array without reading it; errors as `array_header`."""
        with self._entry(key) as (_, shape, dtype):
            return shape, dtype

    def array(self, key: str) -> NDArray[Any]:
        """Return an array in native byte order; errors as `read_array`."""
        with self._entry(key) as (stream, _, dtype):
            stream.seek(0)
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            if stream.read(1):  # the checksum is compared at the end of the entry
                raise TileError(
                    f"{self.path}: the array {key} is followed by other bytes: write it again"
                )
        return array.astype(dtype.newbyteorder("="), copy=False)

    def size(self, key: str) -> tuple[int, int]:
        """Return height and width from the header of an array, (band, y, x) or (y, x)."""
        shape, _ = self.header(key)
        if len(shape) not in (2, 3):
            raise TileError(_wrong_axes(self.path, key, shape))
        return shape[-2], shape[-1]

    def place(self) -> tuple[Position, int, int] | None:
        """Return None, since NPZ files state no position; only sidecars do."""
        return None

    def names(self, bands: Sequence[str]) -> bool:
        """Return False, since NPZ files name no bands; only sidecars do."""
        return False

    def read(self, *, bands: Sequence[str], key: str, options: TileOptions) -> StoredTile:
        """Return the stored numbers of a tile.

        Parameters
        ----------
        bands : sequence of str
            Bands to read, in reading order, which is that of the file unless `options.bands`
            states another.
        key : str
            Name of the array, (band, y, x).
        options : TileOptions
            User's description of the numbers.

        Raises
        ------
        TileError
            If the array is invalid.
        """
        path = self.path
        shape, _ = self.header(key)
        given = tuple(bands) if options.bands is None else options.bands
        _check_axes(path, key, shape, given)
        check_tile_size(path, shape[1:])
        chosen = choose_bands(
            str(path),
            count=shape[0],
            wanted=bands,
            given=given,
            descriptions=(),
            refused=TileError,
        )
        every = self.array(key)
        stored = every[list(chosen)]
        if stored.dtype == np.bool_:
            raise TileError(f"{path}: the array {key} is boolean: write reflectance")
        count = len(chosen)
        missing = (options.missing(),) * len(stored)
        masks = [every[index] for index, name in enumerate(given) if is_mask(name)]
        mask = self.mask(key)
        if mask is not None:
            masks.append(mask)
        return StoredTile(
            stored,
            measured(stored, nodata=missing, masks=masks),
            scale=None if options.scale is None else (options.scale,) * count,
            offset=None if options.offset is None else (options.offset,) * count,
            notes=self._unread(),
        )

    def _unread(self) -> tuple[str, ...]:
        """Return a note if other arrays seem to state something about the values."""
        there = {name.removesuffix(".npy") for name in self._zip().namelist()}
        said = sorted(name for name in there if name in UNREAD or "mask" in name.lower())
        if not said:
            return ()
        names = ", ".join(said)
        return (
            f"the NPZ file also holds {names}, which is not read: a mask of measured pixels is the "
            f"array {VALID}, and the metadata column of the sample sheet has nodata=, scale=, "
            "offset= and bands=",
        )

    def mask(self, key: str) -> NDArray[np.bool_] | None:
        """Return which pixels of an array were measured, (y, x), or None without a mask.

        Parameters
        ----------
        key : str
            Name of the array to which the mask belongs.

        Raises
        ------
        TileError
            If the mask is damaged, of another size, or not a mask.
        """
        with readable_tile(self.path):
            if key == VALID or f"{VALID}.npy" not in self._zip().namelist():
                return None
        found, size = self.array(VALID), self.size(key)
        if found.shape != size:
            raise TileError(
                f"{self.path}: the array {VALID} has the shape {found.shape}, but {key} has "
                f"{size[0]} x {size[1]} pixels (y, x): write one number per pixel, or leave it out"
            )
        if found.dtype.kind == "f" or (found.size and not 0 <= found.min() <= found.max() <= 1):
            raise TileError(
                f"{self.path}: the array {VALID} has {found.dtype} from {found.min()} to "
                f"{found.max()}: write true where a pixel was measured, false where not"
            )
        return found.astype(np.bool_)

    def _file(self) -> IO[bytes]:
        if self._stream is None:
            self._stream = self._opened.enter_context(self.path.open("rb"))
        return self._stream

    def _zip(self) -> zipfile.ZipFile:
        if self._archive is None:
            self._archive = self._opened.enter_context(zipfile.ZipFile(self._file()))
        return self._archive

    @contextlib.contextmanager
    def _entry(self, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
        """Yield the stream of an array after a header check, with its shape and data type."""
        path = self.path
        with readable_tile(path):
            archive = self._zip()
            entries = {info.filename: info for info in archive.infolist()}
            info = entries.get(f"{key}.npy")
            if archive.namelist().count(f"{key}.npy") > 1:
                raise TileError(f"{path} has two arrays {key}: write it again with one")
            if info is None:
                keys = [name.removesuffix(".npy") for name in entries]
                raise TileError(
                    f"{path} has no array {key}, but {_listed(keys)}: write it again with this "
                    "key, or name another with key= in the metadata column of the sample sheet"
                )
            with archive.open(info) as stream:
                shape, dtype = _header(path, key, stream)
                size = math.prod(shape) * dtype.itemsize
                if size > LARGEST_TILE:
                    raise TileError(
                        f"{path}: the array {key} declares the shape {shape} of {dtype}, which "
                        f"is {size / 2**30:.1f} GiB, too large for a tile: cut it into smaller ones"
                    )
                stored = info.file_size - stream.tell()
                if stored != size:
                    raise TileError(
                        f"{path}: the array {key} declares {size} bytes but has {stored}: write "
                        "it again"
                    )
                yield stream, shape, dtype


def array_header(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and data type of an array in an NPZ file, without reading it.

    Parameters
    ----------
    path : Path
        Path of the NPZ file.
    key : str
        Name of the array.

    Raises
    ------
    TileError
        If the file is not an NPZ archive or damaged, lacks the key, or has objects under it.
    """
    with contextlib.closing(Content(path)) as content:
        return content.header(key)


def read_array(path: Path, key: str) -> NDArray[Any]:
    """Return an array of an NPZ file.

    Parameters
    ----------
    path : Path
        Path of the NPZ file.
    key : str
        Name of the array.

    Returns
    -------
    ndarray
        Booleans, integers or floats, in native byte order.

    Raises
    ------
    TileError
        As `array_header`, or if the array is damaged or larger than `LARGEST_TILE`.
    """
    with contextlib.closing(Content(path)) as content:
        return content.array(key)


def _header(path: Path, key: str, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    found = read_npy_header(stream)
    if found is None:
        raise TileError(f"{path}: the array {key} is not a plain array: write it again as float32")
    shape, dtype = found
    if dtype.hasobject:
        raise TileError(
            f"{path}: the array {key} holds pickled Python objects, which are never loaded: write "
            "it again as float32"
        )
    if dtype.kind not in "buif":
        raise TileError(f"{path}: the array {key} holds {dtype}, not numbers: write float32")
    return shape, dtype


def _listed(keys: list[str]) -> str:
    if not keys:
        return "nothing at all"
    shown = ", ".join(repr(key)[1:-1] for key in keys[:8])
    return shown if len(keys) <= 8 else f"{shown} and {len(keys) - 8} more"


def _check_axes(path: Path, key: str, shape: tuple[int, ...], bands: Sequence[str]) -> None:
    count = len(bands)
    if len(shape) != 3:
        raise TileError(_wrong_axes(path, key, shape))
    if shape[0] == count:
        return
    if shape[-1] == count:
        raise TileError(
            f"{path}: the array {key} has the shape {shape}, with its bands last: store it "
            f"as {(count, *shape[:-1])}, with numpy.moveaxis(array, -1, 0)"
        )
    raise TileError(
        f"{path}: the array {key} has {shape[0]} bands instead of {count} ({', '.join(bands)}): "
        "write it again with these, or name the bands it has with bands= in the metadata column "
        "of the sample sheet"
    )


def _wrong_axes(path: Path, key: str, shape: tuple[int, ...]) -> str:
    return (
        f"{path}: the array {key} has the shape {shape}, {len(shape)} axes instead of (band, y, "
        "x): store one tile a file"
    )


#: The earliest time that a zip archive can store, so that the same arrays give the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_tile(
    folder: Path,
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any] | None = None,
    *,
    compressed: bool = False,
) -> Path:
    """Write a tile; each of its two files is written atomically, the arrays last.

    Parameters
    ----------
    folder : Path
        Created if missing.
    name : str
        Name of the tile, a plain file name without ending.
    arrays : mapping of str to ndarray
        Content of `NAME.npz`, by key; the same arrays give the same bytes.
    metadata : mapping, optional
        Content of `NAME.json`; if None, the file is not written.
    compressed : bool
        Compress the arrays: smaller, and several times slower.

    Returns
    -------
    Path
        Path of the NPZ file, which exists only once the tile is complete.
    """
    return place_tile(folder, name, npz_bytes(arrays, compressed=compressed), metadata)


def place_tile(folder: Path, name: str, content: bytes, metadata: Mapping[str, Any] | None) -> Path:
    """Write a tile from an existing archive; see `write_tile`."""
    folder.mkdir(parents=True, exist_ok=True)
    if metadata is not None:
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        _place(folder / f"{name}.json", text.encode())
    target = folder / f"{name}.npz"
    _place(target, content)
    return target


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Return arrays as an NPZ archive; the same arrays give the same bytes."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for key, values in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            entry.compress_type = method
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(values), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


#: Maximum bytes of the name kept in a temporary file name; a file name has at most 255.
LONGEST_PARTIAL = 240


def _place(path: Path, content: bytes) -> None:
    name = path.name
    if len(name.encode()) > LONGEST_PARTIAL:
        name = hashlib.sha256(name.encode()).hexdigest()
    partial = path.with_name(f".{name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
