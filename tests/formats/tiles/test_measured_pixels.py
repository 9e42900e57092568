"""Which pixels were measured: one answer, whatever a file states it by, and the same as GDAL's."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window
from tile_files import NAMES, UTM, field, write_npz, write_tif

from parafovea.errors import TileError
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.tiles.census import tile_census
from parafovea.formats.tiles.reading import read_tile, tile_digest
from parafovea.formats.tiles.tile_folder import TileFile, list_tiles

EVERYTHING = slice(None)
DN = TileOptions(baseline="0300")


def hidden() -> np.ndarray:
    """Return (20, 24) uint8, 0 where nothing was measured, else 255."""
    mask = np.full((20, 24), 255, np.uint8)
    mask[:, :6] = 0
    mask[9, 17] = 0
    return mask


def numbers() -> np.ndarray:
    return np.rint(field() * 10000).astype(np.uint16)


def assert_measured(path: Path, expected: np.ndarray, options: TileOptions = DN) -> None:
    """Check the mask of a file as a tile and as a mosaic, and that its values do not leak."""
    (file,) = list_tiles(path.parent)
    tile = read_tile(file, options=options)
    np.testing.assert_array_equal(tile.valid, expected)
    raster = open_raster(str(path), options=options)
    np.testing.assert_array_equal(raster.valid(EVERYTHING, EVERYTHING), expected)
    values = raster.read(EVERYTHING, EVERYTHING)
    assert not values[:, ~expected].any()
    np.testing.assert_array_equal(values[:, expected], tile.values[:, expected])
    assert raster.valid(slice(9, 10), slice(17, 18)).tolist() == [[bool(expected[9, 17])]]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("nodata", [None, 77])
def test_a_mask_inside_or_beside_the_file_counts_with_its_nodata_number(tmp_path, inside, nodata):
    values = numbers()
    if nodata is not None:
        values[2, 3, 8] = nodata
    file = write_tif(tmp_path, values, nodata=nodata)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(file.path, "r+") as dataset:
        dataset.write_mask(hidden())
    assert file.path.with_name("a.tif.msk").exists() != inside
    with rasterio.open(file.path) as dataset:
        expected = dataset.dataset_mask() > 0
    assert (expected == (hidden() > 0)).all()
    if nodata is not None:
        expected[3, 8] = False  # GDAL takes the mask alone; both are statements of the file
    assert_measured(file.path, expected)


@pytest.mark.parametrize("place", [0, 1, 3, 4])
@pytest.mark.parametrize("named", [True, False])
def test_an_alpha_band_counts_wherever_it_is(tmp_path, place, named):
    alpha = (hidden() > 0).astype(np.uint16) * 65535
    values = np.insert(numbers(), place, alpha, axis=0)
    names = list(NAMES)
    names.insert(place, None)
    file = write_tif(tmp_path, values, descriptions=tuple(names) if named else ())
    meanings = [ColorInterp.undefined] * 5
    meanings[place] = ColorInterp.alpha
    with rasterio.open(file.path, "r+") as dataset:
        dataset.colorinterp = meanings
    with rasterio.open(file.path) as dataset:
        assert dataset.colorinterp[place] == ColorInterp.alpha
        expected = dataset.read(place + 1) > 0
    assert (expected == (hidden() > 0)).all()
    options = DN if named else TileOptions(baseline="0300", bands=NAMES)
    assert_measured(file.path, expected, options)


def test_a_fourth_band_of_8_bits_that_has_a_name_is_no_alpha_band(tmp_path):
    values = np.rint(field() * 255).astype(np.uint8)
    values[3, 4, 5] = 0
    file = write_tif(tmp_path, values, photometric="RGB", alpha="unspecified")
    with rasterio.open(file.path, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:3], ColorInterp.alpha]
    with rasterio.open(file.path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    tile = read_tile(file, options=TileOptions(scale=1 / 255))
    assert tile.valid is None
    np.testing.assert_allclose(tile.values, values / 255, atol=1e-6)


def test_numbers_of_each_band_and_of_all_bands_together_are_as_gdal_reads_them(tmp_path):
    values = numbers()
    values[1, 2, 3] = values[:, 5, 6] = 9
    values[0, 7, 8] = 7
    file = write_tif(tmp_path, values)
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{number}</NoDataValue></PAMRasterBand>'
        for band, number in ((1, 7), (2, 9), (3, 9), (4, 9))
    )
    beside = file.path.with_name("a.tif.aux.xml")
    beside.write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(file.path) as dataset:
        assert dataset.nodatavals == (7, 9, 9, 9)
        expected = (dataset.read_masks() > 0).all(axis=0)
    assert sorted(map(tuple, np.argwhere(~expected))) == [(2, 3), (5, 6), (7, 8)]
    assert_measured(file.path, expected)
    beside.write_text(
        '<PAMDataset><Metadata><MDI key="NODATA_VALUES">9 9 9 9</MDI></Metadata></PAMDataset>'
    )
    with rasterio.open(file.path) as dataset:
        expected = dataset.dataset_mask() > 0
    assert np.argwhere(~expected).tolist() == [[5, 6]]
    assert_measured(file.path, expected)


@pytest.mark.parametrize("form", ["npz", "tif"])
def test_the_digital_number_0_is_no_data_under_a_baseline_unless_told_otherwise(tmp_path, form):
    values = numbers() + 1000
    values[:, hidden() == 0] = 0
    values[2, 11, 12] = 0  # one band is enough
    file = write_npz(tmp_path, opt_v1=values) if form == "npz" else write_tif(tmp_path, values)
    expected = (values != 0).all(axis=0)
    tile = read_tile(file, options=TileOptions(baseline="0400"))
    np.testing.assert_array_equal(tile.valid, expected)
    np.testing.assert_allclose(
        tile.values[:, expected], values[:, expected] * 1e-4 - 0.1, atol=2e-7
    )
    assert tile.clipped == 0
    for options in ({"scale": 1e-4}, {"baseline": "0400", "nodata": 65535}):
        assert read_tile(file, options=TileOptions(**options)).valid is None


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8])
def test_the_array_valid_of_an_npz_file_counts(tmp_path, dtype):
    values = field()
    values[:, hidden() == 0] = np.nan
    file = write_npz(tmp_path, opt_v2=values, valid=(hidden() > 0).astype(dtype))
    tile = read_tile(file, key="opt_v2")
    np.testing.assert_array_equal(tile.valid, hidden() > 0)
    np.testing.assert_array_equal(tile.values[:, tile.valid], values[:, tile.valid])
    assert np.isfinite(tile.values).all()


@pytest.mark.parametrize(
    ("valid", "says"),
    [
        (np.ones((20, 23), bool), r"valid has the shape \(20, 23\), but opt_v1 has 20 x 24"),
        (np.ones((4, 20, 24), bool), "valid has the shape"),
        (np.full((20, 24), 3, np.uint8), "valid has uint8 from 3 to 3: write true"),
        (np.ones((20, 24), np.float32), "valid has float32"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path, valid, says):
    with pytest.raises(TileError, match=says):
        read_tile(write_npz(tmp_path, opt_v1=field(), valid=valid))


def test_a_mask_beside_a_tile_is_a_part_of_its_content(tmp_path):
    file = write_tif(tmp_path, numbers())
    plain, counted = tile_digest(file), tile_census(tmp_path).digest
    mask = file.path.with_name("a.tif.msk")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(file.path, "r+") as dataset:
        dataset.write_mask(hidden())
    masked = tile_digest(file), tile_census(tmp_path).digest
    assert masked[0] != plain
    assert masked[1] != counted
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(mask, "r+") as dataset:
        dataset.write(np.full((1, 20, 24), 255, np.uint8))
    assert tile_digest(file) not in (plain, masked[0])
    mask.unlink()
    assert (tile_digest(file), tile_census(tmp_path).digest) == (plain, counted)


@pytest.mark.parametrize("layout", [{"interleave": "pixel"}, {"interleave": "band"}])
def test_a_block_that_a_sparse_file_does_not_have_was_not_measured(tmp_path, layout):
    file = TileFile("a", tmp_path / "a.tif", None)
    values = np.random.default_rng(1).uniform(0.1, 0.6, (4, 64, 48)).astype(np.float32)
    blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16, "SPARSE_OK": "TRUE"}
    shape = {"count": 4, "height": 64, "width": 48, "dtype": "float32", "transform": UTM}
    with rasterio.open(file.path, "w", driver="GTiff", **shape, **blocks, **layout) as dataset:
        dataset.descriptions = NAMES
        dataset.write(values[:, :32], window=Window(0, 0, 48, 32))
        if layout["interleave"] == "band":  # a block of one band is enough
            dataset.write(values[:3, 32:48, 16:32], (1, 2, 3), window=Window(16, 32, 16, 16))
    with rasterio.open(file.path) as dataset:
        assert not dataset.read()[:, 32:].all()  # GDAL gives zeros, and calls them valid
        assert dataset.dataset_mask().all()
    tile = read_tile(file)
    expected = np.zeros((64, 48), np.bool_)
    expected[:32] = True
    np.testing.assert_array_equal(tile.valid, expected)
    np.testing.assert_array_equal(tile.values[:, :32], values[:, :32])
    raster = open_raster(str(file.path))
    np.testing.assert_array_equal(raster.valid(EVERYTHING, EVERYTHING), expected)
    inner = (slice(30, 35), slice(15, 33))
    np.testing.assert_array_equal(raster.valid(*inner), expected[inner])


def test_nan_and_a_number_can_both_mark_what_was_not_measured(tmp_path):
    values = field()
    values[:, 0], values[1, 4, 7] = -9999, np.nan
    file = write_tif(tmp_path, values, nodata=-9999)
    with pytest.raises(TileError, match="nodata=nan,-9999 if both do"):
        read_tile(file)
    expected = ((values > 0) & np.isfinite(values)).all(axis=0)
    assert_measured(file.path, expected, parse_metadata("nodata=nan,-9999", folder=tmp_path).tiles)


@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize("by", ["file", "sheet"])
def test_a_band_that_is_a_mask_by_its_name_counts(tmp_path, place, by):
    mask = (hidden() > 0).astype(np.uint16)
    values = np.insert(numbers(), place, mask, axis=0)
    names = list(NAMES)
    names.insert(place, "dataMask")
    said = DN if by == "file" else TileOptions(baseline="0300", bands=names)
    descriptions = tuple(names) if by == "file" else (None,) * 5
    file = write_tif(tmp_path, values, descriptions=descriptions)
    assert_measured(file.path, mask > 0, said)
    array = write_npz(tmp_path, "b", {"bands": names} if by == "file" else None, opt_v1=values)
    np.testing.assert_array_equal(read_tile(array, options=said).valid, mask > 0)


def test_a_mask_beside_a_file_counts_with_its_ending_in_capitals(tmp_path):
    file = write_tif(tmp_path, numbers())
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(file.path, "r+") as dataset:
        dataset.write_mask(hidden())
    mask = file.path.with_name("a.tif.msk")
    mask.rename(mask.with_suffix(".MSK"))
    with rasterio.open(file.path) as dataset:
        expected = dataset.dataset_mask() > 0
    assert not expected.all()
    assert_measured(file.path, expected)


def test_the_lowest_number_of_float32_is_missing_however_it_is_rounded(tmp_path):
    values = field()
    values[:, :, :3] = np.finfo(np.float32).min
    file = write_tif(tmp_path, values)
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>-3.40282e+38</NoDataValue></PAMRasterBand>'
        for band in range(1, 5)
    )
    file.path.with_name("a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(file.path) as dataset:
        expected = dataset.dataset_mask() > 0
    assert not expected[:, :3].any()
    assert_measured(file.path, expected, TileOptions())
