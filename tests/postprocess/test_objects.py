"""Numbering of whole and split objects, and of the objects of blocks."""

import numpy as np
import pytest
from label_blocks import EIGHTHS, divided

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.block_components import Margin, scan_block, unite
from parafovea.postprocess.segmentation.objects import (
    BlockIds,
    Objects,
    Pieces,
    first_owner,
    number_pieces,
    number_wholes,
)
from parafovea.postprocess.segmentation.region_table import RegionTable
from parafovea.postprocess.segmentation.split import split_wholes
from parafovea.settings.postprocess import ClassSettings

SPLIT = (ClassSettings(split_distance=4.0), ClassSettings())
TILE = (4, 4, 4)


def touching_balls():
    """Return two touching balls of class 1 that lie in all eight blocks, and one of class 2."""
    z, y, x = np.mgrid[:16, :16, :24]
    values = np.zeros((16, 16, 24), np.uint8)
    for centre in (7, 15):
        values[(z - 8) ** 2 + (y - 8) ** 2 + (x - centre) ** 2 <= 25] = 1
    values[:3, :3, 20:] = 2
    return values


def numbered(values, cuts, settings=SPLIT, *, lost=False):
    """Return the ids of all voxels, their table, and the blocks that split their objects."""
    step = Objects([s.instances for s in settings], 26)
    read = lambda box: values[box.slices]  # noqa: E731
    blocks = divided(values.shape, TILE, cuts)
    found = [scan_block(step, read, block, Margin.read(block, read)) for block in blocks]
    rows, table = unite([each.surface(complete=True) for each in found])
    rows, wholes = number_wholes(rows, table, spacing=(1.0, 1.0, 1.0), settings=settings)
    owner = first_owner(wholes.table.take(wholes.split), blocks)
    arrays = {number: np.zeros(values.shape, np.uint32) for number in set(owner.tolist())}
    parts = [
        split_wholes(
            wholes.table.take(wholes.split[owner == number]),
            wholes.split[owner == number],
            read,
            array,
            shape=values.shape,
            spacing=(1.0, 1.0, 1.0),
            settings=settings,
            connectivity=26,
        )
        for number, array in arrays.items()
    ]
    if lost:
        for array in arrays.values():
            array[:, :, 16:] = 0
    row = np.concatenate([np.zeros(0, np.int64), *(part.row for part in parts)])
    pieces = Pieces(row, RegionTable.joined(part.table for part in parts))
    owners = np.repeat(list(arrays), [len(part.row) for part in parts])
    numbering = number_pieces(wholes, pieces)
    ids = np.zeros(values.shape, np.uint32)
    for block, components, own in zip(blocks, found, rows, strict=True):
        names = BlockIds.of(own, numbering, pieces, owners)
        for box, part in names.numbered(
            step, components, block, read, lambda n, box: arrays[n][box.slices]
        ):
            ids[box.slices] = part
    return ids, numbering.table, owner


@pytest.mark.parametrize("cuts", [[], EIGHTHS])
def test_a_split_object_gets_its_pieces_in_every_block_that_it_spans(cuts):
    values = touching_balls()
    ids, table, _ = numbered(values, cuts)
    np.testing.assert_array_equal(ids > 0, values > 0)
    assert len(table) == 3
    balls = np.unique(ids[values == 1])
    assert len(balls) == 2
    assert len(np.unique(ids[:, :, :8][values[:, :, :8] == 1])) == 1
    for row in range(3):
        where = np.argwhere(ids == row + 1)
        assert table.voxels[row] == len(where)
        assert table.first[row] == np.ravel_multi_index(where[0], values.shape)
        assert table.start[row].tolist() == where.min(axis=0).tolist()


def test_ids_do_not_depend_on_blocks():
    values = touching_balls()
    np.testing.assert_array_equal(numbered(values, [])[0], numbered(values, EIGHTHS)[0])


def test_an_object_is_split_by_the_block_of_its_first_voxel():
    values = touching_balls()
    _, _, owner = numbered(values, EIGHTHS)
    blocks = divided(values.shape, TILE, EIGHTHS)
    z, y, x = np.argwhere(values == 1)[0]
    voxel = Box.sized((int(z), int(y), int(x)), (1, 1, 1))
    holders = [n for n, b in enumerate(blocks, start=1) if b.box.intersection(voxel) == voxel]
    assert owner.tolist() == holders


def test_pieces_that_were_lost_are_an_error():
    with pytest.raises(StoreError, match=r"pieces of objects that block \d split"):
        numbered(touching_balls(), EIGHTHS, lost=True)


def test_classes_without_objects_have_no_ids():
    values = touching_balls()
    ids, table, _ = numbered(values, EIGHTHS, (ClassSettings(instances=False), ClassSettings()))
    np.testing.assert_array_equal(ids > 0, values == 2)
    assert table.value.tolist() == [2]


def test_a_volume_without_objects_has_an_empty_table():
    ids, table, owner = numbered(np.zeros((8, 8, 8), np.uint8), EIGHTHS)
    assert not ids.any()
    assert (len(table), len(owner)) == (0, 0)
