"""Boxes and grids: index arithmetic, and the same world whoever looks at it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import GridError
from parafovea.geometry.grid import Box, Grid

quick = settings(max_examples=30)
shapes = st.tuples(*[st.integers(1, 40)] * 3)
corners = st.tuples(*[st.integers(-20, 20)] * 3)
spacings = st.tuples(*[st.floats(0.1, 50)] * 3)
origins = st.tuples(*[st.floats(-1e3, 1e3)] * 3)
boxes = st.builds(Box.sized, corners, shapes)
grids = st.builds(Grid, shapes, spacings, origins)


def marked(box: Box) -> np.ndarray[Any, Any]:
    """Return an array over indices -20..60 that is true in the box."""
    array = np.zeros((80, 80, 80), dtype=bool)
    array[box.shifted((20, 20, 20)).slices] = True
    return array


@quick
@given(boxes, boxes)
def test_intersection_and_union_are_those_of_the_voxels(one: Box, other: Box) -> None:
    common, around = one.intersection(other), one.union(other)
    assert np.array_equal(marked(common), marked(one) & marked(other))
    assert common.size == marked(common).sum()
    for box in (one, other):
        assert around.intersection(box) == box
    assert around.start == tuple(map(min, one.start, other.start))
    assert around.stop == tuple(map(max, one.stop, other.stop))


@quick
@given(boxes, st.tuples(*[st.integers(1, 15)] * 3))
def test_tiles_cover_a_box_once_in_order(box: Box, tile: tuple[int, int, int]) -> None:
    seen = np.zeros((80, 80, 80), dtype=int)
    tiles = list(box.tiles(tile))
    for part in tiles:
        assert all(n <= t for n, t in zip(part.shape, tile, strict=True))
        seen[part.shifted((20, 20, 20)).slices] += 1
    assert np.array_equal(seen, marked(box).astype(int))
    assert tiles == sorted(tiles, key=lambda part: part.start)


def test_box_arithmetic_goes_there_and_back() -> None:
    box = Box((1, 2, 3), (4, 6, 8))
    assert box.shape == (3, 4, 5)
    assert box.size == 60
    assert box.relative_to((1, 2, 3)) == Box.whole(box.shape)
    assert box.expanded((1, 0, 2)) == Box((0, 2, 1), (5, 6, 10))
    assert box.scaled((2, 1, 3)) == Box((2, 2, 9), (8, 6, 24))
    assert str(box) == "[z 1:4, y 2:6, x 3:8]"


def test_a_box_that_ends_before_it_begins_holds_nothing() -> None:
    assert Box((5, 0, 0), (2, 3, 3)).shape == (0, 3, 3)
    assert Box((5, 0, 0), (2, 3, 3)).size == 0


def test_tiles_of_no_voxels_are_refused() -> None:
    with pytest.raises(GridError, match="at least 1"):
        list(Box.whole((2, 2, 2)).tiles((0, 1, 1)))


@quick
@given(grids, st.tuples(*[st.floats(-50, 50)] * 3))
def test_index_undoes_world(grid: Grid, index: tuple[float, float, float]) -> None:
    assert grid.index(grid.world(index)) == pytest.approx(index, abs=1e-6)


@quick
@given(grids, boxes, corners)
def test_a_crop_keeps_every_voxel_at_its_place(
    grid: Grid, box: Box, index: tuple[int, int, int]
) -> None:
    there = tuple(i - a for i, a in zip(index, box.start, strict=True))
    assert grid.crop(box).world(there) == pytest.approx(grid.world(index), abs=1e-6)
    assert grid.crop(box).shape == box.shape


@quick
@given(grids, spacings)
def test_resampled_grids_share_the_lower_face_and_end_within_half_a_voxel(
    grid: Grid, spacing: tuple[float, float, float]
) -> None:
    new = grid.resampled(spacing)
    half = (-0.5, -0.5, -0.5)
    assert new.world(half) == pytest.approx(grid.world(half), abs=1e-6)
    faces = zip(
        new.world([n - 0.5 for n in new.shape]),
        grid.world([n - 0.5 for n in grid.shape]),
        spacing,
        new.shape,
        strict=True,
    )
    for found, wanted, step, count in faces:
        # A grid keeps one voxel even where less than half of one would do.
        assert abs(found - wanted) <= step / 2 + 1e-6 or count == 1


@quick
@given(grids, st.tuples(*[st.integers(1, 5)] * 3))
def test_a_coarse_voxel_lies_in_the_middle_of_its_block(
    grid: Grid, stride: tuple[int, int, int]
) -> None:
    coarse = grid.coarsened(stride)
    for corner in itertools.product((0, 1), repeat=3):
        block = [c * k for c, k in zip(corner, stride, strict=True)]
        centre = [b + (k - 1) / 2 for b, k in zip(block, stride, strict=True)]
        assert coarse.world(corner) == pytest.approx(grid.world(centre), abs=1e-6)
    reach = [n * k for n, k in zip(coarse.shape, stride, strict=True)]
    ends = zip(reach, grid.shape, stride, strict=True)
    assert all(n <= r < n + k for r, n, k in ends)


@quick
@given(grids, st.sampled_from(["angstrom", "micrometer", "millimeter", "meter"]))
def test_another_unit_is_the_same_place(grid: Grid, unit: str) -> None:
    other = grid.converted(unit)
    assert other.unit == unit
    assert grid.same_place(other)
    assert other.converted(grid.unit).spacing == pytest.approx(grid.spacing)


def test_a_known_length_is_converted_the_right_way() -> None:
    grid = Grid((1, 2, 3), (2, 3, 4), (1, 0, -1), "micrometer").converted("nanometer")
    assert grid.spacing == pytest.approx((2000, 3000, 4000))
    assert grid.origin == pytest.approx((1000, 0, -1000))
    assert grid.extent == pytest.approx((2000, 6000, 12000))
    assert grid.voxel_volume == pytest.approx(24e9)


@pytest.mark.parametrize(
    "other",
    [
        Grid((4, 4, 5), (1, 1, 1)),
        Grid((4, 4, 4), (1, 1, 1.01)),
        Grid((4, 4, 4), (1, 1, 1), (0, 0.1, 0)),
        Grid((4, 4, 4), (1, 1, 1), unit="millimeter"),
    ],
)
def test_other_shape_spacing_origin_or_unit_is_another_place(other: Grid) -> None:
    assert not Grid((4, 4, 4), (1, 1, 1)).same_place(other)


@quick
@given(grids)
def test_a_grid_survives_json(grid: Grid) -> None:
    assert Grid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": (1, 2)}, "has 2 axes"),
        ({"shape": (0, 2, 2)}, "at least 1"),
        ({"spacing": (1, 1, 0)}, "positive"),
        ({"spacing": (1, float("nan"), 1)}, "positive and finite"),
        ({"origin": (float("inf"), 0, 0)}, "finite"),
        ({"unit": "furlong"}, "unknown unit 'furlong': use one of picometer, angstrom"),
    ],
)
def test_impossible_grids_are_refused_with_the_value_and_the_fix(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(GridError, match=message):
        Grid(**{"shape": (2, 2, 2), "spacing": (1, 1, 1), **values})


def test_an_unknown_unit_is_refused_when_converting() -> None:
    with pytest.raises(GridError, match="unknown unit 'parsec'"):
        Grid((1, 1, 1), (1, 1, 1)).converted("parsec")
