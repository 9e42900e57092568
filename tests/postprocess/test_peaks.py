import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.errors import MemoryLimitError
from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.peaks import find_peaks


def peaks_of(heat, *, spacing=(1.0, 1.0, 1.0), threshold=0.5, min_distance=3.0, **options):
    grid = Grid(heat.shape, spacing, unit="millimeter")
    choices = {"threshold": threshold, "min_distance": min_distance, **options}
    return find_peaks(lambda box: heat[box.slices], grid, **choices)


def with_points(shape, points):
    heat = np.zeros(shape, np.float32)
    for (z, y, x), value in points.items():
        heat[z, y, x] = value
    return heat


@pytest.mark.parametrize("method", ["local_maxima", "nms"])
def test_distance_is_measured_in_millimetres_along_each_axis(method):
    heat = with_points((9, 9, 9), {(4, 4, 4): 0.9, (6, 4, 4): 0.8, (4, 6, 4): 0.7, (4, 4, 6): 0.6})
    found = peaks_of(heat, spacing=(2.5, 1.0, 2.0), min_distance=4.0, method=method)
    # 5 mm along z stays, 2 mm along y goes, and just 4 mm along x stays
    assert found.index.tolist() == [[4, 4, 4], [6, 4, 4], [4, 4, 6]]
    assert found.value == pytest.approx([0.9, 0.8, 0.6])


@pytest.mark.parametrize("method", ["local_maxima", "nms"])
def test_of_equal_peaks_the_first_in_scan_order_stays(method):
    heat = with_points((5, 9, 9), {(1, 4, 6): 0.75, (1, 4, 4): 0.75, (3, 8, 0): 0.75})
    found = peaks_of(heat, method=method)
    assert found.index.tolist() == [[1, 4, 4], [3, 8, 0]]


def test_a_plateau_is_one_peak_at_its_centre():
    heat = np.zeros((7, 9, 9), np.float32)
    heat[2:5, 2:5, 3:8] = 0.8
    found = peaks_of(heat, min_distance=0.5)
    assert found.index.tolist() == [[3, 3, 5]]


def test_a_plateau_that_touches_something_higher_is_no_peak():
    heat = np.full((3, 3, 12), 0.6, np.float32)
    heat[1, 1, 11] = 0.7
    assert peaks_of(heat, min_distance=0).index.tolist() == [[1, 1, 11]]


def test_the_shoulder_of_a_ridge_is_a_peak_for_nms_alone():
    ridge = np.linspace(1.0, 0.6, 21, dtype=np.float32)[None, None, :]
    assert peaks_of(ridge, min_distance=8).index[:, 2].tolist() == [0]
    assert peaks_of(ridge, min_distance=8, method="nms").index[:, 2].tolist() == [0, 8, 16]


@given(st.integers(0, 9999), st.sampled_from(["local_maxima", "nms"]), st.integers(1, 7))
def test_peaks_do_not_depend_on_the_slabs_and_keep_their_distance(seed, method, planes):
    random = np.random.default_rng(seed)
    heat = (random.integers(0, 9, random.integers(1, 16, 3)) / 8).astype(np.float16)
    spacing = tuple(random.uniform(0.5, 3, 3))
    options = {"spacing": spacing, "min_distance": 3.1, "method": method}
    one, many = peaks_of(heat, planes=99, **options), peaks_of(heat, planes=planes, **options)
    for a, b in ((one.position, many.position), (one.index, many.index), (one.value, many.value)):
        np.testing.assert_array_equal(a, b)
    points = one.index * spacing
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + 99 * np.eye(len(points))
    assert not len(points) or gaps.min() >= 3.1


@given(st.integers(0, 9999))
def test_nms_is_what_one_would_do_voxel_by_voxel(seed):
    random = np.random.default_rng(seed)
    heat = (random.integers(0, 30, random.integers(1, 9, 3)) / 29).astype(np.float32)
    spacing, distance = random.uniform(0.5, 3, 3), 2.7
    where = np.argwhere(heat >= 0.5)
    waiting = where[np.argsort(-heat[heat >= 0.5], kind="stable")].tolist()
    expected = []
    while waiting:
        expected.append(waiting[0])
        step = (np.array(waiting) - waiting[0]) * spacing
        far = np.linalg.norm(step, axis=1) >= distance
        waiting = [voxel for voxel, keep in zip(waiting, far, strict=True) if keep]
    found = peaks_of(heat, spacing=tuple(spacing), min_distance=distance, method="nms")
    assert found.index.tolist() == expected


def test_nms_refuses_more_voxels_than_it_can_sort(monkeypatch):
    monkeypatch.setattr("parafovea.postprocess.detection.peaks.LARGEST_SORT", 10)
    with pytest.raises(MemoryLimitError, match=r"27 voxels .* local_maxima"):
        peaks_of(np.ones((3, 3, 3), np.float32), method="nms")


def test_a_heatmap_below_the_threshold_has_no_peaks():
    for method in ("local_maxima", "nms"):
        assert len(peaks_of(np.full((4, 5, 6), 0.4, np.float32), method=method)) == 0
