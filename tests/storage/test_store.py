"""Arrays on disk: whole or not there, valid for viewers, and refused readably when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image, ImageLabel, Labels

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.storage.class_colours import shown_channels
from parafovea.storage.store import (
    LabelImage,
    chunk_shape,
    create,
    discard,
    label_image_path,
    open_stored,
    replacing,
    shard_shape,
)

GRID = Grid((5, 6, 7), (4.0, 2.0, 1.5), (10.0, -3.0, 0.5), "micrometer")


def written(path: Path, value: int = 1) -> Path:
    with create(path, GRID, dtype=np.int16, attributes={"made": value}) as array:
        array[:] = value
    return path


def test_voxels_grid_channels_and_attributes_come_back(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((2, *GRID.shape)).astype(np.float32)
    path = tmp_path / "image.ome.zarr"
    facts = {"stage": "test"}
    with create(path, GRID, dtype=np.float32, channels=["a", "b"], attributes=facts) as array:
        array[:] = voxels
        facts["later"] = "known at the end"
    stored = open_stored(path)
    np.testing.assert_array_equal(stored.read(), voxels)
    np.testing.assert_array_equal(stored.read(Box((1, 2, 3), (3, 4, 7))), voxels[:, 1:3, 2:4, 3:7])
    assert stored.grid == GRID
    assert stored.channels == ("a", "b")
    assert stored.attributes == {"stage": "test", "later": "known at the end"}


@pytest.mark.parametrize("channels", [None, ["background", "nucleus"]])
def test_images_are_valid_ome_zarr_with_the_grid_in_their_transformations(
    tmp_path: Path, channels: list[str] | None
) -> None:
    path = tmp_path / "image.ome.zarr"
    with create(path, GRID, dtype=np.uint8, channels=channels):
        pass
    image = Image.from_zarr(zarr.open_group(path, mode="r"))
    multiscale = image.ome_attributes.multiscales[0]
    names = [axis.name for axis in multiscale.axes]
    assert names == (["z", "y", "x"] if channels is None else ["c", "z", "y", "x"])
    assert {a.unit for a in multiscale.axes if a.type == "space"} == {"micrometer"}
    scale, translation = multiscale.datasets[0].coordinateTransformations
    assert tuple(scale.scale[-3:]) == GRID.spacing
    assert tuple(translation.translation[-3:]) == GRID.origin
    assert multiscale.name == "image"


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="killed"),
        create(tmp_path / "image.zarr", GRID, dtype=np.uint8) as array,
    ):
        array[:] = 1
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_what_was_there_before(tmp_path: Path) -> None:
    path = written(tmp_path / "image.zarr", 1)
    with pytest.raises(RuntimeError, match="killed"), create(path, GRID, dtype=np.int16) as array:
        array[:] = 2
        raise RuntimeError("killed")
    assert (open_stored(path).read() == 1).all()
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_at_the_path_before_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "image.zarr"
    with create(path, GRID, dtype=np.uint8):
        assert not path.exists()
    assert path.is_dir()


def test_writing_again_replaces_the_whole_image(tmp_path: Path) -> None:
    path = written(tmp_path / "image.zarr", 1)
    (path / "left over").write_text("")
    written(path, 2)
    assert (open_stored(path).read() == 2).all()
    assert open_stored(path).attributes == {"made": 2}
    assert not (path / "left over").exists()


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        files = (p for p in written(folder / "image.zarr").rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}

    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_file_is_replaced_whole_too(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.tsv"
    with replacing(path) as partial:
        partial.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_replaces_no_folder_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").write_text("")
    with (
        pytest.raises(StoreError, match="data is a folder, which no file replaces: name a file"),
        replacing(tmp_path / "data") as partial,
    ):
        partial.write_text("table")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "kept"]


def test_discard_removes_files_folders_and_nothing_behind_a_link(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    (folder / "kept").write_text("")
    link.symlink_to(folder)
    discard(link)
    assert (folder / "kept").exists()
    discard(folder)
    discard(folder)
    assert list(tmp_path.iterdir()) == []


def _truncate(path: Path) -> None:
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_')


def _forget(path: Path) -> None:
    card = json.loads((path / "zarr.json").read_text())
    del card["attributes"]["parafovea"]["grid"]
    (path / "zarr.json").write_text(json.dumps(card))


def _misstate(path: Path) -> None:
    card = json.loads((path / "zarr.json").read_text())
    card["attributes"]["parafovea"] = "nonsense"
    (path / "zarr.json").write_text(json.dumps(card))


def _without_array(path: Path) -> None:
    discard(path / "0")


def _foreign(path: Path) -> None:
    discard(path)
    zarr.create_group(path)


def _bare_array(path: Path) -> None:
    discard(path)
    zarr.create_array(path, shape=(2, 2), dtype="u1")


def _file(path: Path) -> None:
    discard(path)
    path.write_text("not a folder")


def _empty(path: Path) -> None:
    discard(path)
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [discard, _truncate, _forget, _misstate, _without_array, _foreign, _bare_array, _file, _empty],
)
def test_what_is_not_a_whole_image_is_refused_with_its_path_and_the_fix(
    tmp_path: Path, damage: object
) -> None:
    path = written(tmp_path / "image.zarr")
    damage(path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=r"image\.zarr.*delete .* and run again"):
        open_stored(path)


def test_a_group_in_the_arrays_place_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "image.zarr")
    discard(path / "0")
    zarr.create_group(path / "0")
    with pytest.raises(StoreError, match="is not an array"):
        open_stored(path)


def test_chunks_fit_the_array_and_shards_hold_whole_chunks(tmp_path: Path) -> None:
    assert chunk_shape((5, 100, 64), (32, 64, 64)) == (5, 64, 64)
    assert shard_shape((5, 100, 64), (5, 64, 64), (64, 256, 256)) == (5, 128, 64)
    grid = Grid((70, 130, 20), (1, 1, 1))
    with create(tmp_path / "image.zarr", grid, dtype=np.uint8, channels=["a", "b"]) as array:
        assert array.chunks == (2, 32, 64, 20)
        assert array.shards is not None
        assert all(s % c == 0 for s, c in zip(array.shards, array.chunks, strict=True))


def test_labels_are_marked_for_viewers(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    with create(path, GRID, dtype=np.uint32, labels=True):
        pass
    assert "image-label" in zarr.open_group(path, mode="r").attrs["ome"]


@pytest.mark.parametrize(
    ("channels", "colours", "active"),
    [
        (["nodule"], ["E69F00"], [True]),
        (["background", "nucleus"], ["8A8F98", "E69F00"], [True, True]),
        (
            ["B02", "B03", "B04", "B08"],
            ["0000FF", "00FF00", "FF0000", "009E73"],
            [True] * 3 + [False],
        ),
    ],
)
def test_viewers_are_told_names_and_colours_of_channels(
    tmp_path: Path, channels: list[str], colours: list[str], active: list[bool]
) -> None:
    path = tmp_path / "image.ome.zarr"
    shown = shown_channels(channels)
    with create(path, GRID, dtype=np.float16, channels=channels, levels="mean", shown=shown):
        pass
    omero = Image.from_zarr(zarr.open_group(path, mode="r")).ome_attributes.omero
    assert [each["label"] for each in omero["channels"]] == channels
    assert [each["color"] for each in omero["channels"]] == colours
    assert [each["active"] for each in omero["channels"]] == active


def test_an_image_holds_small_label_images_on_grids_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.zarr"
    grid = Grid((2, 3, 4), (8, 8, 8), (2.5, 2.5, 2.5), "millimeter")
    mask = np.random.default_rng(0).random(grid.shape) < 0.5
    images: dict[str, LabelImage] = {}
    with create(path, GRID, dtype=np.float32, label_images=images, attributes={"a": 1}):
        images["body"] = LabelImage(mask, grid)
    stored = open_stored(label_image_path(path, "body"))
    np.testing.assert_array_equal(stored.read(), mask)
    assert (stored.grid, stored.array.dtype, stored.attributes) == (grid, np.uint8, {"a": 1})
    labels = zarr.open_group(path / "labels", mode="r")
    assert Labels.from_zarr(labels).ome_attributes.labels == ["body"]
    assert ImageLabel.from_zarr(zarr.open_group(path / "labels" / "body", mode="r"))
    # the image itself is as one without
    assert open_stored(path).attributes == {"a": 1}


def test_an_image_that_fails_leaves_no_label_images(tmp_path: Path) -> None:
    images = {"body": LabelImage(np.ones((1, 1, 1), bool), Grid((1, 1, 1), (1, 1, 1)))}
    path = tmp_path / "image.ome.zarr"
    with (
        pytest.raises(RuntimeError, match="killed"),
        create(path, GRID, dtype=np.float32, label_images=images),
    ):
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


def test_the_same_voxels_are_the_same_file_whichever_chunk_is_compressed_first(
    tmp_path: Path,
) -> None:
    grid = Grid((64, 256, 256), (1, 1, 1))
    voxels = np.ones(grid.shape, np.float32)
    # every fourth chunk takes much longer than the others
    voxels[:32, :, :64] = np.random.default_rng(0).random((32, 256, 64))
    files = set()
    for number in range(5):
        path = tmp_path / f"{number}.ome.zarr"
        with create(path, grid, dtype=np.float32) as array:
            array[...] = voxels
        files.add((path / "0/c/0/0/0").read_bytes())
    assert len(files) == 1
