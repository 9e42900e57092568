"""A refined mosaic lies on the pixels of its source."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from mosaic_sample import PLACES, Mosaic, invented, reflectance, still_model, write_mosaic
from rasterio.transform import Affine
from scipy import ndimage
from tile_files import NAMES, write_tif
from tiny_sample import BANDS, tiny_model, tiny_refinement

from parafovea.errors import SourceError, StoreError
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.preprocess import source_statistics
from parafovea.stages import export_mosaic as stage
from parafovea.storage.store import open_stored

NODATA = -9999.0


def with_gap(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return values with a hole and a corner that were not measured, and which pixels were."""
    valid = np.ones(values.shape[1:], bool)
    valid[20:31, 40:60] = valid[-25:, -30:] = False
    return np.where(valid, values, np.float32(NODATA)), valid


def read(path: Path) -> tuple[np.ndarray[Any, Any], Any]:
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.profile | {
            "descriptions": dataset.descriptions,
            "tags": dataset.tags(),
        }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    recipe = tiny_refinement()
    return {
        "still": still_model(folder / "still", recipe),
        "random": tiny_model(folder / "random", recipe),
        "sigmoid": still_model(folder / "sigmoid", tiny_refinement(residual=False)),
    }


@pytest.mark.parametrize("place", PLACES)
def test_a_network_that_changes_nothing_gives_the_source_back_on_its_own_pixels(
    tmp_path: Path, models: dict[str, Path], place: str
) -> None:
    values, valid = with_gap(reflectance(90, 100))
    source = write_mosaic(tmp_path, values, place=place, nodata=NODATA)
    recipe = tiny_refinement()
    mosaic = Mosaic(source, tmp_path / "results").resample(recipe)
    mosaic.predict(models["still"], recipe).export()
    assert (open_stored(mosaic.volume).grid.shape[1:] == (90, 100)) == (place == "10 m")
    found, facts = read(mosaic.refined)
    np.testing.assert_allclose(found[:, valid], values[:, valid], atol=1e-5)
    assert np.isnan(found[:, ~valid]).all()
    assert facts["dtype"] == "float32"
    assert (facts["crs"].to_string(), facts["transform"]) == PLACES[place]
    assert facts["descriptions"] == NAMES


@pytest.mark.parametrize("place", ["10 m", "20 m"])
def test_what_the_network_adds_is_added_to_the_source_and_cut_to_reflectance(
    tmp_path: Path, place: str
) -> None:
    values = reflectance(70, 80)
    source = write_mosaic(tmp_path, values, place=place)
    found, _ = read(invented(tmp_path, source, 0.4).refined)
    # of 20 m pixels, what is cut to 1 beside a pixel counts there, too
    near = values if place == "10 m" else ndimage.maximum_filter(values, (0, 3, 3))
    inside = near < 0.6
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(found[inside], values[inside] + 0.4, atol=1e-6)
    assert found.max() == 1


