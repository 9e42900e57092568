"""An image of links: what other libraries open is what lies in the stores beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from ome_zarr_models.v05 import Image, Labels
from ome_zarr_models.v05.image_label import ImageLabel
from yaozarrs import validate_zarr_store

from parafovea.errors import StoreError
from parafovea.geometry.grid import Grid
from parafovea.storage.class_colours import shown_classes
from parafovea.storage.layout import disk_use, matching, remove
from parafovea.storage.linked_images import link_image
from parafovea.storage.store import LabelImage, create, open_stored

GRID = Grid((9, 140, 70), (2, 1, 1), (5, 0, 0), "micrometer")
# of one level more
FINER = Grid((18, 280, 140), (1, 0.5, 0.5), (4.5, -0.25, -0.25), "micrometer")
RNG = np.random.default_rng(0)
VOXELS = RNG.random(GRID.shape).astype(np.float32)
CLASSES = RNG.integers(0, 3, FINER.shape).astype(np.uint8)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "cell"
    mask = LabelImage(np.ones((1, 2, 2), bool), Grid((1, 2, 2), (18, 70, 35)))
    with create(
        folder / "volume.ome.zarr",
        GRID,
        dtype=np.float32,
        levels="mean",
        label_images={"body": mask},
        attributes={"stage": "test"},
    ) as array:
        array[...] = VOXELS
    names = ("background", "nucleus", "membrane")
    for name, dtype, classes in (("classes", np.uint8, names), ("objects", np.uint32, ())):
        with create(
            folder / f"{name}.ome.zarr",
            FINER,
            dtype=dtype,
            labels=True,
            levels="mode",
            shown=shown_classes(classes),
        ) as array:
            array[...] = CLASSES
    for name in ("volume", "classes"):
        # what the workflow leaves in folders of results
        for stamp in (".made.json", ".snakemake_timestamp"):
            (folder / f"{name}.ome.zarr" / stamp).touch()
    linked(folder)
    return folder


def linked(folder: Path) -> None:
    labels = {name: folder / f"{name}.ome.zarr" for name in ("classes", "objects")}
    link_image(folder / "image.ome.zarr", folder / "volume.ome.zarr", labels)


def test_zarr_finds_the_image_and_its_labels(sample: Path) -> None:
    group = zarr.open_group(sample / "image.ome.zarr", mode="r")
    levels = len(Image.from_zarr(group).ome_attributes.multiscales[0].datasets)
    assert levels == len(list(group.array_keys())) == 3
    np.testing.assert_array_equal(group["0"][...], VOXELS)
    assert sorted(group["labels"].group_keys()) == ["body", "classes", "objects"]
    labels = Labels.from_zarr(group["labels"]).ome_attributes.labels
    assert labels == ["body", "classes", "objects"]
    for name in labels:
        multiscale = ImageLabel.from_zarr(group[f"labels/{name}"]).ome_attributes.multiscales[0]
        assert len(multiscale.datasets) == levels
    np.testing.assert_array_equal(group["labels/classes/0"][...], CLASSES)
    validate_zarr_store(str(sample / "image.ome.zarr"))


def test_tensorstore_reads_through_the_links(sample: Path) -> None:
    image = sample / "image.ome.zarr"
    for name, expected in (("0", VOXELS), ("labels/objects/0", CLASSES)):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{image / name}/"}}
        found = tensorstore.open(spec, read=True).result().read().result()
        np.testing.assert_array_equal(found, expected)


def test_it_is_a_result_on_the_grid_of_its_volume(sample: Path) -> None:
    stored = open_stored(sample / "image.ome.zarr")
    assert (stored.grid, stored.attributes) == (GRID, {"stage": "test"})
    np.testing.assert_array_equal(stored.read(), VOXELS)


def test_classes_have_names_and_the_colours_of_the_reports(sample: Path) -> None:
    group = zarr.open_group(sample / "image.ome.zarr" / "labels" / "classes", mode="r")
    label = ImageLabel.from_zarr(group).ome_attributes.image_label
    assert [each.label_value for each in label.colors] == [0, 1, 2]
    assert [tuple(each.rgba) for each in label.colors] == [
        (0x8A, 0x8F, 0x98, 0), (0xE6, 0x9F, 0x00, 255), (0x56, 0xB4, 0xE9, 255),
    ]  # fmt: skip
    assert label.source.image == "../../"
    ome = json.loads((sample / "classes.ome.zarr/zarr.json").read_text())["attributes"]["ome"]
    # readers refuse 1.0
    assert [repr(each["label-value"]) for each in ome["image-label"]["colors"]] == ["0", "1", "2"]
    assert [each["class"] for each in ome["image-label"]["properties"]] == [
        "background", "nucleus", "membrane",
    ]  # fmt: skip


def test_links_are_relative_and_hold_no_voxels(sample: Path) -> None:
    links = [path for path in (sample / "image.ome.zarr").rglob("*") if path.is_symlink()]
    assert len(links) == 4 * 3
    assert not any(path.readlink().is_absolute() for path in links)
    assert disk_use(sample / "image.ome.zarr") < 60_000
    moved = sample.parent.parent / "elsewhere"
    sample.parent.rename(moved)
    group = zarr.open_group(moved / "cell" / "image.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][...], VOXELS)


def test_a_volume_that_is_made_again_is_what_the_image_shows(sample: Path) -> None:
    with create(sample / "volume.ome.zarr", GRID, dtype=np.float32, levels="mean") as array:
        array[...] = 7
    assert (open_stored(sample / "image.ome.zarr").read() == 7).all()
    linked(sample)
    assert "body" not in zarr.open_group(sample / "image.ome.zarr" / "labels", mode="r")


def test_removing_the_image_keeps_what_it_shows(sample: Path) -> None:
    (removal,) = remove(matching(sample, ["image.ome.zarr"]))
    assert removal.freed < 60_000
    assert not (sample / "image.ome.zarr").exists()
    np.testing.assert_array_equal(open_stored(sample / "volume.ome.zarr").read(), VOXELS)


@pytest.mark.parametrize("name", ["volume", "classes"])
def test_nothing_is_linked_to_what_is_not_there(sample: Path, name: str) -> None:
    shutil.rmtree(sample / f"{name}.ome.zarr")
    with pytest.raises(StoreError, match=rf"{name}\.ome\.zarr is not a complete result"):
        linked(sample)
