"""Parts of an array are joined into the array that a single job would have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.storage.blocks import divided, share_of
from parafovea.storage.parts import join_parts, part_record
from parafovea.storage.store import create, open_stored

SHARD = (4, 8, 8)
CHUNK = (4, 4, 8)
SHAPE = (10, 20, 17)
VOXELS = np.random.default_rng(0).integers(1, 9, SHAPE, np.uint8)
GRID = Grid(SHAPE, (3, 2, 1))


def write(path: Path, box: Box | None = None, *, facts: Any = "same", dtype: str = "u1") -> Path:
    """Write the voxels, or the part in a box."""
    attributes: dict[str, Any] = {"stage": "test", "facts": facts}
    if box is not None:
        attributes |= part_record(box, own=box.size)
    with create(
        path, GRID, dtype=dtype, chunk=CHUNK, shard=SHARD, attributes=attributes, box=box
    ) as array:
        for each in (box or GRID.box).tiles(SHARD):
            array[each.slices] = VOXELS[each.slices]
    return path


def parts(folder: Path, count: int) -> list[Path]:
    boxes = divided(SHAPE, SHARD, count)
    return [write(folder / f"{n}.zarr", box) for n, box in enumerate(boxes, start=1)]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_joined_parts_are_the_files_of_one_job(tmp_path: Path, count: int) -> None:
    whole = write(tmp_path / "one" / "image.ome.zarr")
    join_parts(parts(tmp_path / "parts", count), tmp_path / "many" / "image.ome.zarr")
    assert files(tmp_path / "many" / "image.ome.zarr") == files(whole)


def test_joining_copies_no_voxel(tmp_path: Path) -> None:
    made = parts(tmp_path / "parts", 3)
    join_parts(made, tmp_path / "image.ome.zarr")
    linked = [p for p in (tmp_path / "image.ome.zarr" / "0" / "c").rglob("*") if p.is_file()]
    assert len(linked) == 27
    assert {path.stat().st_nlink for path in linked} == {2}


def test_voxels_outlive_the_parts(tmp_path: Path) -> None:
    made = parts(tmp_path / "parts", 3)
    join_parts(made, tmp_path / "image.ome.zarr")
    for path in made:
        for file in path.rglob("*"):
            if file.is_file():
                file.unlink()
    np.testing.assert_array_equal(open_stored(tmp_path / "image.ome.zarr").read(), VOXELS)


def test_facts_of_parts_end_in_the_record_of_the_whole(tmp_path: Path) -> None:
    join_parts(
        parts(tmp_path / "parts", 3),
        tmp_path / "image.ome.zarr",
        described=lambda facts: {"sum": sum(each["own"] for each in facts)},
    )
    attributes = open_stored(tmp_path / "image.ome.zarr").attributes
    assert attributes == {"stage": "test", "facts": "same", "sum": VOXELS.size}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "do not cover the image once"),
        ("twice", "do not cover the image once"),
        ("settings", "were made with different settings: delete both"),
        ("type", "were made with different settings: delete both"),
        ("whole", "is not a part of an image"),
        ("file", r"0/c/1/0/0 is missing: delete"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, change: str, message: str
) -> None:
    made = parts(tmp_path / "parts", 3)
    box = divided(SHAPE, SHARD, 3)[1]
    if change == "missing":
        del made[1]
    elif change == "twice":
        made.append(made[0])
    elif change == "settings":
        write(made[1], box, facts="other")
    elif change == "file":
        (made[1] / "0/c/1/0/0").unlink()
    elif change == "type":
        write(made[1], box, dtype="u2")
    else:
        write(made[1])
    with pytest.raises(StoreError, match=message):
        join_parts(made, tmp_path / "image.ome.zarr")
    assert not (tmp_path / "image.ome.zarr").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"parts"}


def test_the_record_of_a_part_says_its_box(tmp_path: Path) -> None:
    first, *_ = parts(tmp_path, 3)
    stored = json.loads((first / "zarr.json").read_text())["attributes"]["parafovea"]
    assert stored["part_of"]["box"] == [[0, 0, 0], [4, 20, 17]]


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(1, 40),
)
def test_boxes_of_blocks_are_whole_files_and_cover_the_array_once(
    shape: tuple[int, int, int], shard: tuple[int, int, int], count: int
) -> None:
    boxes = divided(shape, shard, count)
    assert len(boxes) == count
    held = np.zeros(shape, int)
    for box in boxes:
        held[box.slices] += 1
        if box.size:
            for start, stop, piece, length in zip(box.start, box.stop, shard, shape, strict=True):
                assert start % piece == 0
                assert stop % piece == 0 or stop == length
    assert (held == 1).all()


@given(st.integers(0, 50), st.integers(1, 60))
def test_shares_are_consecutive_and_complete(number: int, blocks: int) -> None:
    shares = [share_of(number, block, blocks) for block in range(1, blocks + 1)]
    assert [each for share in shares for each in share] == list(range(number))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
