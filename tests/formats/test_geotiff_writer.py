"""Cloud-optimized GeoTIFF."""

import subprocess
import sys

import numpy as np
import pytest
import rasterio

from parafovea.formats.geo.cog import write_cog

PLACE = {"crs": "EPSG:32633", "transform": (10, 0, 399960, 0, -10, 5000040)}
NAMES = ("B02", "B03", "B04", "B08")


def _blocks(values, *, step=300, reverse=False):
    rows, columns = (range(0, n, step) for n in values.shape[1:])
    places = [(row, column) for row in rows for column in columns]
    for row, column in reversed(places) if reverse else places:
        yield row, column, values[:, row : row + step, column : column + step]


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).uniform(0, 0.05, (4, 700, 1100))
    return (noise + np.linspace(0, 0.9, 1100)).astype(np.float32)


@pytest.fixture(scope="module")
def written(image, tmp_path_factory):
    path = tmp_path_factory.mktemp("cog") / "results" / "refined.tif"
    write_cog(
        path,
        _blocks(image),
        shape=image.shape,
        **PLACE,
        nodata=float("nan"),
        descriptions=NAMES,
        tags={"model": "abc"},
    )
    return path


def test_the_result_is_a_cog_with_overviews_where_the_source_was(written, image):
    with rasterio.open(written) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == [2, 4]
        assert dataset.compression.name == "deflate"
        assert dataset.block_shapes == [(512, 512)] * 4
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        assert dataset.crs == rasterio.CRS.from_epsg(32633)
        assert tuple(dataset.transform)[:6] == PLACE["transform"]
        assert dataset.descriptions == NAMES
        assert dataset.tags()["model"] == "abc"
        assert np.isnan(dataset.nodata)
        np.testing.assert_array_equal(dataset.read(), image)
        coarse = dataset.read(1, out_shape=(350, 550))
    means = image[0].reshape(350, 2, 550, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(coarse, means, atol=1e-5)


def test_nothing_is_left_beside_the_result(written):
    assert [path.name for path in written.parent.iterdir()] == ["refined.tif"]


def test_the_same_image_in_other_blocks_gives_the_same_bytes(written, image, tmp_path):
    path = tmp_path / "again.tif"
    blocks = _blocks(image, step=170, reverse=True)
    about = {"nodata": float("nan"), "descriptions": NAMES, "tags": {"model": "abc"}}
    write_cog(path, blocks, shape=image.shape, **PLACE, **about)
    assert path.read_bytes() == written.read_bytes()


def test_digital_numbers_say_their_scale_and_keep_nodata_apart_from_dark(tmp_path):
    values = np.full((1, 600, 40), 0.12344, np.float32)
    values[0, 0, :3] = 0, 1, np.nan
    path = tmp_path / "a.tif"
    about = {"nodata": 0, "dtype": np.uint16}
    write_cog(path, _blocks(values), shape=values.shape, **PLACE, **about)
    with rasterio.open(path) as dataset:
        assert (dataset.scales, dataset.offsets) == ((1e-4,), (0.0,))
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert dataset.read(1)[0, :5].tolist() == [1, 10000, 0, 1234, 1234]


def test_classes_keep_their_numbers_in_the_overviews(tmp_path):
    classes = np.random.default_rng(0).choice(np.array([0, 7], np.uint8), (1, 600, 600))
    path = tmp_path / "classes.tif"
    write_cog(path, _blocks(classes), shape=classes.shape, **PLACE, dtype=np.uint8)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), classes)
        assert np.unique(dataset.read(1, out_shape=(300, 300))).tolist() == [0, 7]
        assert dataset.nodata is None


def test_an_image_without_a_crs_is_written_too(tmp_path):
    values = np.full((1, 40, 40), 0.5, np.float32)
    place = {"crs": None, "transform": (10, 0, 0, 0, -10, 0)}
    write_cog(tmp_path / "a.tif", _blocks(values), shape=values.shape, **place)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.crs is None
        np.testing.assert_array_equal(dataset.read(), values)


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([(0, 0, np.zeros((1, 20, 40), np.float32))], "800 pixels of 1600"),
        ([(30, 0, np.zeros((1, 20, 40), np.float32))], "is not within"),
        ([(0, -1, np.zeros((1, 40, 40), np.float32))], "is not within"),
        ([(0, 0, np.zeros((2, 40, 40), np.float32))], "is not within"),
        ([(0, 0, np.full((1, 40, 40), np.nan, np.float32))], "contains NaN"),
    ],
)
def test_blocks_that_are_not_the_image_leave_the_old_result(tmp_path, blocks, says):
    path = tmp_path / "a.tif"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=says):
        write_cog(path, blocks, shape=(1, 40, 40), **PLACE)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


FULL = """
import resource, sys, numpy as np
from pathlib import Path
from parafovea.formats.geo.cog import write_cog

path, values = Path(sys.argv[1]), np.random.default_rng(0).random((1, 1024, 1024), np.float32)

def write(step, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    places = [(y, x) for y in range(0, 1024, step) for x in range(0, 1024, step)]
    blocks = ((y, x, values[:, y : y + step, x : x + step]) for y, x in places)
    write_cog(path, blocks, shape=values.shape, crs=None, transform=(10, 0, 0, 0, -10, 0))

write(1024, -1)
size = path.stat().st_size
path.unlink()
# too little at once, when GDAL closes the file of blocks, and for the last bytes of the result
for step, limit in ((1024, 1_000_000), (64, 1_000_000), (1024, size - 200_000), (1024, size - 1)):
    try:
        write(step, limit)
    except OSError as error:
        print(error)
"""


def test_a_disk_that_takes_no_more_is_an_error_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("4194304 bytes were to be written") == 4, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


PEAKS = """
import resource, sys, numpy as np
from pathlib import Path
from parafovea.formats.geo.cog import write_cog

block = np.ones((4, 256, 2048), np.float32)
for rows in (512, 1024, 4096):
    blocks = ((row, 0, block) for row in range(0, rows, 256))
    write_cog(Path(sys.argv[1]), blocks, shape=(4, rows, 2048), crs=None,
              transform=(10, 0, 0, 0, -10, 0))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_is_bounded_by_the_cache_and_not_by_the_image(tmp_path):
    command = [sys.executable, "-c", PEAKS, str(tmp_path / "a.tif")]
    _, small, large = map(int, subprocess.check_output(command, text=True).split())
    assert large - small < 60_000, "KiB, for 96 MiB of pixels more"
