"""A tile from its files."""

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from tile_files import field, write_npz, write_sidecar, write_tif

from parafovea.errors import TileError
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.tiles.npz import write_tile
from parafovea.formats.tiles.reading import read_tile, tile_digest, tile_size
from parafovea.formats.tiles.tile import Position
from parafovea.formats.tiles.tile_folder import TileFile


def test_a_tile_is_what_was_written(tmp_path):
    values = field()
    about = {"month": "mar", "biome_code": 4, "tile_id": "x"}
    path = write_tile(tmp_path, "a", {"opt_v1": values}, about)
    tile = read_tile(TileFile("a", path, tmp_path / "a.json"))
    np.testing.assert_array_equal(tile.values, values)
    assert tile.values.dtype == np.float32
    assert (tile.valid, tile.month, tile.biome, tile.assumed) == (None, 3, 4, ())
    assert (tile.name, tile.path, tile.metadata) == ("a", path, {"tile_id": "x"})
    assert (tile.position, tile.clipped) == (None, 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_any_float_becomes_float32(tmp_path, dtype):
    values = field().astype(dtype)
    tile = read_tile(write_npz(tmp_path, opt_v1=values))
    np.testing.assert_array_equal(tile.values, values.astype(np.float32))


def test_radar_tiles_are_read_by_their_own_key_and_bands(tmp_path):
    file = write_npz(tmp_path, sar=field(bands=2))
    assert read_tile(file, bands=("VV", "VH"), key="sar").values.shape == (2, 20, 24)
    by_sheet = read_tile(file, bands=("VV", "VH"), options=TileOptions(key="sar"))
    assert by_sheet.values.shape == (2, 20, 24)


def test_bands_of_the_sheet_choose_among_more_and_put_them_in_order(tmp_path):
    values = field(bands=6)
    order = ("B08", "B8A", "B04", "B11", "B02", "B03")
    tile = read_tile(write_npz(tmp_path, opt_v1=values), options=TileOptions(bands=order))
    np.testing.assert_array_equal(tile.values, values[[4, 5, 2, 0]])


def test_the_size_is_known_from_the_header(tmp_path):
    assert tile_size(write_npz(tmp_path, opt_v1=field(), classes=np.zeros((8, 9)))) == (20, 24)
    assert tile_size(write_npz(tmp_path, classes=np.zeros((8, 9))), "classes") == (8, 9)
    assert tile_size(write_tif(tmp_path, field())) == (20, 24)
    with pytest.raises(TileError, match="4 axes instead of"):
        tile_size(write_npz(tmp_path, opt_v1=field()[None]))


def test_the_size_is_known_without_the_values(tmp_path):
    file = write_npz(tmp_path, opt_v1=field(512, 512))
    raw = bytearray(file.path.read_bytes())
    raw[1000:-1000] = bytes(len(raw) - 2000)  # the header and the directory stay
    file.path.write_bytes(raw)
    assert tile_size(file) == (512, 512)
    with pytest.raises(TileError):
        read_tile(file)


def _with(values, change, *, at=(slice(None), 0, 0)):
    changed = values.copy()
    changed[at] = change
    return changed


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (_with(field(), np.nan, at=(0, slice(0, 3), 0)), "3 NaN and 0 infinite values of 1920"),
        (_with(field(), -np.inf, at=(2, 5, 7)), "0 NaN and 1 infinite values of 1920"),
        (field(bands=3), r"has 3 bands instead of 4 \(B02, B03, B04, B08\)"),
        (field(bands=13), "has 13 bands instead of 4 .*bands= in the metadata column"),
        (np.moveaxis(field(), 0, -1), r"shape \(20, 24, 4\), with its bands last: .*\(4, 20, 24\)"),
        (field()[0], r"shape \(20, 24\), 2 axes instead of \(band, y, x\)"),
        (field()[None], r"shape \(1, 4, 20, 24\), 4 axes"),
        ((field() * 10000).astype(np.uint16), r"whole numbers \(uint16, .*baseline=0400"),
        ((field() * 10000).astype(np.int64), "or divide them by 10000"),
        (field() * 10000, "look like digital numbers: write baseline=0400"),
        (_with(field(), 1.2), "4 of 1920 values outside .*scale=1 in the metadata column"),
        (_with(field(), -0.01), r"4 of 1920 values outside \[0, 1\] \(-0.01 to"),
        (-field() * 30, r"no value above 0 \(.*decibels"),
        (field() > 0.3, "is boolean: write reflectance"),
        (
            np.zeros((4, 20, 24), np.float32),
            "0 in all pixels and bands, which is not a measurement",
        ),
        (field(0, 24), r"has 0 x 24 pixels \(y, x\), but a tile must have 16 to 8192"),
        (field(20, 15), "has 20 x 15 pixels"),
        (np.zeros((4, 16, 8193), np.uint8), "has 16 x 8193 pixels.*mosaic"),
        (field().astype(complex), "holds complex128, not numbers"),
    ],
)
def test_what_is_no_reflectance_is_refused_with_one_line_that_names_the_file(
    tmp_path, values, says
):
    file = write_npz(tmp_path, sidecar={"month": 1}, opt_v1=values)
    with pytest.raises(TileError, match=says) as caught:
        read_tile(file)
    assert str(caught.value).startswith(str(file.path))
    assert not {"\n", "\t"} & set(str(caught.value))


