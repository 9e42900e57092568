"""What may be wrong with a tile or a mosaic, but need not be, is said."""

import logging
import warnings
import zipfile

import numpy as np
import pytest
import rasterio
import tifffile
from tile_files import NAMES, UTM, field, write_npz, write_tif

from parafovea.errors import SourceError, TileError
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.opening import open_source
from parafovea.formats.tiles.reading import read_tile
from parafovea.formats.tiles.tile_folder import TileFile

PLAIN = TileOptions()


def notes(file, options=PLAIN, caplog=None):
    """Return the notes of a tile, after checking that a mosaic of the same file logs them."""
    tile = read_tile(file, options=options)
    if caplog is not None:
        source = open_source(file.path, metadata=SourceMetadata(tiles=options), bands=NAMES)
        source.read(source.grid.box)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            source.check()
        told = [record.getMessage() for record in caplog.records]
        assert told == [f"{file.path}: {note}" for note in tile.notes]
    return tile.notes


def test_zeros_that_no_one_calls_nodata_are_measured_and_said(tmp_path, caplog):
    values = field()
    assert notes(write_tif(tmp_path, values), caplog=caplog) == ()
    values[:, :2] = 0
    file = write_tif(tmp_path, values)
    (note,) = notes(file, caplog=caplog)
    assert "0 in all bands and count as measured" in note
    assert "write nodata=0" in note
    assert notes(file, TileOptions(nodata=0), caplog) == ()
    values[2, :2] = 0.1  # dark in some bands, as water is
    assert notes(write_tif(tmp_path, values), caplog=caplog) == ()


def test_eight_bits_in_wider_integers_are_said(tmp_path, caplog):
    file = write_tif(tmp_path, np.rint(field() * 255 / 0.6).astype(np.uint16))
    (note,) = notes(file, TileOptions(baseline="0300"), caplog)
    assert "no number is above 255" in note


def test_names_of_the_sheet_that_contradict_the_file_are_said(tmp_path, caplog):
    file = write_tif(tmp_path, field(), descriptions=("B04", "B03", "B02", "B08"))
    assert notes(file, caplog=caplog) == ()
    (note,) = notes(file, TileOptions(bands=NAMES), caplog)
    assert "replaces the names in the file (B04, B03, B02, B08)" in note
    colours = write_tif(tmp_path, field(), descriptions=("Blue", "Green", "Red", "NIR"))
    assert notes(colours, TileOptions(bands=NAMES), caplog) == ()


def test_names_of_the_sheet_that_contradict_the_colours_of_the_file_are_said(tmp_path, caplog):
    values = np.rint(field() * 10000).astype(np.uint16)
    file = write_tif(tmp_path, values, descriptions=(), photometric="RGB")
    said = TileOptions(bands=("B04", "B03", "B02", "B08"), scale=1e-4)
    assert notes(file, said, caplog) == ()
    (note,) = notes(file, TileOptions(bands=NAMES, scale=1e-4), caplog)
    assert "replaces the names in the file (B04, B03, B02, ?)" in note
    dull = np.rint(field() * 255).astype(np.uint8)  # which GDAL calls red, green, blue in any case
    file = write_tif(tmp_path, dull, descriptions=())
    assert notes(file, TileOptions(bands=NAMES, scale=1 / 255), caplog) == ()


def test_a_place_without_a_coordinate_system_is_said(tmp_path, caplog):
    file = write_tif(tmp_path, field(), crs=None)
    (note,) = notes(file, caplog=caplog)
    assert "not in which coordinate system" in note
    assert open_raster(str(file.path)).transform == tuple(UTM)[:6]


def test_arrays_and_keys_that_are_not_read_are_said(tmp_path):
    file = write_npz(tmp_path, opt_v1=field(), mask=np.ones((20, 24)), nodata=np.float32(0))
    (note,) = notes(file)
    assert "also holds mask, nodata, which is not read" in note
    file = write_npz(tmp_path, "b", {"nodata": 0, "scale_factor": 0.1}, opt_v1=field())
    (note,) = notes(file)
    assert "the JSON file states nodata, scale_factor" in note
    assert notes(file, TileOptions(nodata=0)) == ()


def test_a_position_in_other_words_is_said(tmp_path):
    other = {"crs": "EPSG:32633", "transform": [10, 0, 5e5, 0, -10, 5e6]}
    (note,) = notes(write_npz(tmp_path, "a", other, opt_v1=field()))
    assert "the JSON file states crs, transform, which is not read: write the position" in note
    place = {"crs": "EPSG:32633", "x": 5e5, "y": 5e6, "pixel_size": 10}
    assert notes(write_npz(tmp_path, "b", {**other, "position": place}, opt_v1=field())) == ()


def test_two_arrays_of_one_name_are_refused(tmp_path):
    file = write_npz(tmp_path, opt_v1=field())
    with zipfile.ZipFile(file.path) as archive:
        entry = archive.read("opt_v1.npy")
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file.path, "a") as archive:
        archive.writestr("opt_v1.npy", entry)
    with pytest.raises(TileError, match="has two arrays opt_v1"):
        read_tile(file)


