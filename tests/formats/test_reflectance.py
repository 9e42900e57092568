"""From the numbers of files to reflectance: impossible scales, what is clipped, a truth's own."""

import logging

import numpy as np
import pytest
from mosaic_sample import invented, reflectance, write_mosaic
from tile_files import NAMES, field, write_npz, write_tif
from tiny_sample import tiny_refinement

from parafovea.errors import SourceError, TileError
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.opening import open_source
from parafovea.formats.reflectance import warn_of_clipped
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.formats.tiles.reading import read_tile
from parafovea.stages.resample_volume import resample_volume

EVERYTHING = slice(None)


def numbers() -> np.ndarray:
    return np.rint(field() * 10000).astype(np.uint16)


#: Numbers, the words of the sheet, and how the error begins.
WRONG = {
    "reflectance under a baseline": (field(), {"baseline": "0300"}, "is reflectance already"),
    "and under an offset": (field(), {"baseline": "0400"}, "is reflectance already"),
    "float64": (field().astype(float), {"scale": 1e-4}, "is reflectance already"),
    "a display image": (
        np.rint(field() * 255).astype(np.uint8),
        {"baseline": "0300"},
        "8-bit integers",
    ),
    "percent": (field() * 60, {"baseline": "0300"}, "has no reflectance above 0.0036"),
    "wrapped around": (
        (numbers() // 8 - 1000).astype(np.uint16),
        {"baseline": "0300"},
        "wrapped around",
    ),
    "nothing above 0": (numbers() // 10 + 1, {"baseline": "0400"}, "has no reflectance above 0:"),
    "all 0": (np.zeros((4, 20, 24), np.float32), {}, "is 0 in all pixels and bands"),
    "all missing": (
        np.zeros((4, 20, 24), np.uint16),
        {"baseline": "0400"},
        "has no valid pixel, all are nodata",
    ),
}


@pytest.mark.parametrize("form", ["npz", "tif", "mosaic"])
@pytest.mark.parametrize("case", WRONG)
def test_a_scale_that_cannot_be_is_refused_for_tiles_and_mosaics(tmp_path, form, case):
    values, options, says = WRONG[case]
    if form == "npz":
        with pytest.raises(TileError, match=says):
            read_tile(write_npz(tmp_path, opt_v1=values), options=TileOptions(**options))
        return
    file = write_tif(tmp_path, values)
    if form == "tif":
        with pytest.raises(TileError, match=says):
            read_tile(file, options=TileOptions(**options))
        return
    recipe = tiny_refinement()
    with pytest.raises(SourceError, match=says):
        resample_volume(
            tmp_path / "volume.ome.zarr",
            source=str(file.path),
            metadata=" ".join(f"{key}={value}" for key, value in options.items()),
            spacing=recipe.spacing,
            unit=recipe.unit,
            normalization=recipe.normalization,
            bands=recipe.bands,
        )
    assert not (tmp_path / "volume.ome.zarr").exists()


def test_the_tag_of_numbers_on_values_that_are_reflectance_is_refused_until_told_otherwise(
    tmp_path,
):
    file = write_tif(tmp_path, field(), scales=(1e-4,) * 4, offsets=(0,) * 4)
    with pytest.raises(TileError, match=r"would be scaled twice.*scale=1 where the file's own tag"):
        read_tile(file)
    np.testing.assert_array_equal(read_tile(file, options=TileOptions(scale=1)).values, field())


def test_whole_numbers_of_8_bits_are_not_said_to_have_a_baseline(tmp_path):
    file = write_npz(tmp_path, opt_v1=np.rint(field() * 255).astype(np.uint8))
    with pytest.raises(TileError, match=r"8 bits.*scale=0\.00392157") as caught:
        read_tile(file)
    assert "baseline" not in str(caught.value)
    tile = read_tile(file, options=TileOptions(scale=0.00392157))
    np.testing.assert_allclose(tile.values, field(), atol=0.5 / 255 + 1e-6)


def test_clipped_values_of_a_mosaic_are_counted_by_block_and_warned_of(tmp_path, caplog):
    values = reflectance(300, 520)
    stored = np.rint(values * 10000).astype(np.uint16)
    stored[:, :40, :50] = 0
    source = write_mosaic(tmp_path, stored)
    with caplog.at_level(logging.WARNING):
        mosaic = invented(tmp_path, source, metadata="baseline=0400")
    expected = stored * 1e-4 - 0.1
    outside = ((expected < -1e-3) | (expected > 1 + 1e-3)) & (stored > 0).all(axis=0)
    entries = read_ledger(mosaic.ledger)
    assert len(entries) > 3
    for entry in entries:
        rows, columns = entry.window
        assert entry.clipped == int(outside[:, rows, columns].sum())
        assert entry.measured == 4 * int((stored > 0).all(axis=0)[rows, columns].sum())
    total = int(outside.sum())
    assert total >= 0.01 * stored.size
    assert f"{total} of {4 * (300 * 520 - 2000)} values of the mosaic" in caplog.text
    assert "an offset may have been subtracted before" in caplog.text


@pytest.mark.parametrize(("clipped", "warned"), [(0, False), (9, False), (10, True)])
def test_a_warning_comes_from_one_percent_on(caplog, clipped, warned):
    warn_of_clipped("a.tif", clipped, 1000)
    assert bool(caplog.text) is warned


#: Truths of one image, and the words of its source, which do not apply to those that need none.
TRUTHS = {
    "reflectance": (field(), {}),
    "with its own scale": (np.rint(field() * 5000).astype(np.uint16), {"scale": 1 / 5000}),
    "numbers as those of the source": (numbers() + 1000, {}),
    "and as floats": ((numbers() + 1000).astype(np.float32), {}),
}


@pytest.mark.parametrize("case", TRUTHS)
@pytest.mark.parametrize("form", ["npz", "tif", "raster", "training"])
def test_a_truth_has_its_own_scale(tmp_path, form, case):
    values, own = TRUTHS[case]
    options = TileOptions(baseline="0400")
    if form == "npz":
        if own:
            pytest.skip("an NPZ file states no scale")
        tile = read_tile(write_npz(tmp_path, opt_v2=values), key="opt_v2", options=options, truth=1)
        found = tile.values
    else:
        tags = {"scales": (own["scale"],) * 4, "offsets": (0,) * 4} if own else {}
        file = write_tif(tmp_path, values, **tags)
        if form == "tif":
            found = read_tile(file, options=options, truth=True).values
        elif form == "raster":
            raster = open_raster(str(file.path), options=options, truth=True)
            found = raster.read(EVERYTHING, EVERYTHING)
        else:
            said = SourceMetadata(tiles=options)
            names = ("B02", "B03", "B04", "B08")
            source = open_source(str(file.path), metadata=said, bands=names, truth=True)
            found = source.read(source.grid.box)[:, 0]
    np.testing.assert_allclose(found, field(), atol=1.1e-4)


def test_a_truth_names_its_own_bands(tmp_path):
    names = ("B08", "B04", "B03", "B02")
    said = TileOptions(bands=NAMES)  # of the source
    file = write_tif(tmp_path, field()[::-1], descriptions=names)
    np.testing.assert_array_equal(read_tile(file, options=said, truth=True).values, field())
    raster = open_raster(str(file.path), options=said, truth=True)
    np.testing.assert_array_equal(raster.read(EVERYTHING, EVERYTHING), field())
    file = write_npz(tmp_path, "b", {"bands": names}, opt_v1=field()[::-1])
    np.testing.assert_array_equal(read_tile(file, options=said, truth=True).values, field())
    file = write_tif(tmp_path, field(), descriptions=())  # without names, those of the source
    np.testing.assert_array_equal(read_tile(file, options=said, truth=True).values, field())


def test_missing_pixels_of_a_truth_are_what_it_states_itself(tmp_path):
    values = field()
    values[:, 2, 3] = 0.25
    values[1, 4, 5] = np.nan
    options = TileOptions(baseline="0400", nodata=0.25)
    tile = read_tile(write_npz(tmp_path, opt_v1=values), options=options, truth=True)
    assert np.argwhere(~tile.valid).tolist() == [[2, 3], [4, 5]]
    file = write_tif(tmp_path, values, nodata=np.nan)
    assert np.argwhere(~read_tile(file, options=options, truth=True).valid).tolist() == [[4, 5]]
