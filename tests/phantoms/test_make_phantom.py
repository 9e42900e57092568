"""The stage that writes a phantom."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from parafovea import __version__
from parafovea.errors import ConfigError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.storage.store import open_stored
from parafovea_phantoms import CELL_CLASSES, Phantom, cell_phantom, chest_phantom
from parafovea_phantoms.chests.tissues import REGIONS
from parafovea_phantoms.make_phantom import make_phantom

SHAPE = (20, 48, 40)
SPACING = (32.0, 16.0, 16.0)


def make(folder: Path, **changes: object) -> list[Path]:
    paths = [folder / name for name in ("volume.zarr", "truth.zarr", "objects.zarr")]
    asked = {"kind": "cell", "seed": 4, "shape": SHAPE, "spacing": SPACING, **changes}
    make_phantom(*paths, **asked)
    return paths


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_the_three_stores_hold_the_phantom_on_one_grid_with_its_provenance(tmp_path: Path) -> None:
    stores = [open_stored(path) for path in make(tmp_path)]
    phantom = cell_phantom(4, shape=SHAPE, spacing=SPACING)
    parts = (phantom.image, phantom.classes, phantom.objects)
    for stored, part in zip(stores, parts, strict=True):
        np.testing.assert_array_equal(stored.read(), part)
        assert stored.array.dtype == part.dtype
        assert stored.grid == phantom.grid
        assert stored.attributes["stage"] == "make_phantom"
        assert stored.attributes["version"] == __version__
        assert stored.attributes["phantom"] == {"kind": "cell", "seed": 4}
    assert stores[1].attributes["classes"] == list(CELL_CLASSES)
    assert stores[2].attributes["count"] == phantom.objects.max()


def test_truth_and_objects_are_marked_as_labels_and_the_image_is_not(tmp_path: Path) -> None:
    texts = [(path / "zarr.json").read_text() for path in make(tmp_path)]
    assert ["image-label" in text for text in texts] == [False, True, True]


def test_a_second_run_writes_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_an_unknown_kind_is_refused_with_the_known_ones_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="unknown phantom 'ramp': use one of cell, chest"):
        make(tmp_path, kind="ramp")
    assert list(tmp_path.iterdir()) == []


CHEST = {"seed": 11, "shape": (40, 56, 64), "spacing": (7.0, 6.0, 5.5), "unit": "millimeter"}


def make_chest(folder: Path) -> dict[str, Path]:
    files = {
        name: folder / f"chest_seed11{suffix}"
        for name, suffix in (
            ("volume", ".nii.gz"),
            ("truth", "_truth.nii.gz"),
            ("objects", "_objects.nii.gz"),
            ("regions", "_regions.nii.gz"),
            ("nodules", "_nodules.csv"),
        )
    }
    make_phantom(**files, kind="chest", **CHEST)
    return files


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_chest(tmp_path_factory.mktemp("scan"))


@pytest.fixture(scope="module")
def chest() -> Phantom:
    asked = dict(CHEST)
    return chest_phantom(asked.pop("seed"), **asked)


def test_a_chest_is_a_scan_that_the_reader_of_sources_knows(
    scan: dict[str, Path], chest: Phantom
) -> None:
    parts = {
        "volume": chest.image,
        "truth": chest.classes,
        "objects": chest.objects,
        "regions": chest.regions,
    }
    for name, part in parts.items():
        source = open_source(str(scan[name]), metadata=SourceMetadata())
        np.testing.assert_array_equal(source.read(source.grid.box), part)
        assert source.array.dtype == part.dtype
        assert source.grid.unit == "millimeter"
        assert source.grid.spacing == pytest.approx(CHEST["spacing"])


def test_the_affine_has_negative_x_and_y_steps_and_leads_to_the_grids_world(
    scan: dict[str, Path], chest: Phantom
) -> None:
    image = nibabel.load(scan["volume"])
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    np.testing.assert_array_equal(image.get_qform(), image.get_sform())
    for index in ((0, 0, 0), (39, 55, 63), (3, 50, 7)):
        left, back, up = chest.grid.world(index)[::-1]
        ras = image.affine @ [*index[::-1], 1]
        np.testing.assert_allclose(ras[:3], (-left, -back, up), atol=1e-3)


def test_the_table_has_luna16s_columns_and_points_at_the_objects(
    scan: dict[str, Path], chest: Phantom
) -> None:
    table = pd.read_csv(scan["nodules"])
    assert list(table) == ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    assert set(table.seriesuid) == {"chest_seed11"}
    assert len(table) == len(chest.findings) > 0
    image = nibabel.load(scan["objects"])
    objects = np.asarray(image.dataobj)
    for number, row in enumerate(table.itertuples(), start=1):
        ras = (-row.coordX, -row.coordY, row.coordZ, 1)
        index = np.linalg.inv(image.affine) @ ras
        places = np.argwhere(objects == number)
        away = math.dist(places.mean(axis=0), index[:3])
        assert away < 0.7
        assert row.diameter_mm == pytest.approx(chest.findings[number - 1].diameter, abs=1e-3)


def test_a_scan_says_what_made_it(scan: dict[str, Path]) -> None:
    for name, key, value in (
        ("volume", "phantom", {"kind": "chest", "seed": 11}),
        ("truth", "classes", ["background", "nodule"]),
        ("regions", "regions", list(REGIONS)),
    ):
        (comment,) = nibabel.load(scan[name]).header.extensions
        made = json.loads(comment.get_content())["parafovea"]
        assert made["version"] == __version__
        assert made[key] == value


def test_a_second_run_writes_the_same_bytes_of_a_scan(
    scan: dict[str, Path], tmp_path: Path
) -> None:
    again = make_chest(tmp_path)
    assert {n: p.read_bytes() for n, p in again.items()} == {
        n: p.read_bytes() for n, p in scan.items()
    }
    assert sorted(tmp_path.iterdir()) == sorted(again.values())


def test_a_cell_has_neither_regions_nor_a_table_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="phantom cell has no regions: use phantom chest"):
        make(tmp_path, regions=tmp_path / "regions.zarr")
    with pytest.raises(ConfigError, match="only phantom chest has findings"):
        make(tmp_path, nodules=tmp_path / "nodules.csv")
    assert list(tmp_path.iterdir()) == []
