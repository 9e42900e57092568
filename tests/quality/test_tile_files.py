"""Tiles and blocks of mosaics are scored by the very values that the model saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mosaic_sample import Mosaic, invented, reflectance, write_mosaic
from tile_files import write_tif

from parafovea.errors import MissingSourceError, ModelError, SourceError, StoreError, TileError
from parafovea.formats.tiles.ledger import TileEntry, read_ledger
from parafovea.formats.tiles.reading import OpenedTile
from parafovea.quality.tiles.tile_arrays import TileFiles

BANDS = ("B02", "B03", "B04", "B08")
DN = "baseline=0400 nodata=0"


def entry(folder: Path, source: Path, shape: tuple[int, int] = (20, 24)) -> TileEntry:
    return TileEntry("a", *shape, "6", "0", frozenset(), None, source, folder / "out" / "a.npz")


def files(
    metadata: str = "", truth: Path | None = None, bands: tuple[str, ...] = BANDS
) -> TileFiles:
    return TileFiles.of(
        bands, BANDS, truth=None if truth is None else str(truth), metadata=metadata
    )


def numbers(shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    values = np.random.default_rng(2).integers(1100, 9000, (4, *shape), np.uint16)
    values[:, :3, :5] = 0
    return values


def test_digital_numbers_of_a_geotiff_tile_are_reflectance_and_gaps_are_nan(tmp_path: Path) -> None:
    stored = numbers()
    source = write_tif(tmp_path, stored[::-1], descriptions=BANDS[::-1]).path
    found = files(DN).read_input(entry(tmp_path, source))
    gap = stored == 0
    np.testing.assert_allclose(found[~gap], stored[~gap] / 1e4 - 0.1, atol=1e-6)
    assert np.isnan(found[gap]).all()


def test_a_tile_that_was_replaced_since_its_prediction_is_an_error(tmp_path: Path) -> None:
    """Once the metrics of one place with the result of another."""
    written = write_tif(tmp_path, numbers())
    with OpenedTile(written) as opened:
        digest = opened.digest()
    tile = replace(entry(tmp_path, written.path), source_sha256=digest)
    assert files(DN).read_input(tile).shape == (4, 20, 24)
    write_tif(tmp_path, numbers() + 1)
    with pytest.raises(TileError, match=r"a\.tif is not the tile that was predicted .* run again"):
        files(DN).read_input(tile)


def test_the_truth_may_be_a_geotiff_of_the_same_numbers_or_an_npz_of_either_key(
    tmp_path: Path,
) -> None:
    tile = entry(tmp_path, tmp_path / "a.npz")
    truth = tmp_path / "truth"
    truth.mkdir()
    stored = numbers()
    path = write_tif(truth, stored).path
    found = files(DN, truth).read_optical_truth(tile)
    assert found is not None
    np.testing.assert_allclose(found[:, 5:], stored[:, 5:] / 1e4 - 0.1, atol=1e-6)
    # what is said of radar says nothing of its optical truth
    path.unlink()
    for key in ("opt_v1", "opt_v2"):
        values = reflectance(20, 24)
        np.savez(truth / "a.npz", **{key: values})
        radar = files("bands=VV,VH scale=0.03", truth, ("VV", "VH"))
        assert not radar.optical
        np.testing.assert_array_equal(radar.read_optical_truth(tile), values)
    (truth / "a.npz").unlink()
    assert files(DN, truth).read_optical_truth(tile) is None


def test_bands_are_brought_into_the_order_of_the_comparisons(tmp_path: Path) -> None:
    values = reflectance(20, 24)
    bands = ("B11", "B08", "B04", "B03", "B02")
    np.savez(tmp_path / "a.npz", opt_v1=np.concatenate([values[:1], values[::-1]]))
    tile = entry(tmp_path, tmp_path / "a.npz")
    np.testing.assert_array_equal(files(bands=bands).read_input(tile), values)
    (tmp_path / "out").mkdir()
    np.savez(tile.output, opt_v2=values[::-1])
    np.testing.assert_array_equal(TileFiles(outputs=BANDS[::-1]).read_refined(tile), values)
    with pytest.raises(ModelError, match="outputs B02, B08, without B03, B04"):
        TileFiles(outputs=("B02", "B08")).read_refined(tile)


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> Mosaic:
    """Return a refined mosaic of two blocks, with its truth beside it."""
    folder = tmp_path_factory.mktemp("mosaic")
    values = reflectance(60, 300)
    values[:, :4, :7] = np.nan
    source = write_mosaic(folder, values, nodata=np.nan)
    write_mosaic(folder / "truth", np.clip(values + 0.02, 0, 1), nodata=np.nan)
    return invented(folder, source, 0.01)


def test_blocks_of_a_mosaic_are_windows_of_its_files(mosaic: Mosaic) -> None:
    truth = mosaic.source.parent / "truth/mosaic.tif"
    reader = files("", truth)
    values = reflectance(60, 300)
    values[:, :4, :7] = np.nan
    for block, columns in zip(
        read_ledger(mosaic.ledger), (slice(0, 256), slice(256, 300)), strict=True
    ):
        wanted = values[..., columns]
        np.testing.assert_array_equal(reader.read_input(block), wanted)
        np.testing.assert_allclose(reader.read_refined(block), wanted + 0.01, atol=1e-6)
        np.testing.assert_allclose(reader.read_optical_truth(block), wanted + 0.02, atol=1e-6)


@pytest.mark.parametrize(
    ("place", "shape", "words"),
    [
        ("20 m", (60, 300), "has the transform"),
        ("degrees", (60, 300), "has the coordinate system EPSG:4326, but its source EPSG:32633"),
        ("10 m", (60, 299), r"has the pixels \(y, x\) \(60, 299\), but its source \(60, 300\)"),
    ],
)
def test_a_truth_on_other_pixels_is_refused(
    tmp_path: Path, mosaic: Mosaic, place: str, shape: tuple[int, int], words: str
) -> None:
    truth = write_mosaic(tmp_path, reflectance(*shape), place=place)
    block = read_ledger(mosaic.ledger)[0]
    with pytest.raises(SourceError, match=rf"{words}.*gdalwarp"):
        files("", truth).read_optical_truth(block)
    with pytest.raises(SourceError, match="is a folder, but the source is a mosaic"):
        files("", tmp_path).read_optical_truth(block)


def test_a_lost_result_or_truth_is_one_error(tmp_path: Path, mosaic: Mosaic) -> None:
    block = read_ledger(mosaic.ledger)[0]
    with pytest.raises(MissingSourceError, match="is not a folder"):
        files("", tmp_path / "none")
    kept = mosaic.refined.read_bytes()
    mosaic.refined.write_bytes(kept[:200])
    with pytest.raises(StoreError, match=r"refined\.tif and run export_mosaic again"):
        files().read_refined(block)
    mosaic.refined.write_bytes(kept)
