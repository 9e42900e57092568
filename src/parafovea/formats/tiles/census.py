"""Number and sizes of the tiles in a folder, and a digest to detect changes.

An NPZ file is a zip archive, whose last bytes list its arrays with a checksum of each, and the
shape of an array is in its header: thousands of tiles are counted in about a second, and a tile
that is rewritten with the same values does not change the digest.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import SourceError
from parafovea.formats.band_folder import band_folders
from parafovea.formats.geo.companions import companions
from parafovea.formats.geo.companions import files as image_files
from parafovea.formats.location import files_named
from parafovea.formats.registry import NPZ_SUFFIX, TIFF_SUFFIXES, TILE_SUFFIXES
from parafovea.formats.source import readable
from parafovea.formats.tiles.npz import CLASSES, INPUT_KEYS, read_npy_header
from parafovea.formats.tiles.tile_folder import SIDECAR_SUFFIX, no_files, without_mosaics

#: Names of the arrays that are read as a tile, before any other with at least two axes.
KEYS = (*INPUT_KEYS, CLASSES)

#: Block size in bytes for reading a file without checksums.
BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class TileCensus:
    """Counts and digest of the tiles of a folder.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        Number of tiles of each height and width, in pixels, largest first.
    unread : int
        Number of tiles of unknown size; the reader reports the reasons.
    digest : str
        Hexadecimal SHA-256 of the names and contents of all tiles and their metadata.
    """

    sizes: Mapping[tuple[int, int], int]
    unread: int
    digest: str

    @property
    def count(self) -> int:
        """Total number of tiles."""
        return sum(self.sizes.values()) + self.unread


def tile_census(folder: str | Path) -> TileCensus:
    """Count the tiles of a folder by size, and compute a digest of their content.

    Parameters
    ----------
    folder : str or Path
        Folder with `NAME.npz` or GeoTIFF tiles, or with folders of one file per band, and
        `NAME.json`. Other files, hidden files and folders are ignored.

    Returns
    -------
    TileCensus
        Its digest covers the directory of each NPZ file (name, length and CRC-32 of each array),
        and all bytes of JSON and GeoTIFF files and of the masks and world files of the latter;
        modification times are not included.

    Raises
    ------
    OSError
        If the folder does not exist, or cannot be listed.
    """
    suffixes = (SIDECAR_SUFFIX, *TILE_SUFFIXES)
    found = list(files_named(folder, suffixes))
    names = {name for name in found if name.lower().endswith(SIDECAR_SUFFIX)}
    names |= {*without_mosaics(found)}
    files = sorted((name, str(Path(folder) / name)) for name in names)
    if all(name.lower().endswith(SIDECAR_SUFFIX) for name, _ in files):
        files += [(name, str(path)) for name, path in band_folders(folder)]
    sizes: Counter[tuple[int, int]] = Counter()
    unread = 0
    total = hashlib.sha256()
    for name, path in files:
        size, content = _looked_at(path)
        # a name that is not UTF-8 has surrogates; its tile is invalid, but the others are not
        total.update(f"{name}\0{content}\n".encode(errors="surrogatepass"))
        if size is not None:
            sizes[size] += 1
        elif not name.lower().endswith(SIDECAR_SUFFIX):
            unread += 1
    for name in no_files(folder):
        total.update(f"{name}\0no file\n".encode(errors="surrogatepass"))
        unread += 1
    ordered = sorted(sizes.items(), key=lambda item: (-item[0][0] * item[0][1], item[0]))
    return TileCensus(dict(ordered), unread, total.hexdigest())


def _looked_at(path: str) -> tuple[tuple[int, int] | None, str]:
    """Return height and width of a tile, or None if unknown, and a digest of its content."""
    lower = path.lower()
    try:
        if lower.endswith(NPZ_SUFFIX):
            return _archive(path)
        if lower.endswith(SIDECAR_SUFFIX):
            return None, _digest(path)
        if Path(path).is_dir():
            parts = tuple(map(Path, image_files(path)))
            listed = (f"{part.name} {_digest(str(part))}" for part in parts)
            return _image_size(path), "; ".join(listed)
        try:
            parts = companions(Path(path))
        except SourceError as error:  # which is the reason why the tile is invalid
            return None, f"{_digest(path)}; {error}"
        beside = (f"; {part.name} {_digest(str(part))}" for part in parts)
        return _image_size(path), "".join([_digest(path), *beside])
    except OSError as error:
        return None, f"not readable: {error.strerror}"


def _archive(path: str) -> tuple[tuple[int, int] | None, str]:
    try:
        with readable(path), zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            listed = [f"{info.filename} {info.CRC:08x} {info.file_size}" for info in infos]
            return _array_size(archive, infos), "; ".join(listed)
    except SourceError:
        return None, _digest(path)


def _array_size(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> tuple[int, int] | None:
    """Return the last two axes of the array that is the tile, or None if there is none."""
    wanted = [f"{key}.npy" for key in KEYS]
    known = sorted(
        (info for info in infos if info.filename in wanted),
        key=lambda info: wanted.index(info.filename),
    )
    for info in known or infos:
        try:
            with readable(info.filename), archive.open(info) as stream:
                found = read_npy_header(stream)
        except SourceError:
            continue
        if found is not None and len(found[0]) >= 2:
            return found[0][-2], found[0][-1]
    return None


def _image_size(path: str) -> tuple[int, int] | None:
    if path.lower().endswith(TIFF_SUFFIXES):
        return _tiff_size(path)
    # a library that is slow to import, and that few folders need
    from parafovea.formats.geo.geotiff import opened

    try:
        with opened(path) as dataset:
            return int(dataset.height), int(dataset.width)
    except SourceError:
        return None


def _tiff_size(path: str) -> tuple[int, int] | None:
    # a library that is slow to import, and that few folders need
    import tifffile

    try:
        with readable(path), tifffile.TiffFile(path) as file:
            page = file.pages.first
            # a damaged tag may hold several numbers
            size = page.imagelength, page.imagewidth
            return size if all(isinstance(side, int) for side in size) else None
    except SourceError:
        return None


def _digest(path: str) -> str:
    total = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()
