"""A tile from its files: whole and as it should be, or one `TileError` that says why not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.bands import OPTICAL, choose_bands
from parafovea.formats.reflectance import fill, measured, to_reflectance
from parafovea.formats.tiles.damage import readable_tile
from parafovea.formats.tiles.folders import NPZ_SUFFIX
from parafovea.formats.tiles.listing import TileFile
from parafovea.formats.tiles.npz import array_header, read_array
from parafovea.formats.tiles.options import TileOptions
from parafovea.formats.tiles.sidecar import read_sidecar
from parafovea.formats.tiles.tile import Position, Tile

#: Pixels along a side of a tile.
SMALLEST, LARGEST = 16, 8192

#: Keys of a sidecar that say when and how an earlier stage made the tile.
VOLATILE = {"timestamp", "processing"}

_NOTHING = TileOptions()


def tile_size(file: TileFile, key: str = "opt_v1") -> tuple[int, int]:
    """Return the height and the width that a tile's header states; no value is read.

    Parameters
    ----------
    file : TileFile
        NPZ or GeoTIFF.
    key : str
        Name of the array of an NPZ file, (band, y, x) or (y, x).

    Returns
    -------
    tuple of int
        Not checked: `read_tile` refuses sizes that are none of a tile.

    Raises
    ------
    TileError
        If the header cannot be read, or states an array of other axes.
    """
    if _is_npz(file):
        shape, _ = array_header(file.path, key)
        if len(shape) not in (2, 3):
            raise TileError(_wrong_axes(file.path, key, shape))
        return shape[-2], shape[-1]
    from parafovea.formats.geo.geotiff import opened

    with readable_tile(file.path), opened(str(file.path)) as dataset:
        return int(dataset.height), int(dataset.width)


def read_tile(
    file: TileFile,
    *,
    bands: Sequence[str] = OPTICAL,
    key: str = "opt_v1",
    options: TileOptions = _NOTHING,
) -> Tile:
    """Read a tile and what is known of it.

    Parameters
    ----------
    file : TileFile
        NPZ, or GeoTIFF with bands that have names or that `options.bands` names.
    bands : sequence of str
        Bands to read, in this order; an NPZ file has these in this order where `options.bands`
        does not say otherwise.
    key : str
        Name of the array of an NPZ file, (band, y, x); `options.key` wins.
    options : TileOptions
        What the user says of the numbers in the files.

    Returns
    -------
    Tile
        Finite reflectance in [0, 1].

    Raises
    ------
    TileError
        If anything about the tile is not as it should be.
    """
    digest = tile_digest(file)
    sidecar = read_sidecar(file.sidecar)
    with readable_tile(file.path):
        if _is_npz(file):
            values, valid, clipped = _read_npz(file.path, bands, options.key or key, options)
            position = None
        else:
            values, valid, clipped, position = _read_geotiff(file.path, bands, options)
    return Tile(
        name=file.name,
        values=values,
        valid=valid,
        month=sidecar.month,
        biome=sidecar.biome,
        assumed=sidecar.assumed,
        position=sidecar.position or position,
        metadata=sidecar.metadata,
        path=file.path,
        sha256=digest,
        clipped=clipped,
    )


def tile_digest(file: TileFile) -> str:
    """Return the SHA-256 of a tile's content: of the digests of its file and its sidecar.

    Parameters
    ----------
    file : TileFile
        Names and times of its files do not count, nor what the sidecar says of when and how an
        earlier stage made it (`VOLATILE`): a stage that is run again gives the same tile.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TileError
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    with readable_tile(file.path), file.path.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    if file.sidecar is not None:
        with readable_tile(file.sidecar):
            digest.update(hashlib.sha256(_lasting(file.sidecar.read_bytes())).digest())
    return digest.hexdigest()


def _lasting(sidecar: bytes) -> bytes:
    """Return the content of a sidecar without what changes from run to run."""
    try:
        values = json.loads(sidecar)
    except (ValueError, RecursionError):
        return sidecar
    if not isinstance(values, dict) or not VOLATILE & values.keys():
        return sidecar
    kept = {key: value for key, value in values.items() if key not in VOLATILE}
    return json.dumps(kept, sort_keys=True).encode()


def tile_place(file: TileFile, key: str = "opt_v1") -> tuple[Position, int, int, int] | None:
    """Return the position, height, width and month of a tile, if it says where it is.

    Parameters
    ----------
    file : TileFile
        NPZ with a sidecar, or GeoTIFF; no value is read.
    key : str
        As for `tile_size`.

    Raises
    ------
    TileError
        If the sidecar or the header cannot be read.
    """
    sidecar = read_sidecar(file.sidecar)
    if sidecar.position is not None:
        return sidecar.position, *tile_size(file, key), sidecar.month
    if _is_npz(file):
        return None
    from parafovea.formats.geo.geotiff import crs_name, opened, pixel_sides

    with readable_tile(file.path), opened(str(file.path)) as dataset:
        if dataset.crs is None:
            return None
        side = float(np.prod(pixel_sides(dataset))) ** 0.5
        corner = float(dataset.transform.c), float(dataset.transform.f)
        position = Position(crs_name(dataset.crs), *corner, side)
        return position, int(dataset.height), int(dataset.width), sidecar.month


