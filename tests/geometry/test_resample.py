"""Linear resampling: what it keeps, what it removes, and that streaming does not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.geometry import resample
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import read_reflected, reflected_indices, resample_box

quick = settings(max_examples=30)
spacings = st.tuples(*[st.floats(0.3, 4)] * 3)
shapes = st.tuples(*[st.integers(1, 14)] * 3)


def resampled(
    volume: np.ndarray[Any, Any], source: Grid, target: Grid, box: Box | None = None
) -> np.ndarray[Any, Any]:
    return resample_box(lambda part: volume[part.slices], source, target, box or target.box)


@quick
@given(shapes, spacings, st.floats(-5, 5))
def test_a_constant_stays_constant(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], value: float
) -> None:
    source = Grid(shape, (1, 1, 1))
    found = resampled(np.full(shape, value, np.float32), source, source.resampled(spacing))
    np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-6)


@quick
@given(st.tuples(*[st.floats(0.2, 1)] * 3), st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_linear_ramp_stays_linear_when_sampled_finer(
    spacing: tuple[float, float, float], slope: tuple[float, float, float]
) -> None:
    source = Grid((5, 6, 7), (1.0, 1.5, 2.0), (3.0, -2.0, 0.0))
    target = source.resampled([s * f for s, f in zip(source.spacing, spacing, strict=True)])

    def ramp(grid: Grid) -> np.ndarray[Any, Any]:
        axes = zip(grid.origin, grid.spacing, grid.shape, source.origin, source.extent, strict=True)
        # Beyond the outermost voxel centres, the outermost value goes on.
        z, y, x = (
            np.clip(o + s * np.arange(n), first, first + length - step)
            for (o, s, n, first, length), step in zip(axes, source.spacing, strict=True)
        )
        a, b, c = slope
        return a * z[:, None, None] + b * y[:, None] + c * x

    found = resampled(ramp(source), source, target)
    np.testing.assert_allclose(found, ramp(target), atol=2e-5)


@pytest.mark.parametrize(("factor", "remains"), [(2, 0.0), (3, 1 / 9), (4, 0.0)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sampling_coarser_suppresses_a_checkerboard(factor: int, remains: float, axis: int) -> None:
    z, y, x = np.indices((24, 24, 24))
    stripes = (-1.0) ** (z, y, x)[axis]
    source = Grid(stripes.shape, (1, 1, 1))
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = factor
    found = np.moveaxis(resampled(stripes, source, source.resampled(spacing)), axis, 0)
    assert np.abs(found[1:-1]).max() <= remains + 1e-6


def test_each_axis_has_its_own_factor() -> None:
    volume = np.random.default_rng(0).random((8, 12, 6)).astype(np.float32)
    source = Grid(volume.shape, (4, 1, 2))
    target = source.resampled((2, 3, 2))
    assert target.shape == (16, 4, 6)
    found = resampled(volume, source, target)
    along_z = resampled(volume, source, source.resampled((2, 1, 2)))
    step = source.resampled((2, 1, 2))
    np.testing.assert_allclose(found, resampled(along_z, step, target), atol=1e-6)
    np.testing.assert_array_equal(found, resampled(volume, source, target))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_sampling_coarser_is_torchs_antialiased_interpolation_edges_included(factor: int) -> None:
    plane = np.random.default_rng(1).random((24, 36)).astype(np.float32)
    source = Grid((1, 24, 36), (1, 1, 1))
    target = source.resampled((1, factor, factor))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None, None],
        size=target.shape[1:],
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0]
    np.testing.assert_allclose(resampled(plane[None], source, target), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("spacing", [(0.7, 1.3, 1.0), (2.5, 0.5, 3.0), (1.0, 1.0, 1.0)])
def test_streaming_in_small_slabs_does_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, spacing: tuple[float, float, float]
) -> None:
    volume = np.random.default_rng(2).random((17, 10, 9)).astype(np.float32)
    source = Grid(volume.shape, (1, 1, 1))
    target = source.resampled(spacing)
    whole = resampled(volume, source, target)
    largest = []

    def read(box: Box) -> np.ndarray[Any, Any]:
        largest.append(box.shape[0])
        return volume[box.slices]

    monkeypatch.setattr(resample, "SLAB_VOXELS", 2 * 10 * 9)
    streamed = resample_box(read, source, target, target.box)
    np.testing.assert_allclose(streamed, whole, atol=1e-6)
    assert max(largest) <= 2 + 2 * np.ceil(max(1, spacing[0]))


@quick
@given(shapes, spacings, st.data())
def test_a_box_is_the_same_part_of_the_whole(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], data: st.DataObject
) -> None:
    volume = np.random.default_rng(3).random(shape).astype(np.float32)
    source = Grid(shape, (1, 1, 1))
    target = source.resampled(spacing)
    start = [data.draw(st.integers(0, n - 1)) for n in target.shape]
    box = Box.sized(start, [data.draw(st.integers(1, n)) for n in target.shape])
    box = box.intersection(target.box)
    whole = resampled(volume, source, target)
    np.testing.assert_allclose(resampled(volume, source, target, box), whole[box.slices], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_the_same_grid_returns_the_voxels_as_float32(dtype: type[np.generic]) -> None:
    volume = np.arange(24).reshape(2, 3, 4).astype(dtype)
    grid = Grid(volume.shape, (3, 2, 1), (5, 5, 5))
    found = resampled(volume, grid, grid)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, volume)


@quick
@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_mirrored_indices_are_numpys_reflect_padding(count: int, before: int, after: int) -> None:
    found = reflected_indices(-before, count + after, count)
    np.testing.assert_array_equal(found, np.pad(np.arange(count), (before, after), "reflect"))


@quick
@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(0, 7)] * 3))
def test_a_box_beyond_the_border_is_read_mirrored(
    shape: tuple[int, int, int], margin: tuple[int, int, int]
) -> None:
    volume = np.random.default_rng(4).random((2, *shape))
    grid = Grid(shape, (1, 1, 1))
    found = read_reflected(
        lambda box: volume[(slice(None), *box.slices)], grid, grid.box.expanded(margin)
    )
    wanted = np.pad(volume, [(0, 0), *((m, m) for m in margin)], mode="reflect")
    np.testing.assert_array_equal(found, wanted)
