from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import SourceError
from parafovea.geometry.grid import Box, Grid
from parafovea.quality import truth_on_grid as module
from parafovea.quality.truth_on_grid import SampledTruth, most_frequent


@dataclass(frozen=True)
class Volume:
    array: np.ndarray
    grid: Grid
    path: str = "truth.tif"

    def read(self, box):
        assert box.intersection(self.grid.box) == box
        return self.array[box.slices]


def volume(array, spacing, origin=(0.0, 0.0, 0.0), unit="nanometer"):
    return Volume(array, Grid(array.shape, spacing, origin, unit))


def random_labels(shape, labels=4, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, labels, shape).astype(dtype)


def vote(values):
    names, counts = np.unique(values, return_counts=True)
    return names[counts.argmax()]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 5)] * 3), st.integers(1, 6))
def test_the_most_frequent_label_is_that_of_a_count(seed, cells, labels):
    rng = np.random.default_rng(seed)
    sizes = [rng.integers(1, 4, n) for n in cells]
    starts = [np.concatenate([[0], np.cumsum(s)[:-1]]) for s in sizes]
    block = rng.integers(0, labels, [s.sum() for s in sizes]).astype(np.uint64) * 2**62
    expected = np.empty(cells, np.uint64)
    for cell in np.ndindex(*cells):
        box = tuple(slice(a[i], a[i] + n[i]) for i, a, n in zip(cell, starts, sizes, strict=True))
        expected[cell] = vote(block[box])
    np.testing.assert_array_equal(most_frequent(block, starts), expected)


def test_truth_on_the_same_grid_is_taken_as_it_is():
    labels = random_labels((4, 5, 6))
    sampled = SampledTruth(volume(labels, (2, 1, 1)), Grid((4, 5, 6), (2, 1, 1)), classes=4)
    box = Box((1, 0, 2), (4, 3, 6))
    np.testing.assert_array_equal(sampled.read(box), labels[box.slices])


def test_units_do_not_matter():
    labels = random_labels((4, 5, 6))
    truth = volume(labels, (2e-3, 1e-3, 1e-3), unit="micrometer")
    grid = Grid((4, 5, 6), (2.0, 1.0, 1.0), unit="nanometer")
    np.testing.assert_array_equal(SampledTruth(truth, grid).read(grid.box), labels)


def test_coarser_truth_is_repeated():
    labels = random_labels((3, 2, 2))
    truth = volume(labels, (4.0, 4.0, 4.0))
    grid = truth.grid.resampled((4.0, 2.0, 1.0))
    expected = labels.repeat(2, axis=1).repeat(4, axis=2)
    np.testing.assert_array_equal(SampledTruth(truth, grid).read(grid.box), expected)


@pytest.mark.parametrize("budget", [1, 64, 2**25])
def test_finer_truth_votes_along_the_axes_on_which_it_is_finer(monkeypatch, budget):
    monkeypatch.setattr(module, "LARGEST_READ", budget)
    labels = random_labels((4, 6, 9))
    truth = volume(labels, (8.0, 4.0, 4.0))
    grid = truth.grid.resampled((8.0, 8.0, 12.0))
    expected = np.empty((4, 3, 3), np.uint8)
    for z, y, x in np.ndindex(4, 3, 3):
        expected[z, y, x] = vote(labels[z, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3])
    np.testing.assert_array_equal(SampledTruth(truth, grid, classes=4).read(grid.box), expected)


def test_truth_finer_by_less_than_two_is_sampled_at_the_centres():
    labels = random_labels((1, 1, 9))
    truth = volume(labels, (1.0, 1.0, 1.0))
    grid = truth.grid.resampled((1.0, 1.0, 1.5))
    # Centres at 0.25, 1.75, 3.25, 4.75, 6.25, 7.75
    expected = labels[:, :, [0, 2, 3, 5, 6, 8]]
    np.testing.assert_array_equal(SampledTruth(truth, grid).read(grid.box), expected)


