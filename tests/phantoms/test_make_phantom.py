"""The stage that writes a phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parafovea import __version__
from parafovea.errors import ConfigError
from parafovea.phantoms import CELL_CLASSES, cell_phantom
from parafovea.stages.make_phantom import make_phantom
from parafovea.store import open_stored

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
    with pytest.raises(ConfigError, match="phantom 'ramp' is not known: use one of cell"):
        make(tmp_path, kind="ramp")
    assert list(tmp_path.iterdir()) == []