def test_a_prediction_without_a_residual_is_interpolated(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    source = write_mosaic(tmp_path, reflectance(40, 50), place="20 m")
    recipe = tiny_refinement(residual=False)
    mosaic = Mosaic(source, tmp_path / "results").resample(recipe)
    found, _ = read(mosaic.predict(models["sigmoid"], recipe).export().refined)
    np.testing.assert_allclose(found, 0.5, atol=1e-5)


def test_a_coarser_prediction_adds_no_more_than_its_residual(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    values = reflectance(64, 64)
    recipe = tiny_refinement()
    mosaic = Mosaic(write_mosaic(tmp_path, values), tmp_path / "results").resample(recipe)
    mosaic.predict(models["still"], recipe, output_scale=(1, 0.5, 0.5)).export()
    assert open_stored(mosaic.prediction).grid.shape == (1, 32, 32)
    np.testing.assert_allclose(read(mosaic.refined)[0], values, atol=1e-5)


def test_two_shards_give_the_bytes_of_one_and_so_does_a_second_run(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    values, _ = with_gap(reflectance(90, 100))
    source = write_mosaic(tmp_path, values, nodata=NODATA)
    recipe = tiny_refinement()
    mosaic = Mosaic(source, tmp_path / "results").resample(recipe)
    written = []
    for shards in (1, 2, 2):
        mosaic.predict(models["random"], recipe, shards=shards).export()
        written.append([f.read_bytes() for f in (mosaic.refined, mosaic.ledger)])
    assert written[0] == written[1] == written[2]
    found = read(mosaic.refined)[0]
    assert np.nanstd(found - values) > 0.01
    assert not list(mosaic.folder.glob(".*"))


def test_half_precision_inference_leaves_steps_of_less_than_a_ten_thousandth(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    recipe = tiny_refinement()
    source = write_mosaic(tmp_path, reflectance(64, 64))
    mosaic = Mosaic(source, tmp_path / "results").resample(recipe)
    mosaic.predict(models["still"], recipe, precision="bfloat16")
    assert open_stored(mosaic.volume).array.dtype == np.float32
    assert open_stored(mosaic.prediction).array.dtype == np.float32
    np.testing.assert_allclose(
        open_stored(mosaic.prediction).read()[:, 0], reflectance(64, 64), atol=1e-5
    )


def test_digital_numbers_come_out_as_reflectance_whatever_marked_the_gaps(tmp_path: Path) -> None:
    numbers = np.random.default_rng(3).integers(1100, 8000, (4, 40, 50), np.uint16)
    numbers[:, :5] = 0
    source = write_mosaic(tmp_path, numbers, nodata=0)
    mosaic = invented(tmp_path, source, metadata="baseline=0400")
    found, facts = read(mosaic.refined)
    np.testing.assert_allclose(found[:, 5:], numbers[:, 5:] / 1e4 - 0.1, atol=1e-6)
    assert np.isnan(found[:, :5]).all()
    assert np.isnan(facts["nodata"])


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, _ = with_gap(reflectance(90, 100))
    source = write_mosaic(tmp_path, values, place="20 m", nodata=NODATA)
    mosaic = invented(tmp_path, source, 0.05)
    whole, table = read(mosaic.refined)[0], mosaic.ledger.read_bytes()
    monkeypatch.setattr(stage, "BLOCK", 32)
    mosaic.export()
    np.testing.assert_allclose(read(mosaic.refined)[0], whole, atol=1e-7)
    assert mosaic.ledger.read_bytes() == table


def test_the_file_says_what_made_it(tmp_path: Path, models: dict[str, Path]) -> None:
    recipe = tiny_refinement()
    source = write_mosaic(tmp_path, reflectance(40, 40))
    mosaic = Mosaic(source, tmp_path / "results").resample(recipe)
    tags = read(mosaic.predict(models["random"], recipe).export().refined)[1]["tags"]
    made = json.loads(tags["PARAFOVEA"])
    assert made["stage"] == "export_mosaic"
    assert made["model"]["name"] == "tiny"
    assert len(made["model"]["sha256"]) == len(made["source"]["sha256"]) == 64
    assert made["precision"] == "float32"
    assert tags["TIFFTAG_SOFTWARE"].startswith("parafovea ")


def test_blocks_with_less_than_half_of_their_pixels_are_in_no_line(tmp_path: Path) -> None:
    values = reflectance(520, 600)
    values[:, :256, :129] = NODATA  # more than half of the first block
    values[:, :256, 256:384] = NODATA  # half of the second one
    source = write_mosaic(tmp_path, values, nodata=NODATA)
    mosaic = invented(tmp_path, source, metadata="month=7")
    table = pd.read_csv(mosaic.ledger, sep="\t", dtype=str, na_filter=False)
    # 8 rows at the end are too few for blocks of their own
    assert table["name"].tolist() == [
        *("r0000_c0256", "r0000_c0512"),
        *("r0256_c0000", "r0256_c0256", "r0256_c0512"),
    ]
    assert table["height"].tolist() == ["256", "256", "264", "264", "264"]
    assert table["width"].tolist() == ["256", "88", "256", "256", "88"]
    assert set(table["month"]) == {"7"}
    assert set(table["assumed"]) == {"biome"}
    last = read_ledger(mosaic.ledger)[-1]
    assert last.corner == (256, 512)
    assert last.window == (slice(256, 520), slice(512, 600))
    assert (last.source, last.output) == (source, mosaic.refined)
    assert last.position is not None
    assert (last.position.x, last.position.y) == (505_120, 4_997_440)
    assert last.position.pixel_size == 10
    assert mosaic.quarantine.read_text() == "name\tfile\treason\n"


def test_another_source_than_the_one_that_was_predicted_is_refused(tmp_path: Path) -> None:
    source = write_mosaic(tmp_path, reflectance(40, 50))
    mosaic = invented(tmp_path, source)
    before = mosaic.refined.read_bytes()
    write_mosaic(tmp_path, reflectance(41, 50))
    with pytest.raises(
        StoreError, match=r"mosaic\.tif is not the source .*run resample_volume again"
    ):
        mosaic.export()
    source.unlink()
    with pytest.raises(SourceError, match=r"mosaic\.tif"):
        mosaic.export()
    assert mosaic.refined.read_bytes() == before


def test_memory_does_not_grow_with_the_mosaic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pieces of 512 x 512 pixels, of which both mosaics have several
    monkeypatch.setattr(source_statistics, "BAND_VALUES", 2**20)

    def peak(side: int) -> int:
        folder = tmp_path / str(side)
        row = reflectance(64, 64)
        values = np.tile(row, (1, side // 64, side // 64))
        source = write_mosaic(folder, values, tiled=True, blockxsize=256, blockysize=256)
        mosaic = Mosaic(source, folder / "results")
        del values
        tracemalloc.start()
        mosaic.resample(tiny_refinement()).invent(0.01).export()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(64)
    small, large = peak(1024), peak(2048)
    # of numpy's arrays; those of the whole image are four times as large
    assert large < 1.1 * small


def test_a_mosaic_without_a_place_is_written_without_one(tmp_path: Path) -> None:
    values = reflectance(40, 50)
    source = write_mosaic(tmp_path, values, crs=None)
    mosaic = invented(tmp_path, source)
    assert read_ledger(mosaic.ledger)[0].position is None
    assert read(mosaic.refined)[1]["crs"] is None


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"transform": Affine(500, 0, 5e5, 0, -500, 5e6)}, "50 times coarser along y"),
        ({"crs": "EPSG:4326", "transform": Affine(1, 0, 0, 0, -1, 50)}, "times coarser along"),
        ({"transform": Affine(0.05, 0, 5e5, 0, -0.05, 5e6)}, "200 times finer"),
    ],
)
def test_a_mosaic_of_another_scale_is_refused_before_it_is_read(
    tmp_path: Path, place: dict[str, Any], says: str
) -> None:
    source = write_mosaic(tmp_path, reflectance(40, 40), **place)
    mosaic = Mosaic(source, tmp_path / "results")
    with pytest.raises(SourceError, match=rf"{says}.*gdalwarp -tr"):
        mosaic.resample(tiny_refinement())
    assert not mosaic.volume.exists()


def test_a_folder_of_bands_is_refined_like_one_file(tmp_path: Path) -> None:
    values = reflectance(48, 80)
    values[:, :9, :7] = np.nan
    whole = invented(tmp_path / "whole", write_mosaic(tmp_path, values, nodata=np.nan), 0.1)
    folder = tmp_path / "bands"
    folder.mkdir()
    for name, band in zip(BANDS, values, strict=True):
        write_tif(folder, band[None], name, descriptions=(None,), nodata=np.nan)
    parts = invented(tmp_path / "parts", folder, 0.1)
    with rasterio.open(whole.refined) as one, rasterio.open(parts.refined) as other:
        np.testing.assert_array_equal(one.read(), other.read())
        assert (one.crs, one.transform) == (other.crs, other.transform)
