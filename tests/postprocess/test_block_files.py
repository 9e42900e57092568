"""What the jobs of a volume's blocks pass on to each other."""

import numpy as np
import pytest

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.postprocess.segmentation.block_components import Block, Margin, scan_block
from parafovea.postprocess.segmentation.block_files import (
    PartFolder,
    label_blocks,
    load_components,
    load_surface,
    save_components,
    save_surface,
)
from parafovea.postprocess.segmentation.clean import SmallComponents
from parafovea.storage.blocks import LABEL_SHARD
from parafovea.storage.store import create


def test_blocks_of_labels_are_whole_files_that_cover_the_volume_once():
    grid = Grid((130, 300, 600), (1.0, 1.0, 1.0))
    seen = np.zeros(grid.shape, np.uint8)
    for block in label_blocks(grid, 7):
        seen[block.box.slices] += 1
        assert all(start % n == 0 for start, n in zip(block.box.start, LABEL_SHARD, strict=True))
    assert (seen == 1).all()


def test_components_and_margin_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 3, (6, 6, 6)).astype(np.uint8)
    block = Block(Box((2, 0, 2), (6, 4, 6)), (6, 6, 6), (2, 2, 2))
    read = lambda box: values[box.slices]  # noqa: E731
    step = SmallComponents([2, 2], 26)
    margin = Margin.read(block, read)
    found = scan_block(step, read, block, margin)
    save_components(tmp_path / "c.npz", found, margin)
    save_surface(tmp_path / "s.npz", found.surface())
    again, beside = load_components(tmp_path / "c.npz", step, block)
    np.testing.assert_array_equal(beside.values, margin.values)
    for name in ("ids", "counts", "position", "component"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    surface = load_surface(tmp_path / "s.npz", step)
    for table, loaded in ((found.table, again.table), (found.surface().table, surface.table)):
        assert type(loaded) is type(table)
        for name, column in table.columns().items():
            np.testing.assert_array_equal(loaded.columns()[name], column)
            assert loaded.columns()[name].dtype == column.dtype


@pytest.fixture
def parts(tmp_path):
    """Return a volume and the parts of its three blocks, of which one is empty."""
    values = np.arange(4 * 4 * 6, dtype=np.uint32).reshape(4, 4, 6)
    boxes = [Box((0, 0, 0), (4, 4, 2)), Box((0, 0, 2), (4, 4, 2)), Box((0, 0, 2), (4, 4, 6))]
    grid = Grid(values.shape, (1.0, 1.0, 1.0))
    for number, box in enumerate(boxes, start=1):
        with create(tmp_path / f"{number}.zarr", grid, dtype=np.uint32, sparse=True) as array:
            array[box.slices] = values[box.slices]
    blocks = [Block(box, values.shape, (4, 4, 2)) for box in boxes]
    return values, PartFolder(tmp_path, blocks)


def test_a_box_is_read_from_all_parts_that_it_lies_in(parts):
    values, folder = parts
    for box in (Box((1, 1, 0), (3, 4, 2)), Box((0, 2, 1), (4, 3, 5)), Box.whole((4, 4, 6))):
        np.testing.assert_array_equal(folder.read(box), values[box.slices])


def test_a_missing_part_is_an_error_where_it_is_read(parts, tmp_path):
    _, folder = parts
    (tmp_path / "3.zarr" / "zarr.json").unlink()
    folder.read(Box((0, 0, 0), (1, 1, 1)))
    with pytest.raises(StoreError, match=r"3\.zarr is not a complete result"):
        folder.read(Box((0, 0, 3), (1, 1, 4)))
