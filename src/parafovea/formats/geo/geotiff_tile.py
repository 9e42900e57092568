"""A tile as a GeoTIFF file with named bands and an optional position."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from parafovea.errors import TileError
from parafovea.formats.bands import names_all
from parafovea.formats.geo.block_checksums import BlockChecksums
from parafovea.formats.geo.companions import companions, files
from parafovea.formats.geo.geotiff import (
    band_indices,
    crs_name,
    doubts,
    mask_bands,
    numbers,
    opened,
    pixel_sides,
    read_window,
    require_place,
)
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.tiles.tile import Position, StoredTile, check_tile_size, readable_tile

#: Pixels whose sides differ by less than this fraction count as square.
SQUARE = 0.01


class Content:
    """An image that is opened once, using its bytes if already read; not thread-safe.

    Parameters
    ----------
    path : Path
        Path of the file, or of a folder with one file per band.
    """

    names_bands: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content: dict[str, bytes] | None = None

    def close(self) -> None:
        """Release the file's bytes."""
        self._content = None

    def digest(self) -> bytes:
        """Return the SHA-256 of the file's bytes, which are kept for later calls.

        Companion files, such as a mask, are included.

        Raises
        ------
        TileError
            If they cannot be read.
        """
        with readable_tile(self.path):
            if self._content is None:
                if self.path.is_dir():
                    return _digest_of(map(Path, files(str(self.path))))
                here = self.path.parent.resolve()
                self._content = {self.path.name: self.path.read_bytes()}
                for place in companions(self.path):
                    name = place.resolve().relative_to(here).as_posix()
                    self._content[name] = place.read_bytes()
        total = hashlib.sha256()
        for name, content in self._content.items():
            if name != self.path.name:
                total.update(f"\0{name.removeprefix(self.path.stem)}\0{len(content)}\0".encode())
            total.update(content)
        return total.digest()

    def key(self, keys: Sequence[str]) -> str:
        """Return the first key: a GeoTIFF contains a single, unnamed array."""
        return keys[0]

    def size(self, key: str) -> tuple[int, int]:
        """Return the height and the width of the image; `key` is not used."""
        with self._opened() as dataset:
            return int(dataset.height), int(dataset.width)

    def place(self) -> tuple[Position, int, int] | None:
        """Return position, height and width of the image, or None if it has no coordinates."""
        with self._opened() as dataset:
            if dataset.crs is None:
                return None
            position = _position(dataset, *pixel_sides(dataset))
            return position, int(dataset.height), int(dataset.width)

    def names(self, bands: Sequence[str]) -> bool:
        """Return whether the header names all of some bands."""
        with self._opened() as dataset:
            return names_all(dataset.descriptions, bands)

    def read(self, *, bands: Sequence[str], key: str, options: TileOptions) -> StoredTile:
        """Return the stored numbers of a tile, and its position if it states one.

        Parameters
        ----------
        bands : sequence of str
            Bands to read, in reading order, named in the file or by `options.bands`.
        key : str
            Unused: a GeoTIFF contains a single array.
        options : TileOptions
            User's description of the numbers.

        Raises
        ------
        TileError
            If the image is invalid.
        """
        path = self.path
        with self._opened() as dataset:
            check_tile_size(path, (dataset.height, dataset.width))
            chosen = band_indices(
                dataset, str(path), wanted=bands, given=options.bands, refused=TileError
            )
            require_place(dataset, str(path))
            position = None
            if dataset.crs is not None:
                height, width = pixel_sides(dataset)
                _check_square(path, height, width)
                position = _position(dataset, height, width)
            meant = numbers(dataset, options).of(chosen)
            masks = mask_bands(dataset, options.bands)
            stored, valid = read_window(
                dataset,
                chosen,
                None,
                nodata=meant.nodata,
                masks=masks,
                checksums=BlockChecksums(self._content[path.name] if self._content else None),
            )
            stated = any(dataset.nodatavals[band] is not None for band in chosen)
            notes = doubts(dataset, options)
            units = tuple(dataset.units[band] for band in chosen)
        return StoredTile(
            stored,
            valid,
            scale=meant.scale,
            offset=meant.offset,
            position=position,
            nodata_stated=stated,
            notes=notes,
            units=units,
        )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        with readable_tile(self.path), opened(str(self.path), content=self._content) as dataset:
            yield dataset


def _digest_of(paths: Iterable[Path]) -> bytes:
    """Return the SHA-256 of the names and bytes of files."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            part = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name}\0{part}\n".encode())
    return total.digest()


def _position(dataset: Any, height: float, width: float) -> Position:
    return Position(
        crs=crs_name(dataset.crs),
        x=float(dataset.transform.c),
        y=float(dataset.transform.f),
        pixel_size=(height * width) ** 0.5,
    )


def _check_square(path: Path, height: float, width: float) -> None:
    if abs(height - width) > SQUARE * max(height, width):
        raise TileError(
            f"{path} has pixels of {height:g} x {width:g} (y, x), which are not square: warp it "
            "to square pixels first, for example with gdalwarp -tr"
        )
