import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.geometry.grid import Box, Grid
from parafovea.report import planes as module
from parafovea.report.planes import Plane, choose_planes, read_mean, read_nearest


class Memory:
    def __init__(self, values, grid):
        self.values, self.grid, self.largest = values, grid, 0

    def read(self, box: Box):
        self.largest = max(self.largest, box.size)
        return self.values[(..., *box.slices)]


def test_plane_too_flat_to_see_is_not_shown():
    deep, flat = Grid((2, 9, 99), (1, 1, 1)), Grid((2, 9, 101), (1, 1, 1))
    assert [p.axis for p in choose_planes(deep, 1, 100)] == [0, 1]
    assert [p.axis for p in choose_planes(flat, 1, 100)] == [0]


def ramp(shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(1, 12))
def test_planes_are_evenly_spaced_and_inside(depth, slices):
    planes = choose_planes(Grid((depth, 5, 5), (1, 1, 1)), slices, 100)
    flat = [p.index for p in planes if p.axis == 0]
    assert len(flat) == min(slices, depth)
    assert len(set(flat)) == len(flat)
    assert all(0 <= i < depth for i in flat)
    steps = np.diff([-flat[0] - 1, *flat])[1:]
    assert np.ptp(steps) <= 1 if len(steps) else True
    assert abs(flat[0] - (depth - 1 - flat[-1])) <= 1
    assert (planes[-1].axis == 1) == (depth > 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_small_plane_is_read_as_it_is(axis):
    grid = Grid((4, 5, 6), (3, 1, 1))
    values = ramp(grid.shape)
    plane = Plane(grid, axis, 2, 100)
    expected = np.take(values, 2, axis=axis)
    assert np.array_equal(read_mean(Memory(values, grid), plane), expected)
    assert np.array_equal(read_nearest(Memory(values, grid), plane), expected)


@settings(max_examples=30)
@given(st.integers(17, 70), st.integers(17, 70), st.sampled_from([1, 7, 256]), st.booleans())
def test_large_plane_is_averaged_whatever_the_strips(height, width, strip, channels):
    grid = Grid((3, height, width), (1, 1, 1))
    values = ramp((2, *grid.shape) if channels else grid.shape)
    plane = Plane(grid, 0, 1, 16)
    down, right = plane.factors
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DRAWN_ROWS", strip)
        found = read_mean(Memory(values, grid), plane)
    assert max(found.shape[-2:]) <= 16
    flat = values[..., 1, :, :]
    assert found[..., 0, 0] == pytest.approx(flat[..., :down, :right].mean(axis=(-2, -1)))
    row, column = found.shape[-2] - 1, found.shape[-1] - 1
    last = flat[..., row * down :, column * right :].mean(axis=(-2, -1))
    assert found[..., -1, -1] == pytest.approx(last, rel=1e-5)


def test_reading_holds_a_strip_not_the_plane(monkeypatch):
    monkeypatch.setattr(module, "DRAWN_ROWS", 8)
    grid = Grid((2, 64, 10), (1, 1, 1))
    image = Memory(ramp(grid.shape), grid)
    read_mean(image, Plane(grid, 0, 1, 1000))
    read_nearest(image, Plane(grid, 0, 1, 1000))
    assert image.largest == 8 * 10


@pytest.mark.parametrize("factor", [(1, 3, 3), (2, 1, 1), (1, 1, 5)])
def test_labels_on_a_finer_grid_of_the_same_world_show_the_same_picture(factor):
    grid = Grid((4, 6, 7), (10, 4, 4), (100, 0, -8))
    labels = np.random.default_rng(1).integers(0, 9, grid.shape)
    finer = grid.resampled([s / f for s, f in zip(grid.spacing, factor, strict=True)])
    fine = labels
    for axis, times in enumerate(factor):
        fine = np.repeat(fine, times, axis=axis)
    for plane in choose_planes(grid, 2, 100):
        expected = read_nearest(Memory(labels, grid), plane)
        assert np.array_equal(read_nearest(Memory(fine, finer), plane), expected)


def test_labels_in_another_unit_are_found():
    grid = Grid((2, 3, 4), (1000, 1000, 1000), unit="nanometer")
    labels = np.arange(24).reshape(grid.shape)
    plane = Plane(grid, 0, 1, 10)
    assert np.array_equal(
        read_nearest(Memory(labels, grid.converted("micrometer")), plane), labels[1]
    )
    assert plane.name == "XY plane at z = 1 (1.5 µm)"
    assert Plane(grid, 1, 0, 10).name == "XZ plane at y = 0 (500 nm)"
