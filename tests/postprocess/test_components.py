import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.postprocess.segmentation.components import ComponentScan, slabs


def labelled(values, planes, connectivity):
    """Return the components of a whole array and their table, through slabs."""
    scan = ComponentScan(connectivity)
    added = [scan.add(values[box.slices]) for box in slabs(values.shape, planes)]
    found = scan.finish()
    names = np.concatenate([[0], found.ids])
    parts = [np.where(labels, names[labels + offset], 0) for labels, offset in added]
    return np.concatenate(parts), found.table


volumes = st.builds(
    lambda seed, shape, share, classes: (
        (rng := np.random.default_rng(seed)).integers(1, classes + 1, shape)
        * (rng.random(shape) < share)
    ).astype(np.uint8),
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from([0.0, 0.2, 0.45, 0.8, 1.0]),
    st.integers(1, 3),
)


@settings(deadline=None, max_examples=30)
@given(volumes, st.integers(1, 5), st.sampled_from([6, 18, 26]))
def test_one_slab_and_many_give_identical_components_and_measures(values, planes, connectivity):
    whole, whole_table = labelled(values, len(values), connectivity)
    parts, parts_table = labelled(values, planes, connectivity)
    np.testing.assert_array_equal(parts, whole)
    for name in ("value", "voxels", "first", "sums", "start", "stop"):
        np.testing.assert_array_equal(getattr(parts_table, name), getattr(whole_table, name))


@settings(deadline=None, max_examples=30)
@given(volumes, st.sampled_from([6, 18, 26]))
def test_components_are_those_of_the_whole_volume_in_scan_order(values, connectivity):
    found, table = labelled(values, 2, connectivity)
    expected, count = cc3d.connected_components(values, connectivity=connectivity, return_N=True)
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(found)) == len(np.unique(expected))
    assert len(table) == count
    _, first = np.unique(found.ravel()[found.ravel() > 0], return_index=True)
    assert (np.diff(first) > 0).all()


@settings(deadline=None, max_examples=30)
@given(volumes, st.integers(1, 4))
def test_the_table_measures_each_component(values, planes):
    found, table = labelled(values, planes, 26)
    for row in range(len(table)):
        where = np.argwhere(found == row + 1)
        assert table.voxels[row] == len(where)
        assert table.sums[row].tolist() == where.sum(axis=0).tolist()
        assert table.start[row].tolist() == where.min(axis=0).tolist()
        assert table.stop[row].tolist() == (where.max(axis=0) + 1).tolist()
        assert table.first[row] == np.ravel_multi_index(where[0], values.shape)
        assert table.value[row] == values[tuple(where[0])]


@pytest.mark.parametrize(("connectivity", "count"), [(6, 4), (18, 3), (26, 2)])
def test_connectivity_decides_over_slab_faces_too(connectivity, count):
    values = np.zeros((2, 5, 5), np.uint8)
    values[0, 0, 0] = values[1, 1, 1] = 1  # share a corner
    values[0, 4, 3] = values[1, 4, 4] = 1  # share an edge
    assert len(labelled(values, 1, connectivity)[1]) == count


def test_voxels_of_different_classes_are_never_connected():
    values = np.array([[[1, 2]], [[2, 2]]], np.uint8)
    assert labelled(values, 1, 26)[0].tolist() == [[[1, 2]], [[2, 2]]]
