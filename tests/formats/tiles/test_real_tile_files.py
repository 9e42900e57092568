"""Tiles of Sentinel-2 as published data sets have them."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from parafovea.errors import TileError
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.tiles.reading import read_tile, tile_size
from parafovea.formats.tiles.tile_folder import TileFile, list_tiles

ROOT = Path(os.environ.get("PARAFOVEA_REAL_DATA", ".")) / "s2"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        "PARAFOVEA_REAL_DATA" not in os.environ,
        reason="PARAFOVEA_REAL_DATA does not say where the real data are",
    ),
]
#: The thirteen bands in the order of the product; B02, B03, B04 and B08 are at 1, 2, 3 and 7.
THIRTEEN = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08")
THIRTEEN = (*THIRTEEN, "B8A", "B09", "B10", "B11", "B12")
FLOOD = ROOT / "sen1floods11/Spain_7370579_S2Hand.tif"


def test_eurosat_does_not_name_its_bands_and_the_sheet_does():
    (file,) = list_tiles(ROOT / "eurosat/Pasture")
    assert tile_size(file) == (64, 64)
    with pytest.raises(TileError, match="has 13 bands and does not name them: write bands="):
        read_tile(file)
    # in this data set B8A is the last band
    bands = (*THIRTEEN[:8], *THIRTEEN[9:], "B8A")
    tile = read_tile(file, options=TileOptions(bands=bands, baseline="0300"))
    with rasterio.open(file.path) as dataset:
        numbers = dataset.read([2, 3, 4, 8])
    np.testing.assert_allclose(tile.values, numbers / 10000, atol=1e-6)
    assert tile.position is not None
    assert tile.position.crs.startswith("EPSG:326")
    assert tile.position.pixel_size == pytest.approx(10, rel=0.005)
    assert tile.assumed == ("month", "biome")
    near, red = tile.values[3].mean(), tile.values[2].mean()
    assert near > 1.5 * red, "grass is bright in B08"


def test_the_flood_scene_names_its_bands_and_keeps_its_degrees():
    tile = read_tile(TileFile("spain", FLOOD, None), options=TileOptions(baseline="0300"))
    assert tile.values.shape == (4, 512, 240)
    with rasterio.open(FLOOD) as dataset:
        numbers = dataset.read([2, 3, 4, 8])
        assert dataset.descriptions[1] == "B2"
    valid = (numbers != 0).all(axis=0)
    assert (tile.valid is None) == valid.all()
    np.testing.assert_allclose(tile.values[:, valid], numbers[:, valid] / 10000, atol=1e-6)
    assert tile.position is not None
    assert tile.position.crs == "EPSG:4326"


def test_the_flood_scene_is_read_in_windows_with_its_size_in_metres():
    raster = open_raster(str(FLOOD), options=TileOptions(baseline="0300"))
    whole = read_tile(TileFile("spain", FLOOD, None), options=TileOptions(baseline="0300"))
    part = raster.read(slice(100, 200), slice(30, 140))
    np.testing.assert_array_equal(part, whole.values[:, 100:200, 30:140])
    height, width = raster.pixel_size_m
    assert 9.9 < height < 10.0
    assert 7.8 < width < 7.9
