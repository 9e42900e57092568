import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.errors import GridError
from parafovea.postprocess.detection.suppression import sphere_iou, suppress_overlaps

lengths = st.floats(0.01, 50)


def test_overlap_of_known_spheres():
    # Equal unit spheres one radius apart share a lens of 5 pi / 12.
    lens = 5 * np.pi / 12
    assert sphere_iou(1.0, 2.0, 2.0) == pytest.approx(lens / (8 * np.pi / 3 - lens), rel=1e-14)
    assert sphere_iou(0.0, 4.0, 4.0) == 1
    assert sphere_iou(4.0, 4.0, 4.0) == 0
    assert sphere_iou(0.5, 2.0, 6.0) == pytest.approx(1 / 27, rel=1e-14)


def test_overlap_is_that_of_counted_points():
    random = np.random.default_rng(7)
    points = random.uniform([-3, -3, -3], [5, 3, 3], (400_000, 3))
    one = np.linalg.norm(points, axis=1) <= 2.5
    other = np.linalg.norm(points - [2.2, 0, 0], axis=1) <= 1.5
    counted = (one & other).sum() / (one | other).sum()
    assert sphere_iou(2.2, 5.0, 3.0) == pytest.approx(counted, abs=0.005)


@given(lengths, lengths, lengths)
def test_overlap_is_symmetric_bounded_and_falls_with_distance(distance, first, second):
    here = sphere_iou(distance, first, second)
    assert 0 <= here <= 1
    assert here == sphere_iou(distance, second, first)
    assert sphere_iou(distance * 1.1, first, second) <= here + 1e-9


@given(st.integers(0, 9999), st.sampled_from([0.0, 0.1, 0.3]))
def test_what_stays_does_not_overlap_and_what_goes_overlaps_something_that_stays(seed, limit):
    random = np.random.default_rng(seed)
    centres, diameters = random.uniform(0, 30, (25, 3)), random.uniform(2, 20, 25)
    stays = suppress_overlaps(centres, diameters, iou_threshold=limit)
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    overlap = sphere_iou(gaps, diameters[:, None], diameters[None])
    for row in range(25):
        before = overlap[row, :row][stays[:row]]
        assert stays[row] == (not (before > limit).any())


def test_unequal_lengths_are_refused():
    with pytest.raises(GridError, match="2 centres and 3 diameters"):
        suppress_overlaps(np.zeros((2, 3)), np.ones(3), iou_threshold=0.3)