@pytest.mark.parametrize(
    "content", [b"", b"II*\x00junk", b"<VRTDataset/>", b"\x89PNG\r\n\x1a\n", b"II*\x00" + bytes(99)]
)
def test_a_damaged_geotiff_is_one_tile_that_is_refused(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    for read in (tile_size, read_tile):
        with pytest.raises(TileError, match=r"a\.tif cannot be read") as caught:
            read(TileFile("a", path, None))
        # its bytes may lie in memory, in a folder whose name differs each time
        assert not re.search("vsimem|[0-9a-f]{8}-", str(caught.value))


def test_a_truncated_geotiff_is_refused(tmp_path):
    file = write_tif(tmp_path, field(300, 300))
    raw = file.path.read_bytes()
    file.path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(TileError, match=r"a\.tif cannot be read"):
        read_tile(file)


def test_a_virtual_dataset_with_the_ending_of_a_tiff_opens_no_other_file(tmp_path):
    secret = write_tif(tmp_path, field(), "secret")
    path = tmp_path / "a.tif"
    rasterio.shutil.copy(secret.path, path, driver="VRT")
    with rasterio.open(path) as opened:  # the attack works where any format is allowed
        assert opened.driver == "VRT"
    with pytest.raises(TileError, match="cannot be read"):
        read_tile(TileFile("a", path, None))


def test_files_that_disappear_are_one_tile_error(tmp_path):
    file = write_npz(tmp_path, sidecar={"month": 1}, opt_v1=field())
    file.path.unlink()
    for read in (tile_size, read_tile, tile_digest):
        with pytest.raises(TileError, match="cannot be read"):
            read(file)


def test_rounding_beyond_0_and_1_is_cut(tmp_path):
    values = _with(_with(field(), 1.0009), -0.0009, at=(slice(None), 1, 1))
    tile = read_tile(write_npz(tmp_path, opt_v1=values))
    assert (tile.values.min(), tile.values.max(), tile.clipped) == (0, 1, 0)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 16000), min_size=4, max_size=4),
    st.sampled_from([("0301", 0.0), ("0400", -0.1), ("05.09", -0.1), ("N0300", 0.0)]),
)
def test_digital_numbers_become_reflectance_by_their_baseline(tmp_path_factory, dn, baseline):
    name, offset = baseline
    stored = np.full((4, 16, 16), 5000, np.uint16)
    stored[:, 3, 4] = dn
    file = write_npz(tmp_path_factory.getbasetemp(), opt_v1=stored)
    tile = read_tile(file, options=TileOptions(baseline=name))
    expected = stored * 1e-4 + offset
    np.testing.assert_allclose(tile.values, np.clip(expected, 0, 1), atol=2e-7)
    outside = (expected < -1e-3 - 1e-6) | (expected > 1 + 1e-3 + 1e-6)
    assert abs(tile.clipped - outside.sum()) <= 1
    assert tile.clipped == 0 or expected.max() > 1 or expected.min() < 0