def test_a_sidecar_names_the_bands_of_an_npz_file(tmp_path):
    names = ["B8", "red", "B03", "B02"]
    file = write_npz(tmp_path, "a", {"bands": names}, opt_v1=field())
    np.testing.assert_array_equal(read_tile(file).values, field()[::-1])
    said = parse_metadata("bands=B02,B03,B04,B08", folder=tmp_path).tiles
    np.testing.assert_array_equal(read_tile(file, options=said).values, field())
    file = write_npz(tmp_path, "b", {"bands": [*names, "B11"]}, opt_v1=field())
    with pytest.raises(TileError, match="has 4 bands instead of 5"):
        read_tile(file)
    file = write_npz(tmp_path, "c", {"bands": "four of Sentinel-2"}, opt_v1=field())
    np.testing.assert_array_equal(read_tile(file).values, field())


def test_a_file_of_several_images_is_refused_and_not_read_up_to_the_first(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for shift in (0, 0.1):
            file.write(
                field() + np.float32(shift),
                photometric="minisblack",
                planarconfig="separate",
                metadata=None,
            )
    options = TileOptions(bands=NAMES)
    for read in (
        lambda: read_tile(TileFile("a", path, None), options=options),
        lambda: open_raster(str(path), options=options),
    ):
        with pytest.raises(SourceError, match=r"holds 2 images.*GTIFF_DIR:1:a.tif"):
            read()


def test_complex_numbers_are_refused_by_name(tmp_path):
    file = write_tif(tmp_path, field().astype(np.complex64))
    with pytest.raises(TileError, match="holds complex64 instead of real numbers"):
        read_tile(file)


def test_a_band_of_one_number_is_said(tmp_path, caplog):
    values = field()
    values[3] = 0
    (note,) = notes(write_tif(tmp_path, values), caplog=caplog)
    assert "band 4 of those that are read has the same number in all pixels" in note


def test_a_band_that_may_be_a_mask_is_said(tmp_path, caplog):
    values = np.concatenate([field(), np.ones((1, 20, 24), np.float32)])
    (note,) = notes(write_tif(tmp_path, values, descriptions=(*NAMES, "FILL_MASK")), caplog=caplog)
    assert "'FILL_MASK' may say which pixels were measured, but is not read" in note


def test_one_band_that_is_scaled_again_is_refused(tmp_path):
    values = field() * 10000
    values[3] /= 10000
    file = write_tif(tmp_path, values, scales=(1e-4,) * 4, offsets=(0,) * 4)
    with pytest.raises(TileError, match="would be scaled twice"):
        read_tile(file)
    file = write_tif(tmp_path, values, scales=(1e-4, 1e-4, 1e-4, 1), offsets=(0,) * 4)
    np.testing.assert_allclose(read_tile(file).values, field(), atol=1e-6)


@pytest.mark.parametrize("options", [{"scale": 1e-4}, {"baseline": "0300"}])
def test_a_number_for_nodata_that_no_one_states_is_refused(tmp_path, options):
    values = np.rint(field() * 10000).astype(np.int16)
    values[1, 3, 4] = -9999
    file = write_tif(tmp_path, values)
    with pytest.raises(TileError, match=r"reflectance from -0\.9999 to"):
        read_tile(file, options=TileOptions(**options))


def test_another_processing_baseline_than_the_files_is_said(tmp_path, caplog):
    values = np.rint(field() * 10000 + 1000).astype(np.uint16)
    file = write_tif(tmp_path, values)
    with rasterio.open(file.path, "r+") as dataset:
        dataset.update_tags(PROCESSING_BASELINE="05.09")
    assert notes(file, TileOptions(baseline="0400"), caplog) == ()
    (note,) = notes(file, TileOptions(baseline="0300"), caplog)
    assert "states the processing baseline 0509" in note
    file = write_npz(tmp_path, "b", {"s2:processing_baseline": "02.11"}, opt_v1=values)
    (note,) = notes(file, TileOptions(baseline="0400"))
    assert "states the processing baseline 0211" in note


def test_a_key_that_a_sidecar_states_twice_is_refused(tmp_path):
    file = write_npz(tmp_path, "a", '{"month": 3, "month": 7}', opt_v1=field())
    with pytest.raises(TileError, match="states month twice, with different values"):
        read_tile(file)
    file = write_npz(tmp_path, "a", '{"month": 7, "month": 7}', opt_v1=field())
    assert read_tile(file).month == 7


def test_another_scale_than_the_files_is_said(tmp_path, caplog):
    values = np.rint(field() * 10000).astype(np.uint16)
    file = write_tif(tmp_path, values)
    assert notes(file, TileOptions(scale=1e-4), caplog) == ()
    with rasterio.open(file.path, "r+") as dataset:
        dataset.scales, dataset.offsets = (1e-4,) * 4, (-0.1,) * 4
    assert notes(file, TileOptions(scale=1e-4, offset=-0.1), caplog) == ()
    (note,) = notes(file, TileOptions(scale=1e-4), caplog)
    assert "scale 0.0001 and offset 0 of the metadata column replace those in the file" in note
    assert "(0.0001 and -0.1 for its first band)" in note