def _is_npz(file: TileFile) -> bool:
    return file.path.suffix.lower() == NPZ_SUFFIX


Read = tuple[NDArray[np.float32], NDArray[np.bool_] | None, int]


def _read_npz(path: Path, bands: Sequence[str], key: str, options: TileOptions) -> Read:
    shape, _ = array_header(path, key)
    given = tuple(bands) if options.bands is None else options.bands
    _check_axes(path, key, shape, given)
    _check_size(path, shape[1:])
    chosen = choose_bands(
        str(path),
        count=shape[0],
        wanted=bands,
        given=given,
        descriptions=(),
        refused=TileError,
    )
    stored = read_array(path, key)[list(chosen)]
    if stored.dtype.kind == "b":
        raise TileError(f"{path}: the array {key} holds true and false: write reflectance")
    count = len(chosen)
    return _finished(
        path,
        stored,
        measured(stored, options.nodata),
        scale=None if options.scale is None else (options.scale,) * count,
        offset=None if options.offset is None else (options.offset,) * count,
    )


def _read_geotiff(
    path: Path, bands: Sequence[str], options: TileOptions
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, int, Position | None]:
    from parafovea.formats.geo.geotiff import crs_name, numbers, opened, pixel_sides, read_window

    with opened(str(path)) as dataset:
        _check_size(path, (dataset.height, dataset.width))
        chosen = choose_bands(
            str(path),
            count=dataset.count,
            wanted=bands,
            given=options.bands,
            descriptions=dataset.descriptions,
            refused=TileError,
        )
        position = None
        if dataset.crs is not None:
            height, width = pixel_sides(dataset)
            _check_square(path, height, width)
            position = Position(
                crs=crs_name(dataset.crs),
                x=float(dataset.transform.c),
                y=float(dataset.transform.f),
                pixel_size=(height * width) ** 0.5,
            )
        meant = numbers(dataset, options)
        stored, valid = read_window(dataset, chosen, None, nodata=meant.nodata)
    scale, offset = (
        None if all_bands is None else tuple(all_bands[band] for band in chosen)
        for all_bands in (meant.scale, meant.offset)
    )
    return *_finished(path, stored, valid, scale=scale, offset=offset), position


def _finished(
    path: Path,
    stored: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    *,
    scale: Sequence[float] | None,
    offset: Sequence[float] | None,
) -> Read:
    if valid is not None and not valid.any():
        raise TileError(f"{path} has no valid pixel, all are nodata: remove it from the folder")
    if not stored.any():
        raise TileError(f"{path} is 0 in all pixels and bands, which is no measurement: remove it")
    values, clipped = to_reflectance(
        stored, valid, str(path), scale=scale, offset=offset, refused=TileError
    )
    if not values.any():
        raise TileError(
            f"{path} has no reflectance above 0: correct scale=, offset= or baseline= in the "
            "metadata column of the sample sheet"
        )
    return fill(values, valid), valid, clipped


def _check_axes(path: Path, key: str, shape: tuple[int, ...], bands: Sequence[str]) -> None:
    count = len(bands)
    if len(shape) != 3:
        raise TileError(_wrong_axes(path, key, shape))
    if shape[0] == count:
        return
    if shape[-1] == count:
        raise TileError(
            f"{path}: the array {key} has the shape {shape}, its bands last: store it as "
            f"{(count, *shape[:-1])}, with numpy.moveaxis(array, -1, 0)"
        )
    raise TileError(
        f"{path}: the array {key} has {shape[0]} bands and not {count} ({', '.join(bands)}): "
        "write it again with these, or name the bands it has with bands= in the metadata column "
        "of the sample sheet"
    )


def _wrong_axes(path: Path, key: str, shape: tuple[int, ...]) -> str:
    return (
        f"{path}: the array {key} has the shape {shape}, {len(shape)} axes instead of (band, y, "
        "x): store one tile a file"
    )


def _check_size(path: Path, size: tuple[int, ...]) -> None:
    if min(size) < SMALLEST or max(size) > LARGEST:
        raise TileError(
            f"{path} has {size[0]} x {size[1]} pixels (y, x), and a tile has {SMALLEST} to "
            f"{LARGEST} along each side: cut it otherwise, or give a larger image as a mosaic"
        )


def _check_square(path: Path, height: float, width: float) -> None:
    from parafovea.formats.geo.geotiff import SQUARE

    if abs(height - width) > SQUARE * max(height, width):
        raise TileError(
            f"{path} has pixels of {height:g} x {width:g} (y, x), which are not square: warp it "
            "to square pixels first, for example with gdalwarp -tr"
        )
