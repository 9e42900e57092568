import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_blocks import EIGHTHS, divided, partitions, tiles

from parafovea.postprocess.segmentation.block_components import (
    Margin,
    scan_block,
    unite,
)
from parafovea.postprocess.segmentation.objects import Objects

volumes = st.builds(
    lambda seed, shape, share, classes: (
        (rng := np.random.default_rng(seed)).integers(1, classes + 1, shape)
        * (rng.random(shape) < share)
    ).astype(np.uint8),
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([0.0, 0.2, 0.45, 0.8, 1.0]),
    st.integers(1, 3),
)
connectivities = st.sampled_from([6, 18, 26])


def labelled(values, tile, cuts, connectivity):
    """Return the components of a whole array and their table, through blocks."""
    step = Objects([True] * 3, connectivity)
    read = lambda box: values[box.slices]  # noqa: E731
    blocks = divided(values.shape, tile, cuts)
    found = [
        scan_block(step, inside(block, read), block, Margin.read(block, read)) for block in blocks
    ]
    rows, table = unite([each.surface(complete=True) for each in found])
    order = np.argsort(table.first)
    ids = np.empty(len(table), np.int64)
    ids[order] = np.arange(1, len(table) + 1)
    labels = np.zeros(values.shape, np.int64)
    for block, components, row in zip(blocks, found, rows, strict=True):
        names = np.concatenate([[0], ids[row]])
        for place, box in enumerate(block.tiles):
            local, _ = step.label(values[box.slices])
            labels[box.slices] = names[components.lookup(place)][local]
    return labels, table.take(order)


def inside(block, read):
    """Return a function that reads boxes of a block alone."""

    def checked(box):
        assert block.box.intersection(box) == box
        return read(box)

    return checked


@settings(max_examples=80)
@given(volumes, tiles, partitions, connectivities)
def test_components_are_those_of_the_whole_volume_in_scan_order(values, tile, cuts, connectivity):
    found, table = labelled(values, tile, cuts, connectivity)
    expected, number = cc3d.connected_components(values, connectivity=connectivity, return_N=True)
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(found)) == len(np.unique(expected))
    assert len(table) == number
    _, first = np.unique(found.ravel()[found.ravel() > 0], return_index=True)
    assert (np.diff(first) > 0).all()


@settings(max_examples=30)
@given(volumes, tiles, partitions)
def test_the_table_measures_each_component(values, tile, cuts):
    found, table = labelled(values, tile, cuts, 26)
    for row in range(len(table)):
        where = np.argwhere(found == row + 1)
        assert table.voxels[row] == len(where)
        assert table.sums[row].tolist() == where.sum(axis=0).tolist()
        assert table.start[row].tolist() == where.min(axis=0).tolist()
        assert table.stop[row].tolist() == (where.max(axis=0) + 1).tolist()
        assert table.first[row] == np.ravel_multi_index(where[0], values.shape)
        assert table.value[row] == values[tuple(where[0])]


@pytest.mark.parametrize(("connectivity", "count"), [(6, 5), (18, 4), (26, 3)])
@pytest.mark.parametrize("cuts", [[], EIGHTHS])
def test_connectivity_decides_over_faces_edges_and_corners_of_blocks(connectivity, count, cuts):
    values = np.zeros((4, 4, 4), np.uint8)
    values[1, 1, 2] = values[2, 2, 1] = 1  # share a corner
    values[1, 0, 3] = values[2, 0, 3] = 2  # share a face
    values[2, 1, 0] = values[1, 2, 0] = 3  # share an edge
    found, table = labelled(values, (2, 2, 2), cuts, connectivity)
    assert len(table) == found.max() == count


def test_a_block_knows_other_blocks_by_a_margin_of_one_voxel():
    blocks = divided((8, 8, 8), (2, 2, 2), EIGHTHS)
    for block in blocks:
        near = block.box.expanded((1, 1, 1))
        assert all(near.intersection(piece) == piece for piece in block.margin)
        assert all(not block.box.intersection(piece).size for piece in block.margin)
    assert divided((8, 8, 8), (2, 2, 2), [])[0].margin == []


def test_components_within_a_block_are_no_business_of_others():
    values = np.zeros((4, 4, 8), np.uint8)
    values[0, 0, 0] = values[0, 0, 7] = 1
    values[2, 2, 3:5] = 1
    read = lambda box: values[box.slices]  # noqa: E731
    step = Objects([True], 26)
    for block in divided(values.shape, (4, 4, 2), [(0, 2, 0.5)]):
        found = scan_block(step, read, block, Margin.read(block, read))
        assert (len(found.table), len(found.surface().table)) == (2, 1)
