import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.grid import Grid
from parafovea.postprocess.candidates import find_candidates
from parafovea.postprocess.settings import PeakSettings


def smooth_balls(shape, spacing, balls):
    """Return a heatmap of soft balls: 0.5 at the radius, falling over a third of a mm or so."""
    axes = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    heat = np.zeros(shape)
    for (cz, cy, cx), radius in balls:
        gap = np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) - radius
        heat = np.maximum(heat, 1 / (1 + np.exp(gap)))
    return heat.astype(np.float32)


def candidates_of(heat, spacing=(1.0, 1.0, 1.0), planes=32, **choices):
    grid = Grid(heat.shape, spacing, unit="millimeter")
    chosen = PeakSettings(**choices)
    return find_candidates(lambda box: heat[box.slices], grid, chosen, planes=planes), grid


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.7, 0.7), (0.8, 1.5, 1.1)])
@pytest.mark.parametrize("radius", [3.0, 6.0, 12.0])
def test_centre_and_diameter_of_a_ball_are_found(spacing, radius):
    shape = tuple(int(40 / s) for s in spacing)
    centre = (19.3, 20.1, 20.6)
    found, grid = candidates_of(smooth_balls(shape, spacing, [(centre, radius)]), spacing)
    assert len(found) == 1
    # a voxel is inside or not, so small balls in large voxels are off by more
    tolerance = 0.12 * max(spacing)
    assert np.multiply(found[0].centre, spacing) == pytest.approx(centre, abs=tolerance)
    assert found[0].diameter(grid) == pytest.approx(2 * radius, rel=0.05)
    assert found[0].mask.shape == found[0].box.shape


def test_touching_balls_of_unequal_size_are_parted_where_they_touch():
    balls = [((20, 20, 14), 10.0), ((20, 20, 29), 5.0)]
    heat = smooth_balls((40, 40, 44), (1, 1, 1), balls)
    found, grid = candidates_of(heat)
    assert len(found) == 2
    assert [c.diameter(grid) for c in found] == pytest.approx([20, 10], rel=0.03)
    assert [c.centre[2] for c in found] == pytest.approx([14, 29], abs=0.3)
    whole = np.zeros(heat.shape, int)
    for each in found:
        whole[each.box.slices] += each.mask
    np.testing.assert_array_equal(whole, heat >= 0.5)


def test_a_component_too_large_to_flood_is_divided_by_distance(monkeypatch):
    monkeypatch.setattr("parafovea.postprocess.candidates.LARGEST_FLOOD", 10)
    balls = [((10, 10, 10), 7.0), ((10, 10, 23), 7.0)]
    found, _ = candidates_of(smooth_balls((21, 21, 34), (1, 1, 1), balls))
    assert abs(found[0].voxels - found[1].voxels) < 0.1 * found[0].voxels


def test_a_component_whose_only_peak_is_too_near_to_a_higher_one_is_dropped():
    heat = np.zeros((5, 5, 12), np.float32)
    heat[2, 2, 2], heat[2, 2, 6] = 0.9, 0.8
    near, _ = candidates_of(heat, min_distance=5)
    assert [c.confidence for c in near] == [pytest.approx(0.9)]
    far, _ = candidates_of(heat, min_distance=4)
    assert [c.confidence for c in far] == pytest.approx([0.9, 0.8])


def same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert (a.confidence, a.centre, a.voxels, a.box) == (
            b.confidence,
            b.centre,
            b.voxels,
            b.box,
        )
        np.testing.assert_array_equal(a.mask, b.mask)


@settings(max_examples=40)
@given(st.integers(0, 9999), st.sampled_from(["local_maxima", "nms"]), st.integers(1, 6))
def test_blocks_give_exactly_what_one_block_gives(seed, method, planes):
    random = np.random.default_rng(seed)
    heat = (random.integers(0, 6, random.integers(2, 14, 3)) / 5).astype(np.float16)
    choices = {"threshold": 0.7, "min_distance": 2.0, "method": method}
    one, _ = candidates_of(heat, (1.5, 1, 1), planes=99, **choices)
    many, _ = candidates_of(heat, (1.5, 1, 1), planes=planes, **choices)
    same(one, many)


def test_a_zarr_array_gives_what_numpy_gives():
    balls = [((8, 9, 9), 5.0), ((20, 20, 20), 4.0), ((9, 9, 18), 4.5)]
    heat = smooth_balls((30, 30, 30), (1, 1, 1), balls).astype(np.float16)
    stored = zarr.create_array({}, shape=heat.shape, chunks=(8, 7, 16), dtype=heat.dtype)
    stored[:] = heat
    one, _ = candidates_of(heat, min_distance=6)
    many, _ = candidates_of(stored, min_distance=6, planes=7)
    assert len(one) == 3
    same(one, many)


def test_equal_confidences_are_ordered_by_place():
    heat = np.zeros((3, 3, 40), np.float32)
    heat[1, 1, [30, 2, 16]] = 0.7
    found, _ = candidates_of(heat)
    assert [c.centre[2] for c in found] == [2, 16, 30]
