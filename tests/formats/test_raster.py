"""A GeoTIFF larger than memory."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.transform import Affine
from tile_files import field, write_tif

from parafovea.errors import GridError, MissingSourceError, SourceError, TileError
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.ground import metres_per_degree
from parafovea.formats.location import locate
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.tiles.reading import read_tile

EVERYTHING = slice(None)


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    """Return a file of digital numbers in reversed band order, and its reflectance and validity."""
    numbers = np.random.default_rng(1).integers(1, 12000, (4, 300, 420)).astype(np.uint16)
    numbers[:, 40:90, 10:200] = 0
    numbers[2, 200, 300] = 0
    file = write_tif(
        tmp_path_factory.mktemp("mosaic"),
        numbers,
        descriptions=("B08", "B04", "B03", "B02"),
        nodata=0,
        tiled=True,
        blockxsize=128,
        blockysize=64,
        compress="deflate",
    )
    valid = (numbers != 0).all(axis=0)
    reflectance = np.clip(numbers[::-1] * 1e-4 - 0.1, 0, 1) * valid
    return str(file.path), reflectance.astype(np.float32), valid


def test_a_mosaic_says_what_it_is_without_reading_pixels(mosaic):
    raster = open_raster(mosaic[0], options=TileOptions(baseline="0400"))
    assert raster.shape == (4, 300, 420)
    assert raster.crs == "EPSG:32633"
    assert raster.transform == (10, 0, 500000, 0, -10, 5000000)
    assert raster.pixel_size_m == (10, 10)
    assert raster.descriptions == ("B02", "B03", "B04", "B08")
    assert raster.nodata == ((0.0,),) * 4
    assert (raster.dtype, raster.block) == (np.uint16, (64, 128))


@settings(max_examples=40)
@given(st.data())
def test_any_window_is_that_part_of_the_whole(mosaic, data):
    path, reflectance, valid = mosaic
    raster = open_raster(path, options=TileOptions(baseline="0400"))
    parts = []
    for length in raster.shape[1:]:
        start = data.draw(st.integers(0, length - 1))
        parts.append(slice(start, data.draw(st.integers(start + 1, length))))
    rows, cols = parts
    read = raster.read(rows, cols)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, reflectance[:, rows, cols], atol=2e-7)
    np.testing.assert_array_equal(raster.valid(rows, cols), valid[rows, cols])


def test_threads_and_copies_in_other_processes_read_the_same(mosaic):
    raster = open_raster(mosaic[0], options=TileOptions(baseline="0400"))
    whole = raster.read(EVERYTHING, EVERYTHING)
    with ThreadPoolExecutor(4) as pool:
        rows = [slice(row, row + 20) for row in range(0, 300, 20)]
        parts = list(pool.map(lambda part: raster.read(part, EVERYTHING), rows))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    copy = pickle.loads(pickle.dumps(raster))  # noqa: S301
    np.testing.assert_array_equal(copy.read(EVERYTHING, EVERYTHING), whole)
    raster.close()
    np.testing.assert_array_equal(raster.read(EVERYTHING, EVERYTHING), whole)


@pytest.mark.parametrize(
    ("rows", "cols"),
    [(slice(0, 301), EVERYTHING), (slice(-5, 5), EVERYTHING), (EVERYTHING, slice(7, 7))],
)
def test_a_window_outside_of_the_image_is_refused(mosaic, rows, cols):
    with pytest.raises(GridError, match="is not within"):
        open_raster(mosaic[0]).read(rows, cols)


def test_digital_numbers_without_a_scale_are_refused(mosaic):
    with pytest.raises(SourceError, match="whole numbers") as caught:
        open_raster(mosaic[0]).read(EVERYTHING, EVERYTHING)
    assert not isinstance(caught.value, TileError), "a mosaic is the whole sample"


def test_a_window_without_a_valid_pixel_is_empty_and_no_error(mosaic):
    raster = open_raster(mosaic[0], options=TileOptions(baseline="0400"))
    window = slice(50, 60), slice(20, 30)
    assert not raster.read(*window).any()
    assert not raster.valid(*window).any()


def test_a_window_of_dark_water_is_0_and_no_error(tmp_path):
    numbers = np.full((4, 64, 64), 980, np.uint16)
    numbers[:, 0, 0] = 3000
    file = write_tif(tmp_path, numbers)
    raster = open_raster(str(file.path), options=TileOptions(baseline="0400"))
    assert raster.read(slice(0, 32), slice(0, 32))[:, 0, 0] == pytest.approx(0.2, abs=1e-6)
    assert not raster.read(slice(32, 64), slice(0, 64)).any()
    assert raster.valid(slice(32, 64), slice(0, 64)).all()


def test_a_file_beside_states_the_place_as_gdal_reads_it_and_an_overview_changes_nothing(
    mosaic, tmp_path
):
    path = tmp_path / "a.tif"
    path.write_bytes(Path(mosaic[0]).read_bytes())
    (tmp_path / "a.tif.ovr").write_bytes(b"no overview")
    assert open_raster(str(path)).crs == "EPSG:32633"
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32601</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform></PAMDataset>"
    )
    with rasterio.open(path) as expected:
        assert open_raster(str(path)).crs == f"EPSG:{expected.crs.to_epsg()}" == "EPSG:32601"
        assert open_raster(str(path)).transform == tuple(expected.transform)[:6]


def test_a_world_file_states_the_place(tmp_path):
    with pytest.warns(NotGeoreferencedWarning):
        file = write_tif(tmp_path, field(), crs=None, transform=None)
    assert open_raster(str(file.path)).transform == tuple(Affine.identity())[:6]
    file.path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    with rasterio.open(file.path) as expected:
        raster = open_raster(str(file.path))
        assert raster.transform == tuple(expected.transform)[:6] == (10, 0, 5e5, 0, -10, 5e6)
    assert set(locate(str(file.path), bands=True).files) == {
        str(file.path),
        str(file.path.with_suffix(".tfw")),
    }


def test_a_place_by_control_points_or_polynomials_alone_is_refused(tmp_path):
    corners = [(0, 0, 13, 52), (0, 24, 13.1, 52), (20, 0, 13, 51.9)]
    gcps = [GroundControlPoint(*corner) for corner in corners]
    file = write_tif(tmp_path, field(), crs="EPSG:4326", transform=None, gcps=gcps)
    with pytest.raises(SourceError, match=r"3 ground control points.* gdalwarp -t_srs EPSG:CODE"):
        open_raster(str(file.path))
    with pytest.raises(TileError, match="3 ground control points"):
        read_tile(file)
    with pytest.warns(NotGeoreferencedWarning):
        file = write_tif(tmp_path, field(), "b", crs=None, transform=None)
    ones = [1.0] + [0.0] * 19
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(file.path, "r+") as dataset:
        dataset.rpcs = RPC(0, 1, 0, 1, ones, ones, 0, 1, 0, 1, ones, ones, 0, 1)
    with pytest.raises(SourceError, match=r"rational polynomials.* gdalwarp -rpc"):
        open_raster(str(file.path))


def test_degrees_keep_their_transform_and_offer_metres(tmp_path):
    degrees = (9e-5, 0.0, -0.78, 0.0, -9e-5, 38.13)
    file = write_tif(tmp_path, field(400, 200), crs="EPSG:4326", transform=Affine(*degrees))
    raster = open_raster(str(file.path))
    assert raster.crs == "EPSG:4326"
    assert raster.transform == degrees
    height, width = raster.pixel_size_m
    assert height == pytest.approx(9e-5 * 110_998.6, rel=1e-4)
    assert width == pytest.approx(9e-5 * 87_697.0, rel=1e-4)


@pytest.mark.parametrize(
    ("latitude", "north", "east"),
    # the published lengths of a degree on WGS 84
    [(0, 110_574.3, 111_319.5), (45, 111_131.8, 78_846.8), (90, 111_693.9, 0)],
)
def test_a_degree_is_as_long_as_geodesy_says(latitude, north, east):
    assert metres_per_degree(latitude) == pytest.approx((north, east), abs=0.1)


def test_feet_are_turned_into_metres(tmp_path):
    file = write_tif(tmp_path, field(), crs="EPSG:2263", transform=Affine(10, 0, 0, 0, -10, 0))
    assert open_raster(str(file.path)).pixel_size_m == pytest.approx((3.048006, 3.048006))


def test_web_mercator_has_the_metres_of_its_latitude(tmp_path):
    north = Affine(10, 0, 1e6, 0, -10, 8_399_737.9)  # 60 degrees, where a metre is half of one
    raster = open_raster(str(write_tif(tmp_path, field(), crs="EPSG:3857", transform=north).path))
    assert raster.pixel_size_m == pytest.approx((5.02, 5.02), abs=0.02)
    assert raster.transform == tuple(north)[:6]


def test_a_file_without_a_place_has_no_metres(tmp_path):
    file = write_tif(tmp_path, field(), crs=None)
    raster = open_raster(str(file.path))
    assert (raster.crs, raster.pixel_size_m) == (None, None)


def test_what_cannot_be_opened_is_one_readable_error(tmp_path):
    with pytest.raises(MissingSourceError, match="does not exist: correct the path"):
        open_raster(str(tmp_path / "a.tif"))
    (tmp_path / "a.tif").write_bytes(b"II*\x00junk")
    with pytest.raises(SourceError, match="cannot be read"):
        open_raster(str(tmp_path / "a.tif"))
    file = write_tif(tmp_path, field(), "b", descriptions=())
    with pytest.raises(SourceError, match="does not name them: write bands="):
        open_raster(str(file.path))
    file = write_tif(tmp_path, field(), "c", transform=Affine(10, 2, 0, 2, -10, 0))
    with pytest.raises(SourceError, match="is rotated"):
        open_raster(str(file.path))


def test_damage_in_the_middle_is_found_where_it_is_read(mosaic, tmp_path):
    raw = bytearray(Path(mosaic[0]).read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 30000] = bytes(30000)
    path = tmp_path / "a.tif"
    path.write_bytes(raw)
    raster = open_raster(str(path), options=TileOptions(baseline="0400"))
    with pytest.raises(SourceError, match=r"a\.tif is damaged: the checksum of its block"):
        raster.read(EVERYTHING, EVERYTHING)


MEASURE = """
import resource, sys
from parafovea.formats.geo.raster import open_raster
raster = open_raster(sys.argv[1], cache=16)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
raster.read(slice(0, 256), slice(0, 256))
before = peak()
for row in range(0, raster.shape[1], 256):
    for column in range(0, raster.shape[2], 256):
        raster.read(slice(row, row + 256), slice(column, column + 256))
print(peak() - before)
"""


def test_memory_is_bounded_by_a_window_and_the_cache(tmp_path):
    path = tmp_path / "large.tif"
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 0, 0, -10, 0), "tiled": True}
    shape = {"count": 4, "height": 4096, "width": 2048, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", compress="zstd", **shape, **place) as dataset:
        dataset.descriptions = ("B02", "B03", "B04", "B08")
        for row in range(0, 4096, 256):
            window = rasterio.windows.Window(0, row, 2048, 256)
            dataset.write(np.full((4, 256, 2048), 0.25, np.float32), window=window)
    command = [sys.executable, "-c", MEASURE, str(path)]
    grown = int(subprocess.check_output(command, text=True))
    assert grown < 50_000, "KiB, while 128 MiB of pixels were read"


def test_metres_that_are_called_degrees_are_refused(tmp_path):
    file = write_tif(tmp_path, field(), crs="EPSG:4326")
    with pytest.raises(SourceError, match=r"lies at the latitude 4\.9999e\+06 .*EPSG:4326"):
        open_raster(str(file.path))
