"""How many tiles a folder holds, how large they are, and whether any has changed.

An NPZ file is a zip archive, whose last bytes list its arrays with a checksum of each, and the
shape of an array stands at its beginning: thousands of tiles are counted in about a second, and a
tile that is written again with the same values counts as the same.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parafovea.formats.geo.companions import companions
from parafovea.formats.location import files_named
from parafovea.formats.registry import NPZ_SUFFIX, TILE_SUFFIXES
from parafovea.formats.tiles.npz import CLASSES, INPUT_KEYS, read_npy_header
from parafovea.formats.tiles.tile_folder import SIDECAR_SUFFIX

#: Arrays that a tile is looked for under, before any other of at least two axes.
KEYS = (*INPUT_KEYS, CLASSES)

#: Bytes that are read at a time of a file without checksums.
BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class TileCensus:
    """The tiles of a folder.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        Number of tiles of each height and width, in pixels, the largest ones first.
    unread : int
        Tiles of which no size can be told; their reasons are the reader's to give.
    digest : str
        SHA-256, in hexadecimal, of the names and the content of all tiles and their metadata.
    """

    sizes: Mapping[tuple[int, int], int]
    unread: int
    digest: str

    @property
    def count(self) -> int:
        """Tiles in all."""
        return sum(self.sizes.values()) + self.unread


def tile_census(folder: str | Path) -> TileCensus:
    """Count the tiles of a folder by their size, and sum up what is in them.

    Parameters
    ----------
    folder : str or Path
        Holds `NAME.npz` or GeoTIFF tiles, and `NAME.json`. Other files, hidden ones and folders are
        not looked at.

    Returns
    -------
    TileCensus
        Its digest holds of an NPZ file what its directory lists: each array's name, length and
        CRC-32; of JSON and GeoTIFF files, and of masks and world files beside these, all bytes; of
        no file its time.

    Raises
    ------
    OSError
        If the folder is not there, or cannot be listed.
    """
    suffixes = (SIDECAR_SUFFIX, *TILE_SUFFIXES)
    files = sorted((name, str(Path(folder) / name)) for name in files_named(folder, suffixes))
    sizes: Counter[tuple[int, int]] = Counter()
    unread = 0
    total = hashlib.sha256()
    for name, path in files:
        size, content = _looked_at(path)
        total.update(f"{name}\0{content}\n".encode())
        if size is not None:
            sizes[size] += 1
        elif not name.lower().endswith(SIDECAR_SUFFIX):
            unread += 1
    ordered = sorted(sizes.items(), key=lambda item: (-item[0][0] * item[0][1], item[0]))
    return TileCensus(dict(ordered), unread, total.hexdigest())


def _looked_at(path: str) -> tuple[tuple[int, int] | None, str]:
    """Return the height and width of a tile, if they can be told, and what stands for its bytes."""
    lower = path.lower()
    try:
        if lower.endswith(NPZ_SUFFIX):
            return _archive(path)
        if lower.endswith(SIDECAR_SUFFIX):
            return None, _digest(path)
        beside = (f"; {part.name} {_digest(str(part))}" for part in companions(Path(path)))
        return _tiff_size(path), "".join([_digest(path), *beside])
    except OSError as error:
        return None, f"not readable: {error.strerror}"


def _archive(path: str) -> tuple[tuple[int, int] | None, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            listed = [f"{info.filename} {info.CRC:08x} {info.file_size}" for info in infos]
            return _array_size(archive, infos), "; ".join(listed)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError):
        return None, _digest(path)


def _array_size(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> tuple[int, int] | None:
    """Return the last two axes of the array that is the tile, None where there is none."""
    wanted = [f"{key}.npy" for key in KEYS]
    known = sorted(
        (info for info in infos if info.filename in wanted),
        key=lambda info: wanted.index(info.filename),
    )
    for info in known or infos:
        with archive.open(info) as stream:
            try:
                found = read_npy_header(stream)
            except (ValueError, zipfile.BadZipFile):
                continue
        if found is not None and len(found[0]) >= 2:
            return found[0][-2], found[0][-1]
    return None


def _tiff_size(path: str) -> tuple[int, int] | None:
    # a library that takes long to import, and few folders need
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return page.imagelength, page.imagewidth
    except (tifffile.TiffFileError, ValueError, IndexError):
        return None


def _digest(path: str) -> str:
    total = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()
