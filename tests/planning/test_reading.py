"""What windows compute and read is counted as the engine really does it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import smooth_volume, store_volume

from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout
from parafovea.inference.window_loop import predicted
from parafovea.planning.amplification import amplification
from parafovea.storage.blocks import CHUNK
from parafovea.storage.store import open_stored

axis = st.integers(1, 7)


class Reader:
    """Counts the voxels of all chunks that regions touch."""

    def __init__(self, shape, chunk):
        self.shape, self.chunk, self.read_voxels = shape, chunk, 0

    def read(self, box):
        touched = np.zeros(self.shape, bool)
        touched[box.intersection(Box.whole(self.shape)).slices] = True
        for tile in Box.whole(self.shape).tiles(self.chunk):
            self.read_voxels += tile.size if touched[tile.slices].any() else 0
        return box


class Counter:
    batch_size = 1

    def __init__(self):
        self.voxels = 0

    def __call__(self, region, boxes):
        self.voxels += sum(box.size for box in boxes)
        return np.zeros((len(boxes), 1, 1, 1, 1), np.float32)


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(3, 40), st.integers(3, 24), st.integers(3, 24)),
    window=st.tuples(st.sampled_from([1, 8, 40]), axis, axis),
    chunk=st.tuples(axis, axis, axis),
    shards=st.integers(1, 4),
    overlap=st.sampled_from([0.0, 0.5]),
)
def test_the_engine_computes_and_reads_as_often_as_is_planned(
    shape, window, chunk, shards, overlap
):
    layout = Layout.regular(shape, window, overlap=overlap)
    reader, counter = Reader(shape, chunk), Counter()
    for part in layout.shards(shards):
        for _ in predicted(reader, counter, layout, part):
            pass
    planned = amplification(layout, shards, chunk)
    size = np.prod(shape)
    assert planned.computed == pytest.approx(counter.voxels / size)
    assert planned.read == pytest.approx(reader.read_voxels / size)


def test_a_chunk_is_that_of_a_stored_volume(tmp_path):
    voxels = smooth_volume((40, 80, 80))
    stored = open_stored(store_volume(tmp_path / "volume.ome.zarr", voxels))
    assert stored.array.chunks == CHUNK


def test_planes_of_a_flat_network_are_read_a_chunk_at_a_time():
    flat = Layout.regular((64, 256, 256), (1, 128, 128), overlap=0)
    assert amplification(flat, 1).read == 1
