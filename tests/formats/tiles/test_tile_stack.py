"""Tiles as planes of a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tile_files import write_npz

from parafovea.errors import SourceError, TileError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, require_same_images
from parafovea.formats.tiles.npz import write_tile
from parafovea.geometry.grid import Box

BANDS = ("B02", "B03", "B04", "B08")


def tile(seed: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 0.9, (4, size, size)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("b", "a", "c")):
        said = {"month": 3 + number, "biome_code": number, "position": None}
        write_tile(tmp_path / "tiles", name, {"opt_v1": tile(number)}, said)
    return tmp_path / "tiles"


def test_planes_are_the_tiles_in_the_order_of_their_names(folder: Path) -> None:
    source = open_source(str(folder), bands=BANDS, finer_than=(1, 10, 10), unit="meter")
    assert source.planes == ("a", "b", "c")
    assert source.grid.shape == (3, 32, 32)
    assert source.grid.spacing == (1, 10, 10)
    assert source.conditions == {"month": (4, 3, 5), "biome": (1, 0, 2)}
    found = source.read(Box((1, 4, 8), (3, 20, 24)))
    np.testing.assert_array_equal(found[:, 0], tile(0)[:, 4:20, 8:24])
    np.testing.assert_array_equal(found[:, 1], tile(2)[:, 4:20, 8:24])


def test_a_position_says_the_pixels(tmp_path: Path) -> None:
    at = {"crs": "EPSG:32633", "x": 0.0, "y": 0.0, "pixel_size": 20.0}
    write_tile(tmp_path, "a", {"opt_v1": tile(0)}, {"position": at})
    source = open_source(str(tmp_path), bands=BANDS, finer_than=(1, 10, 10), unit="meter")
    assert source.grid.spacing == (1, 20, 20)


def test_a_truth_takes_refined_bands_before_those_of_a_first_stage(tmp_path: Path) -> None:
    write_tile(tmp_path, "a", {"opt_v1": tile(0), "opt_v2": tile(1)})
    truth = open_source(str(tmp_path), bands=BANDS, truth=True)
    np.testing.assert_array_equal(truth.read(truth.grid.box)[:, 0], tile(1))
    given = open_source(str(tmp_path), bands=BANDS)
    np.testing.assert_array_equal(given.read(given.grid.box)[:, 0], tile(0))


def test_classes_are_read_without_bands(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 3, (20, 24))
    write_tile(tmp_path, "a", {"classes": classes.astype(np.int64)})
    source = open_source(str(tmp_path))
    assert source.array.dtype == np.uint8
    np.testing.assert_array_equal(source.read(source.grid.box)[0], classes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((16, 16), 300), "300"),
        (np.full((16, 16), -1), "-1"),
        (np.zeros((2, 16, 16), np.uint8), "whole numbers"),
        (np.zeros((16, 16), np.float32), "whole numbers"),
    ],
)
def test_what_are_no_class_indices_is_refused(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    write_tile(tmp_path, "a", {"classes": values})
    with pytest.raises(TileError, match=message):
        source = open_source(str(tmp_path))
        source.read(source.grid.box)


def test_tiles_of_several_sizes_are_no_volume(folder: Path) -> None:
    write_tile(folder, "d", {"opt_v1": tile(4, 48)})
    with pytest.raises(SourceError, match=r"several sizes \(32 x 32, 48 x 48\)"):
        open_source(str(folder), bands=BANDS)


def test_bands_of_a_volume_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(SourceError, match="neither a GeoTIFF nor a folder of tiles"):
        open_source(str(tmp_path / "scan.nii.gz"), bands=BANDS)


def test_month_and_biome_of_a_mosaic_stand_in_the_sheet() -> None:
    said = parse_metadata("month=7 biome=3", folder=Path())
    assert (said.month, said.biome) == (7, 3)
    for wrong in ("month=13", "biome=16", "month=0"):
        with pytest.raises(ValueError, match="must lie in"):
            parse_metadata(wrong, folder=Path())


def test_true_classes_of_other_tiles_or_of_another_place_are_refused(tmp_path):
    place = {"crs": "EPSG:32633", "x": 5e5, "y": 5e6, "pixel_size": 10.0}
    classes = np.zeros((20, 24), np.uint8)
    for name in "ab":
        write_npz(tmp_path, name, {"position": place}, classes=classes)
    facts = {"path": "given", "planes": ["a", "b"], "positions": [place, None]}
    truth = open_source(tmp_path)
    require_same_images(truth, facts)
    with pytest.raises(SourceError, match=r"the tiles of .* differ .* such as b"):
        require_same_images(truth, {**facts, "planes": ["a", "c"]})
    moved = {**place, "y": 5e6 + 10}
    with pytest.raises(SourceError, match=r"not of the same place as tile 'a'.*5000000 instead"):
        require_same_images(truth, {**facts, "positions": [moved, None]})
