import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.candidates import find_candidates
from parafovea.settings.postprocess import PeakSettings


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


@pytest.mark.parametrize("sure", [1.0, 0.7, 0.4])
@pytest.mark.parametrize("threshold", [0.1, 0.19])
def test_a_nodule_has_its_diameter_however_sure_and_whatever_the_threshold(sure, threshold):
    heat = sure * smooth_balls((40, 40, 40), (1, 1, 1), [((19.3, 20.1, 20.6), 6.0)])
    found, grid = candidates_of(heat.astype(np.float32), threshold=threshold)
    assert [c.diameter(grid) for c in found] == [pytest.approx(12, rel=0.05)]
    assert found[0].level == pytest.approx(found[0].confidence / 2)


def test_no_region_reaches_below_the_threshold():
    heat = 0.6 * smooth_balls((40, 40, 40), (1, 1, 1), [((20, 20, 20), 6.0)])
    (found,), grid = candidates_of(heat.astype(np.float32), threshold=0.5)
    assert found.level == 0.5
    assert found.diameter(grid) < 9
    assert heat[found.box.slices][found.mask].min() >= 0.5


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


def noisy_ball(*, dent):
    """Return a ball of radius 12 whose heat has two maxima 12 apart, and how deep it is between."""
    heat = smooth_balls((40, 40, 40), (1, 1, 1), [((20, 20, 20), 12.0)]).astype(np.float64)
    x = np.arange(heat.shape[2])
    valley = 1 - dent * np.exp(-(((x - 20) / 3.0) ** 2))
    heat *= valley * (1 - 0.02 * (x > 20))
    return heat.astype(np.float32)


def test_two_maxima_within_one_large_nodule_are_one_with_its_full_diameter():
    heat = noisy_ball(dent=0.15)
    apart, grid = candidates_of(heat, min_distance=5, max_saddle=1.0)
    assert len(apart) == 2
    assert [c.diameter(grid) for c in apart] == pytest.approx([19, 19], abs=1)
    (one,), _ = candidates_of(heat, min_distance=5)
    assert one.confidence == apart[0].confidence
    assert one.diameter(grid) == pytest.approx(24, rel=0.03)
    assert one.centre == pytest.approx((20, 20, 20), abs=0.2)
    # what the other way to find peaks takes for one is left as it is
    shoulders = candidates_of(heat, min_distance=5, method="nms")[0]
    assert len(shoulders) > 1


def test_two_nodules_that_nearly_touch_stay_two():
    # as close as 1 mm, and one of them unsure
    balls = [((20, 20, 13), 6.0), ((20, 20, 26), 6.0)]
    heat = smooth_balls((40, 40, 40), (1, 1, 1), balls)
    heat[:, :, 20:] *= 0.8
    found, _ = candidates_of(heat, threshold=0.3, min_distance=5)
    assert [c.centre[2] for c in found] == pytest.approx([13, 26], abs=0.3)
    assert [c.confidence for c in found] == pytest.approx([1.0, 0.8], abs=0.01)


@given(st.integers(0, 9999), st.sampled_from([0.5, 0.8, 0.95]))
def test_candidates_stay_two_just_where_a_valley_parts_their_peaks(seed, share):
    random = np.random.default_rng(seed)
    coarse = random.random((4, 4, 4))
    heat = ndimage.zoom(coarse, 3, order=1).astype(np.float32).clip(0.01, 1)
    choices = {"threshold": 0.1, "min_distance": 0.0}
    every, _ = candidates_of(heat, max_saddle=1.0, **choices)
    found, _ = candidates_of(heat, max_saddle=share, **choices)
    peaks = [float(c.confidence) for c in found]
    assert set(peaks) <= {float(c.confidence) for c in every}
    # merged regions end at half of the higher peak
    assert sum(c.voxels for c in found) <= sum(c.voxels for c in every)
    for row, low in enumerate(found):
        level = np.float32(share * low.confidence)
        parts, _ = ndimage.label(heat >= level, np.ones((3, 3, 3)))
        own = parts[_peak(heat, low)]
        for high in found[:row]:
            assert parts[_peak(heat, high)] != own


def _peak(heat, candidate):
    place = np.argwhere(candidate.mask & (heat[candidate.box.slices] == candidate.confidence))[0]
    return tuple(place + candidate.box.start)


def test_a_component_too_large_to_flood_is_divided_by_distance(monkeypatch):
    monkeypatch.setattr("parafovea.postprocess.detection.candidates.LARGEST_FLOOD", 10)
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
