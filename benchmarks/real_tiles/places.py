"""Single Sentinel-2 images of other places: published examples, and a flood with its labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from benchmarks.real_tiles.series import is_clouded
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.tiles.npz import UNKNOWN
from parafovea.formats.tiles.reading import read_tile
from parafovea.formats.tiles.tile_folder import list_tiles

#: Bands of EuroSAT, in its order: B8A comes last.
EUROSAT = (*(f"B{number:02d}" for number in range(1, 13)), "B8A")

#: Where B02, B03, B04 and B08 are among the thirteen bands of the product.
OF_THIRTEEN = [1, 2, 3, 7]

#: Side of a quarter of a scene of eo-learn.
QUARTER = 48

#: Tiles of one size: what the smallest examples have.
SIDE = 64


def examples(root: Path) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the name and the reflectance (band, y, x) of published examples without clouds.

    Parameters
    ----------
    root : Path
        Folder of the real data, with eo-learn's reference scenes and tiles of EuroSAT.
    """
    scenes = np.load(root / "s2/eolearn/REFERENCE_SCENES.npy", allow_pickle=False)
    found = {
        f"eolearn_{number}": np.moveaxis(scene[:SIDE, :SIDE, OF_THIRTEEN], -1, 0)
        for number, scene in enumerate(scenes)
    }
    options = TileOptions(bands=EUROSAT, baseline="0300")
    for folder in sorted((root / "s2/eurosat").iterdir()):
        for file in list_tiles(folder) if folder.is_dir() else ():
            found[f"eurosat_{file.name}"] = read_tile(file, options=options).values
    for name, values in found.items():
        if not is_clouded(values):
            yield name, values.astype(np.float64)


def quarters(root: Path) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the name and the reflectance of quarters of eo-learn's scenes, clouds included.

    Parameters
    ----------
    root : Path
        Folder of the real data.
    """
    scenes = np.load(root / "s2/eolearn/REFERENCE_SCENES.npy", allow_pickle=False)
    for number, scene in enumerate(scenes):
        values = np.clip(np.moveaxis(scene[..., OF_THIRTEEN], -1, 0).astype(np.float64), 0, 1)
        for part, quarter in enumerate(cut(values, (QUARTER, QUARTER))):
            yield f"eolearn_{number}_{part}", quarter


def cut(values: NDArray[np.float64], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Return the whole tiles of a size in an image (band, y, x), row by row."""
    rows, columns = (range(0, n - m + 1, m) for n, m in zip(values.shape[1:], size, strict=True))
    return [values[:, y : y + size[0], x : x + size[1]] for y in rows for x in columns]


def flood(root: Path) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return the flood of Sen1Floods11's example, and where its water is.

    Parameters
    ----------
    root : Path
        Folder of the real data.

    Returns
    -------
    values : ndarray
        (band, y, x) reflectance at the top of the atmosphere.
    classes : ndarray
        (y, x) uint8: 0 land, 1 water, 255 where nobody says.
    """
    folder = root / "s2/sen1floods11"
    (image,) = list_tiles(folder, pattern="*_S2Hand.tif")
    values = read_tile(image, options=TileOptions(baseline="0300")).values
    (label,) = list_tiles(folder, pattern="*_LabelHand.tif")
    with rasterio.open(label.path) as dataset:
        said = dataset.read(1)
    classes = np.where(said < 0, UNKNOWN, said).astype(np.uint8)
    return values.astype(np.float64), classes