@settings(max_examples=30)
@given(
    st.floats(0.3, 5.0),
    st.integers(1, 40),
    st.integers(1, 7),
)
def test_any_factor_samples_every_voxel_whatever_the_slabs(factor, count, planes):
    truth = volume(random_labels((count, 2, 2), seed=count), (1.0, 1.0, 1.0))
    grid = truth.grid.resampled((factor, 1.0, 1.0))
    sampled = SampledTruth(truth, grid)
    whole = sampled.read(grid.box)
    parts = [sampled.read(box) for box in grid.box.tiles((planes, 2, 2))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for i in range(grid.shape[0]):
        centre = truth.grid.index(grid.world((i, 0, 0)))[0]
        reach = factor / 2 + 0.51
        near = range(max(0, int(centre - reach)), min(count, int(centre + reach) + 2))
        assert whole[i, 0, 0] in truth.array[near, 0, 0]


@pytest.mark.parametrize(
    "grid",
    [
        Grid((6, 8, 8), (1.0, 1.0, 1.0)),
        Grid((8, 8, 8), (1.0, 1.0, 2.0)),
        Grid((8, 8, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 5.0)),
    ],
)
def test_truth_of_another_shape_or_place_is_refused_with_both(grid):
    truth = volume(random_labels((8, 8, 8)), (1.0, 1.0, 1.0))
    with pytest.raises(SourceError, match=r"truth\.tif .*cover the same region.*8 x 8 x 8") as e:
        SampledTruth(truth, grid)
    assert str(grid) in str(e.value)


def test_an_extent_that_differs_by_one_voxel_is_accepted():
    truth = volume(random_labels((7, 8, 8)), (1.0, 1.0, 1.0))
    grid = Grid((8, 8, 8), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(SampledTruth(truth, grid).read(grid.box)[7], truth.array[6])


@pytest.mark.parametrize(
    ("value", "dtype", "listed"),
    [
        (254, np.uint8, "254"),
        (-1, np.int16, "-1"),
        (0.5, np.float32, "0.5"),
        (np.nan, float, "nan"),
    ],
)
def test_values_that_are_no_classes_are_listed(value, dtype, listed):
    labels = random_labels((2, 3, 4), labels=2, dtype=dtype)
    labels[1, 1, 1] = value
    grid = Grid((2, 3, 4), (1.0, 1.0, 1.0))
    with pytest.raises(SourceError, match=rf"truth\.tif holds {listed} .*classes are 0 to 1"):
        SampledTruth(Volume(labels, grid), grid, classes=2).read(grid.box)


def test_object_ids_may_be_large_but_not_negative():
    grid = Grid((1, 1, 2), (1.0, 1.0, 1.0))
    ids = np.array([[[2**63 - 1, 2**62]]], np.uint64)
    np.testing.assert_array_equal(SampledTruth(Volume(ids, grid), grid).read(grid.box), ids)
    with pytest.raises(SourceError, match=r"holds -3 .*whole numbers"):
        SampledTruth(Volume(np.array([[[1, -3]]]), grid), grid).read(grid.box)


@dataclass(frozen=True)
class Marked(Volume):
    ignored: int | None = None
    background: int | None = None


def test_what_nobody_has_labelled_counts_neither_way():
    labels = random_labels((4, 5, 6))
    grid = Grid((4, 5, 6), (1, 1, 1))
    marked = np.where(labels == 3, np.uint8(255), labels)
    found = SampledTruth(Volume(marked, grid), grid, classes=3).read(grid.box)
    np.testing.assert_array_equal(found, np.where(labels == 3, module.IGNORED, labels))
    stated = np.where(labels == 3, -1, labels.astype(np.int16))
    found = SampledTruth(Marked(stated, grid, ignored=-1), grid, classes=3).read(grid.box)
    np.testing.assert_array_equal(found, np.where(labels == 3, module.IGNORED, labels))


def test_marks_of_programs_are_no_objects():
    ids = np.array([[[7, 2**64 - 1]]], np.uint64)
    grid = Grid((1, 1, 2), (1, 1, 1))
    with pytest.raises(SourceError, match=r"holds 18446744073709551615 .*truth_background="):
        SampledTruth(Volume(ids, grid), grid).read(grid.box)
    nothing = SampledTruth(Marked(ids, grid, background=2**64 - 1), grid).read(grid.box)
    np.testing.assert_array_equal(nothing, [[[7, 0]]])
    ignored = SampledTruth(Marked(ids, grid, ignored=2**64 - 1), grid).read(grid.box)
    np.testing.assert_array_equal(ignored, [[[7, module.IGNORED_ID]]])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 1.0), (2.0, 1.0, 1.0)])
def test_a_truth_of_a_part_is_known_there_alone(spacing, caplog):
    grid = Grid((8, 9, 10), (1.0, 1.0, 1.0))
    shape = [round(n / s) for n, s in zip((4, 4, 5), spacing, strict=True)]
    origin = [2 - 0.5 + spacing[0] / 2, 3 - 0.5 + spacing[1] / 2, 4.0]
    truth = Volume(np.ones(shape, np.uint8), Grid(tuple(shape), spacing, tuple(origin)))
    sampled = SampledTruth(truth, grid, classes=2)
    expected = np.full(grid.shape, module.IGNORED)
    expected[2:6, 3:7, 4:9] = 1
    np.testing.assert_array_equal(sampled.read(grid.box), expected)
    box = Box((0, 5, 2), (3, 9, 6))
    np.testing.assert_array_equal(sampled.read(box), expected[box.slices])
    assert "11.1 % of its voxels" in caplog.text
