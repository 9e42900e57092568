"""Mirrorings and quarter turns: a group that moves arrays, boxes and grids alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import smooth_volume, store_volume

from parafovea.errors import GridError
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.symmetry import IDENTITY, STEPS, Symmetry, check_views, require_fit
from parafovea.storage.store import Turned, open_stored

quick = settings(max_examples=50)
symmetries = st.lists(st.sampled_from(sorted(STEPS)), max_size=4).map(
    lambda steps: Symmetry.named("+".join(steps))
)
shapes = st.tuples(*[st.integers(1, 6)] * 3)


def counted(shape: tuple[int, int, int]) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape)


def test_steps_are_numpys_flips_and_quarter_turns() -> None:
    values = counted((2, 3, 4))
    wanted = {
        "flip_z": np.flip(values, 0),
        "flip_y": np.flip(values, 1),
        "flip_x": np.flip(values, 2),
        "rotate_90_xy": np.rot90(values, axes=(1, 2)),
        "rotate_90_xz": np.rot90(values, axes=(0, 2)),
        "rotate_90_yz": np.rot90(values, axes=(0, 1)),
    }
    assert set(wanted) == set(STEPS)
    for name, turned in wanted.items():
        np.testing.assert_array_equal(Symmetry.named(name).turned(values), turned)
        np.testing.assert_array_equal(Symmetry.named(name).turned(values[None])[0], turned)


@quick
@given(symmetries, symmetries, shapes)
def test_one_after_the_other_is_their_product_and_the_inverse_leads_back(
    first: Symmetry, second: Symmetry, shape: tuple[int, int, int]
) -> None:
    values = counted(shape)
    both = second.turned(first.turned(values))
    np.testing.assert_array_equal(first.then(second).turned(values), both)
    assert first.then(first.inverse) == first.inverse.then(first) == IDENTITY
    assert first.turned(values).shape == first.shape(shape)


@quick
@given(symmetries, shapes, shapes, shapes)
def test_boxes_and_grids_move_as_arrays_do(
    symmetry: Symmetry,
    shape: tuple[int, int, int],
    start: tuple[int, int, int],
    size: tuple[int, int, int],
) -> None:
    box = Box.sized(start, size).intersection(Box.whole(shape))
    values = counted(shape)
    view = symmetry.turned(values)
    there = symmetry.box(box, shape)
    np.testing.assert_array_equal(view[there.slices], symmetry.turned(values[box.slices]))
    outside = Box.sized([s - 3 for s in start], size)
    back = symmetry.inverse.box(symmetry.box(outside, shape), view.shape)
    assert back == outside
    grid = symmetry.grid(Grid(shape, (3.0, 4.0, 5.0)))
    assert grid.shape == view.shape
    assert grid.spacing == tuple((3.0, 4.0, 5.0)[axis] for axis in symmetry.order)


@quick
@given(symmetries)
def test_a_stored_volume_is_read_turned(symmetry: Symmetry) -> None:
    values = counted((4, 5, 6))

    stored = Turned(values, symmetry.grid(Grid((4, 5, 6), (1, 2, 3))), None, {}, symmetry)  # type: ignore[arg-type]
    view = symmetry.turned(values)
    np.testing.assert_array_equal(stored.read(), view)
    part = Box((1, 0, 1), (3, 3, 4))
    np.testing.assert_array_equal(stored.read(part), view[part.slices])


def test_what_lies_on_the_disk_stays_as_it_is(tmp_path: Path) -> None:
    voxels = smooth_volume((3, 4, 5))
    stored = open_stored(store_volume(tmp_path / "v.zarr", voxels))
    view = Turned.of(stored, Symmetry.named("flip_x+rotate_90_yz"))
    np.testing.assert_array_equal(view.read(), np.rot90(np.flip(voxels, 2), axes=(0, 1)))
    np.testing.assert_array_equal(stored.read(), voxels)


def test_there_are_48_views_at_most_and_each_is_listed_once() -> None:
    reached = {IDENTITY}
    while (more := reached | {s.then(step) for s in reached for step in STEPS.values()}) != reached:
        reached = more
    assert len(reached) == 48
    check_views(["flip_x", "flip_y", "flip_x+flip_y", "rotate_90_xy"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["flip_w"], "the unknown step 'flip_w': use flip_x"),
        (["flip_x+"], "the unknown step ''"),
        (["flip_x", "flip_x"], "same as 'flip_x': list each view once"),
        (["flip_x+flip_y", "flip_y+flip_x"], "'flip_y.flip_x' is the same as 'flip_x.flip_y'"),
        (["flip_x+flip_x"], "same as the original sample"),
        (["rotate_90_xy+rotate_90_xy", "flip_y+flip_x"], "list each view once"),
    ],
)
def test_views_that_are_unknown_or_listed_twice_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_views(names)


def test_rotations_that_mix_spacings_are_refused_and_others_are_not() -> None:
    spacing = (50.0, 4.6, 4.6)
    for name in ("flip_z", "rotate_90_xy", "rotate_90_xz+rotate_90_xz"):
        require_fit(name, spacing, dimensions=3)
    for name in ("rotate_90_xz", "rotate_90_yz", "flip_x+rotate_90_yz"):
        with pytest.raises(GridError, match=r"50 x 4.6 x 4.6 .* equal spacing"):
            require_fit(name, spacing, dimensions=3)
    with pytest.raises(GridError, match="the network is 2D: use"):
        require_fit("flip_z", (4.6, 4.6, 4.6), dimensions=2)