def test_reflectance_brighter_than_1_is_cut_and_counted_where_the_sheet_gives_a_scale(tmp_path):
    file = write_npz(tmp_path, opt_v1=_with(field(), 1.2))
    tile = read_tile(file, options=TileOptions(scale=1))
    assert tile.clipped == 4
    assert tile.values.max() == 1


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (field() * 10000, {"scale": 1}),
        (field() * 100, {"scale": 1e-4, "offset": -0.1}),
        (field(), {"scale": 1e-2, "offset": -0.1}),
    ],
)
def test_a_wrong_scale_is_noticed(tmp_path, values, options):
    with pytest.raises(TileError, match=r"scale=, offset= or baseline=|would be scaled twice"):
        read_tile(write_npz(tmp_path, opt_v1=values), options=TileOptions(**options))


def test_missing_pixels_repeat_the_nearest_measured_one_and_stay_marked(tmp_path):
    values = field()
    values[:, :, 20:] = np.nan
    values[1, 2, 3] = np.nan  # one band is enough
    tile = read_tile(write_npz(tmp_path, opt_v1=values), options=TileOptions(nodata=float("nan")))
    expected = np.isfinite(values).all(axis=0)
    np.testing.assert_array_equal(tile.valid, expected)
    np.testing.assert_array_equal(tile.values[:, expected], values[:, expected])
    for column in range(20, 24):
        np.testing.assert_array_equal(tile.values[:, 5, column], values[:, 5, 19])


@pytest.mark.parametrize("form", ["npz", "tif"])
def test_a_tile_of_nothing_but_nodata_is_refused(tmp_path, form):
    values = np.full((4, 20, 24), 7, np.uint16)
    if form == "npz":
        file, options = write_npz(tmp_path, opt_v1=values), TileOptions(nodata=7, baseline="0400")
    else:
        file, options = write_tif(tmp_path, values, nodata=7), TileOptions(baseline="0400")
    with pytest.raises(TileError, match="no valid pixel, all are nodata"):
        read_tile(file, options=options)


def test_a_geotiff_says_bands_place_scale_and_nodata_itself(tmp_path):
    values = np.random.default_rng(0).integers(1, 9000, (4, 20, 24)).astype(np.uint16)
    values[:, :, 0] = 0
    names = ("B8, central 832 nm", "red", "Band 3", "B2")
    scales = {"scales": (1e-4,) * 4, "offsets": (-0.05,) * 4}
    file = write_tif(tmp_path, values, descriptions=names, nodata=0, **scales)
    tile = read_tile(file)
    expected = np.clip(values[[3, 2, 1, 0]] * 1e-4 - 0.05, 0, 1)
    np.testing.assert_allclose(tile.values[:, :, 1:], expected[:, :, 1:], atol=2e-7)
    np.testing.assert_array_equal(tile.values[:, :, 0], tile.values[:, :, 1])
    assert not tile.valid[:, 0].any()
    assert tile.valid[:, 1:].all()
    assert tile.position == Position("EPSG:32633", 500000.0, 5000000.0, 10.0)
    by_sheet = read_tile(file, options=TileOptions(scale=1e-4))
    np.testing.assert_allclose(by_sheet.values[:, :, 1:] - expected[:, :, 1:], 0.05, atol=0.051)
    assert by_sheet.values[0, 5, 5] == pytest.approx(values[3, 5, 5] * 1e-4)


def test_a_mask_inside_a_geotiff_counts(tmp_path):
    file = write_tif(tmp_path, field())
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(file.path, "r+") as dataset,
    ):
        mask = np.full((20, 24), 255, np.uint8)
        mask[4, 5] = 0
        dataset.write_mask(mask)
    tile = read_tile(file)
    assert np.argwhere(~tile.valid).tolist() == [[4, 5]]


@pytest.mark.parametrize(
    ("profile", "options", "says"),
    [
        ({"descriptions": ()}, {}, "has 4 bands and does not name them: write bands="),
        ({"descriptions": ("B02", "B03", "B04", "B8A")}, {}, "band B08 not among its 4"),
        ({"descriptions": ("B02", "B03", "B04", "B04")}, {}, "band B04 twice among its 4"),
        ({}, {"bands": ("B02", "B03", "B04")}, "has 4 bands, but bands=B02,B03,B04 names 3"),
        ({"transform": Affine(10, 1, 0, 1, -10, 0)}, {}, "is rotated .*gdalwarp"),
        ({"transform": Affine(10, 0, 0, 0, 10, 0)}, {}, "does not run from north to south"),
        ({"transform": Affine(10, 0, 0, 0, -20, 0)}, {}, "20 x 10 .*not square"),
    ],
)
def test_a_geotiff_whose_bands_or_place_are_unclear_is_refused(tmp_path, profile, options, says):
    with pytest.raises(TileError, match=says):
        read_tile(write_tif(tmp_path, field(), **profile), options=TileOptions(**options))


