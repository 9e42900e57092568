"""Pyramids of levels: equal to other libraries' reductions, and the same bytes however written."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr_models.v05 import Image
from ome_zarr_models.v05.image_label import ImageLabel
from scipy.stats import mode
from skimage.measure import block_reduce
from yaozarrs import validate_zarr_store

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.storage.blocks import CHUNK, divided
from parafovea.storage.parts import join_parts, part_record
from parafovea.storage.pyramids import (
    SIDE,
    level_grids,
    level_strides,
    levels_of,
    reduced,
    voxels_in_levels,
)
from parafovea.storage.store import create, finish_levels, open_stored

STEPS = tuple(itertools.product((1, 2), repeat=3))


def cells(voxels: np.ndarray, step: tuple[int, ...]) -> dict[tuple[int, ...], np.ndarray]:
    """Return the voxels of each voxel of the next level, by slicing one after the other."""
    places = itertools.product(*(range(0, n, k) for n, k in zip(voxels.shape, step, strict=True)))
    return {
        tuple(a // k for a, k in zip(place, step, strict=True)): voxels[
            tuple(slice(a, a + k) for a, k in zip(place, step, strict=True))
        ].ravel()
        for place in places
    }


shapes = st.tuples(*(st.integers(1, 7),) * 3)


@given(shapes, st.sampled_from(STEPS), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_a_label_is_the_most_frequent_of_its_voxels_as_scipy_finds_it(shape, step, seed) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint32)
    found = reduced(labels, step, "mode")
    for place, voxels in cells(labels, step).items():
        assert found[place] == mode(voxels).mode
    assert found.shape == tuple(-(-n // k) for n, k in zip(shape, step, strict=True))
    assert found.dtype == labels.dtype


@given(shapes, st.sampled_from(STEPS), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_a_mean_is_that_of_the_voxels_there_are_and_not_missing(shape, step, seed) -> None:
    rng = np.random.default_rng(seed)
    voxels = rng.random(shape).astype(np.float32)
    voxels[rng.random(shape) < 0.2] = np.nan
    found = reduced(voxels, step, "mean")
    for place, inside in cells(voxels, step).items():
        there = inside[~np.isnan(inside)]
        expected = there.mean() if there.size else np.nan
        np.testing.assert_allclose(found[place], expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float64])
def test_means_of_whole_blocks_are_those_of_scikit_image(dtype) -> None:
    voxels = (np.random.default_rng(0).random((3, 8, 6, 10)) * 200).astype(dtype)
    found = reduced(voxels, (2, 2, 2), "mean")
    expected = block_reduce(voxels.astype(float), (1, 2, 2, 2), np.mean)
    assert found.dtype == dtype
    tolerance = 0.5 if np.dtype(dtype).kind in "ui" else 0.1
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_reducing_leaves_its_input_alone() -> None:
    for step in STEPS:
        labels = np.random.default_rng(0).integers(0, 3, (2, 2, 2)).astype(np.uint8)
        before = labels.copy()
        reduced(labels, step, "mode")
        reduced(labels, step, "mean")
        np.testing.assert_array_equal(labels, before)


def test_an_axis_of_thick_sections_is_halved_later() -> None:
    grid = Grid((400, 2000, 2000), (30, 4, 4))
    assert level_strides(grid) == (
        (1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16), (8, 32, 32),
    )  # fmt: skip
    assert [level.shape for level in level_grids(grid)][-1] == (50, 63, 63)


def test_twice_the_finest_spacing_is_not_halved_though_it_was_rounded() -> None:
    assert level_strides(Grid((90, 90, 90), (0.2, 0.1, 0.1)))[1] == (1, 2, 2)
    assert level_strides(Grid((90, 90, 90), (2 - 1e-9, 1, 1)))[1] == (1, 2, 2)
    assert level_strides(Grid((90, 90, 90), (1.9, 1, 1)))[1] == (2, 2, 2)


def test_a_single_plane_stays_one_however_thin() -> None:
    grid = Grid((1, 5000, 300), (0.001, 10, 10), unit="meter")
    grids = level_grids(grid)
    assert {level.shape[0] for level in grids} == {1}
    assert {level.spacing[0] for level in grids} == {0.001}
    assert max(grids[-1].shape) <= SIDE


def test_a_small_array_has_no_further_levels() -> None:
    assert level_strides(Grid((SIDE, SIDE, 3), (1, 1, 1))) == ((1, 1, 1),)
    assert voxels_in_levels(Grid((SIDE, SIDE, 3), (1, 1, 1))) == 3 * SIDE**2


@given(
    st.tuples(*(st.integers(1, 3000),) * 3),
    st.tuples(*(st.floats(0.01, 100),) * 3),
)
def test_levels_end_small_and_tend_to_cubes(shape, spacing) -> None:
    grid = Grid(shape, spacing)
    grids = level_grids(grid)
    assert max(grids[-1].shape) <= SIDE
    for before, after in itertools.pairwise(grids):
        assert after.size < before.size
        # voxels start at the same outer face
        for axis in range(3):
            face = after.origin[axis] - after.spacing[axis] / 2
            assert math.isclose(
                face, grid.origin[axis] - grid.spacing[axis] / 2, abs_tol=1e-9 * after.spacing[axis]
            )
            ratio = after.spacing[axis] / before.spacing[axis]
            assert math.isclose(ratio, 1) or math.isclose(ratio, 2)


def test_shards_of_the_first_levels_are_those_of_the_array_divided() -> None:
    first, second, third, *_ = levels_of(Grid((600, 1000, 1000), (1, 1, 1)), (64, 256, 256))
    assert (first.shard, second.shard) == ((32, 128, 128), (16, 64, 64))
    assert (first.divided, second.divided, third.divided) == (True, True, False)


def test_a_shard_that_cannot_be_divided_leaves_its_levels_to_the_end() -> None:
    assert not any(level.divided for level in levels_of(Grid((90,) * 3, (1, 1, 1)), (30, 15, 30)))
    # along an axis of one shard every level is whole
    assert levels_of(Grid((90, 90, 15), (1, 1, 1)), (30, 30, 15))[0].divided


CASES = [
    # shape, spacing, channels, shard
    ((70, 300, 270), (1, 1, 1), None, (64, 256, 256)),
    ((33, 257, 140), (3, 1, 1), ("a", "b"), (64, 128, 128)),
    ((1, 520, 333), (1, 1, 1), ("red",), (64, 128, 128)),
    ((129, 66, 9), (1, 2, 7), None, (32, 256, 256)),
    ((5, 90, 129), (1, 1, 1), None, (32, 128, 128)),
    ((90, 90, 90), (1, 1, 1), None, (24, 15, 30)),
]


def chunk_of(shard: tuple[int, ...]) -> list[int]:
    return [min(c, s) for c, s in zip(CHUNK, shard, strict=True)]


@pytest.mark.parametrize("how", ["mean", "mode"])
@pytest.mark.parametrize(("shape", "spacing", "channels", "shard"), CASES)
def test_every_level_is_the_reduction_of_the_one_before(
    tmp_path: Path, shape, spacing, channels, shard, how
) -> None:
    grid = Grid(shape, spacing, (5.0, -2.0, 0.5), "micrometer")
    path = tmp_path / "image.ome.zarr"
    rng = np.random.default_rng(0)
    full = shape if channels is None else (len(channels), *shape)
    dtype = np.float16 if how == "mean" else np.uint32
    values = rng.random(full) if how == "mean" else rng.integers(0, 3, full)
    values = values.astype(dtype)
    values[..., : shape[1] // 2, :] = 0
    labels = how == "mode" and channels is None
    with create(
        path,
        grid,
        dtype=dtype,
        channels=channels,
        chunk=chunk_of(shard),
        shard=shard,
        levels=how,
        labels=labels,
    ) as array:
        array[...] = values
    group = zarr.open_group(path, mode="r")
    strides = level_strides(grid)
    assert len(strides) > 1
    assert sorted(group.array_keys()) == [str(k) for k in range(len(strides))]
    for number, (before, after) in enumerate(itertools.pairwise(strides)):
        step = [b // a for a, b in zip(before, after, strict=True)]
        fine, coarse = group[str(number)][...], group[str(number + 1)][...]
        np.testing.assert_array_equal(coarse, reduced(fine, step, how))
    np.testing.assert_array_equal(open_stored(path).read(), values)
    # two libraries read the metadata and find the arrays that they name
    model = (ImageLabel if labels else Image).from_zarr(group)
    multiscale = model.ome_attributes.multiscales[0]
    validate_zarr_store(str(path))
    for dataset, level in zip(multiscale.datasets, level_grids(grid), strict=True):
        scale, translation = dataset.coordinateTransformations
        assert tuple(scale.scale[-3:]) == level.spacing
        assert tuple(translation.translation[-3:]) == level.origin
        assert group[dataset.path].shape[-3:] == level.shape
        assert group[dataset.path].dtype == dtype
    assert multiscale.type == how


def test_a_voxel_of_a_level_lies_in_the_middle_of_its_voxels(tmp_path: Path) -> None:
    grid = Grid((100, 100, 100), (2.0, 1.0, 1.0), (10.0, 20.0, 30.0))
    path = tmp_path / "image.ome.zarr"
    index = np.indices(grid.shape)[0].astype(np.float32)
    with create(path, grid, dtype=np.float32, levels="mean") as array:
        array[...] = grid.origin[0] + index * grid.spacing[0]
    group = zarr.open_group(path, mode="r")
    for number, level in enumerate(level_grids(grid)):
        along = group[str(number)][:-1, 0, 0]
        expected = [level.world((k, 0, 0))[0] for k in range(len(along))]
        np.testing.assert_allclose(along, expected, rtol=1e-6)


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_levels_are_the_same_bytes_however_the_array_was_written(tmp_path: Path) -> None:
    grid = Grid((70, 300, 270), (1, 1, 1))
    values = np.random.default_rng(0).integers(0, 3, grid.shape).astype(np.uint8)
    found = []
    for shape in (grid.shape, (32, 300, 270), (64, 256, 7)):
        path = tmp_path / f"{len(found)}" / "image.ome.zarr"
        with create(
            path, grid, dtype=np.uint8, levels="mode", labels=True, shard=(32, 256, 256)
        ) as array:
            # what was written first is written over
            array[...] = 7
            for box in grid.box.tiles(shape):
                array[box.slices] = values[box.slices]
        found.append(files(path))
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize("last", [0, 5])
def test_levels_of_an_image_follow_what_is_written_over_it(tmp_path: Path, last: int) -> None:
    grid = Grid((64, 300, 270), (1, 1, 1))
    path = tmp_path / "image.ome.zarr"
    values = np.random.default_rng(0).random((2, *grid.shape)).astype(np.float32)
    with create(path, grid, dtype=np.float32, channels="ab", levels="mean") as array:
        for box in grid.box.tiles((64, 256, 256)):
            array[(..., *box.slices)] = values[(..., *box.slices)]
        # a file again, all of a file but by a number, parts of files, every other row
        array[:, :, :256, :256] = values[:, :, :256, :256] = values[:, :, :256, :256] + 1
        array[:, :, 256:, 256:] = values[:, :, 256:, 256:] = last
        array[..., 250:260] = values[..., 250:260] = last
        array[1, :, 280:, 0:9] = values[1, :, 280:, 0:9] = last
        array[:, 0:64:2] = values[:, 0:64:2] = 3
    found = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(found["0"][...], values)
    for number in range(3):
        expected = reduced(found[str(number)][...], (2, 2, 2), "mean")
        np.testing.assert_array_equal(found[str(number + 1)][...], expected)


def test_files_that_became_zeros_leave_none_in_the_levels(tmp_path: Path) -> None:
    grid = Grid((64, 256, 300), (1, 1, 1))
    with create(tmp_path / "a.ome.zarr", grid, dtype=np.float32, levels="mean") as array:
        array[:, :, :256] = np.ones((64, 256, 256), np.float32)
        array[...] = 0
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert not any(array[...].any() for _, array in group.arrays())


def test_coarse_levels_can_be_finished_later_with_the_same_bytes(tmp_path: Path) -> None:
    grid = Grid((20, 600, 500), (1, 1, 1))
    path = tmp_path / "image.ome.zarr"
    with create(
        path, grid, dtype=np.float16, channels="ab", levels="mean", shard=(64, 128, 128)
    ) as array:
        array[...] = np.random.default_rng(0).random((2, *grid.shape)).astype(np.float16)
    before = files(path)
    coarse = [k for k in before if k.startswith(("3/c/", "4/c/"))]
    assert coarse
    for name in coarse:
        (path / name).unlink()
    finish_levels(path)
    assert files(path) == before


@pytest.mark.parametrize("how", ["mean", "mode"])
@pytest.mark.parametrize(("shape", "spacing", "channels", "shard"), CASES)
def test_parts_are_joined_to_the_bytes_of_one_job(
    tmp_path: Path, shape, spacing, channels, shard, how
) -> None:
    grid = Grid(shape, spacing)
    full = shape if channels is None else (len(channels), *shape)
    values = np.random.default_rng(0).integers(0, 3, full).astype(np.uint16)

    def write(path: Path, box: Box, facts: dict[str, object]) -> None:
        with create(
            path,
            grid,
            dtype=np.uint16,
            channels=channels,
            chunk=chunk_of(shard),
            shard=shard,
            levels=how,
            labels=channels is None,
            attributes={"stage": "test", **facts},
            box=box,
        ) as array:
            # as a stage does it, a file at a time
            for tile in box.tiles(shard):
                array[(..., *tile.slices)] = values[(..., *tile.slices)]

    write(tmp_path / "one" / "image.ome.zarr", grid.box, {})
    for count in (2, 5):
        parts = []
        for number, box in enumerate(divided(shape, shard, count)):
            parts.append(tmp_path / f"{count}" / f"{number}.zarr")
            write(parts[-1], box, part_record(box))
        joined = tmp_path / f"{count}" / "image.ome.zarr"
        join_parts(parts, joined)
        assert files(joined) == files(tmp_path / "one" / "image.ome.zarr")


def test_an_image_without_levels_has_none_to_finish(tmp_path: Path) -> None:
    path = tmp_path / "features.zarr"
    with create(path, Grid((90, 90, 90), (1, 1, 1)), dtype=np.uint8) as array:
        array[...] = 1
    before = files(path)
    finish_levels(path)
    assert files(path) == before


def test_what_is_no_image_cannot_be_finished(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not a complete result"):
        finish_levels(tmp_path / "other.zarr")
