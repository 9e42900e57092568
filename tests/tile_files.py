"""Tiny tiles as files, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine

from parafovea.formats.tiles.tile_folder import TileFile

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
NAMES = ("B02", "B03", "B04", "B08")


def field(height: int = 20, width: int = 24, *, bands: int = 4) -> np.ndarray:
    """Return reflectance (band, y, x) float32 that differs in every pixel and band."""
    values = np.random.default_rng(5).uniform(0.05, 0.6, (bands, height, width))
    return values.astype(np.float32)


def write_npz(folder: Path, name: str = "a", sidecar: Any = None, **arrays: Any) -> TileFile:
    """Write NAME.npz and, unless `sidecar` is None, NAME.json: a text as it is, else as JSON."""
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return TileFile(name, path, write_sidecar(folder, name, sidecar))


def write_sidecar(folder: Path, name: str, content: Any) -> Path | None:
    if content is None:
        return None
    path = folder / f"{name}.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_tif(
    folder: Path,
    values: np.ndarray,
    name: str = "a",
    *,
    descriptions: tuple[str | None, ...] = NAMES,
    **profile: Any,
) -> TileFile:
    """Write NAME.tif from values (band, y, x); `scales` and `offsets` go into its header."""
    path = folder / f"{name}.tif"
    scales, offsets = profile.pop("scales", None), profile.pop("offsets", None)
    place = {"crs": "EPSG:32633", "transform": UTM} | profile
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as dataset:
        dataset.write(values)
        dataset.descriptions = (*descriptions, *[None] * (count - len(descriptions)))[:count]
        if scales is not None:
            dataset.scales, dataset.offsets = scales, offsets
    return TileFile(name, path, None)