def test_whole_numbers_in_a_geotiff_need_a_scale(tmp_path):
    file = write_tif(tmp_path, (field() * 10000).astype(np.int16))
    with pytest.raises(TileError, match=r"whole numbers \(int16"):
        read_tile(file)
    tile = read_tile(file, options=TileOptions(baseline="0300"))
    np.testing.assert_allclose(tile.values, field(), atol=1.01e-4)


def test_a_geotiff_without_a_place_is_read_without_a_warning_in_many_threads(tmp_path):
    files = [TileFile(f"t{n}", tmp_path / f"t{n}.tif", None) for n in range(12)]
    for file in files:
        tifffile.imwrite(file.path, field(), photometric="minisblack", planarconfig="separate")
    with pytest.warns(NotGeoreferencedWarning):
        rasterio.open(files[0].path).close()
    options = TileOptions(bands=("B02", "B03", "B04", "B08"))
    with ThreadPoolExecutor(4) as pool:
        tiles = list(pool.map(lambda file: read_tile(file, options=options), files))
    assert {tile.position for tile in tiles} == {None}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"crs": "EPSG:32634"}, "the coordinate system EPSG:32634 instead of EPSG:32633"),
        ({"x": 500_020.0}, "its corner at 500020, 5000000 instead of 500000, 5000000"),
        ({"pixel_size": 20.0}, "pixels of 20 instead of 10"),
    ],
)
def test_a_sidecar_that_contradicts_the_header_is_refused(tmp_path, other, says):
    file = write_tif(tmp_path, field())
    place = {"crs": "EPSG:32633", "x": 500_000.0, "y": 5_000_000.0, "pixel_size": 10.0}
    sidecar = write_sidecar(tmp_path, "a", {"position": place})
    tile = read_tile(TileFile("a", file.path, sidecar))
    assert tile.position == Position("EPSG:32633", 500_000.0, 5_000_000.0, 10.0)
    write_sidecar(tmp_path, "a", {"position": place | other})
    with pytest.raises(TileError, match=f"contradicts the image: it gives {says}"):
        read_tile(TileFile("a", file.path, sidecar))


def test_the_digest_follows_the_content_of_both_files_and_nothing_else(tmp_path):
    file = write_npz(tmp_path, sidecar={"month": 1}, opt_v1=field())
    first = tile_digest(file)
    assert read_tile(file).sha256 == first
    parts = [hashlib.sha256(path.read_bytes()).digest() for path in (file.path, file.sidecar)]
    assert first == hashlib.sha256(b"".join(parts)).hexdigest()
    os.utime(file.path, (1, 1))
    moved = TileFile("b", file.path.rename(tmp_path / "b.npz"), file.sidecar)
    assert tile_digest(moved) == first
    assert tile_digest(TileFile("b", moved.path, None)) != first
    write_sidecar(tmp_path, "a", {"month": 2})
    assert tile_digest(moved) != first


@settings(max_examples=150)
@given(st.data())
def test_any_damage_of_an_npz_or_its_sidecar_is_one_tile_error_or_harmless(damaged, data):
    file, whole = damaged
    target = data.draw(st.sampled_from((file.path, file.sidecar)))
    raw = bytearray(whole[target])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    target.write_bytes(
        raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    )
    refusal = None
    try:
        tile = read_tile(file)
    except TileError as error:
        refusal = str(error)
    finally:
        target.write_bytes(whole[target])
    if refusal is None:
        np.testing.assert_array_equal(tile.values, field(16, 16))
    else:
        assert len(refusal.splitlines()) == 1


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Return a tile and the whole content of its files, which the test damages in turn."""
    about = {"month": 3, "biome_code": 2, "cloud": 0.5}
    file = write_npz(tmp_path_factory.mktemp("damaged"), sidecar=about, opt_v1=field(16, 16))
    return file, {path: path.read_bytes() for path in (file.path, file.sidecar)}
