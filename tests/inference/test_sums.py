"""Fixed-point sums: one result in whatever order, memory or number of shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout
from parafovea.inference import sums as sums_module
from parafovea.inference.sums import TileSums, aligned, tiled

TILE = (4, 8, 8)


@pytest.fixture(autouse=True, scope="module")
def small_tiles() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums_module, "TILE", TILE)
        yield


def summed(
    layout: Layout, parts: list[Box], windows: list[tuple[Box, NDArray[np.int64]]]
) -> NDArray[np.int64]:
    """Return the sums over the volume, through tiles on disk."""
    region = aligned(layout.covered(parts[0].union(parts[-1])))
    array = zarr.create_array({}, shape=(2, *region.shape), chunks=(2, *TILE), dtype=np.int64)
    sums = TileSums(array, region, layout, parts)
    for box, values in windows:
        sums.add(box, values)
    assert not sums._held
    total = np.zeros((2, *layout.shape), dtype=np.int64)
    inside = region.intersection(Box.whole(layout.shape))
    total[(slice(None), *inside.slices)] = np.asarray(array[:])[
        (slice(None), *inside.relative_to(region.start).slices)
    ]
    return total


def drawn_windows(layout: Layout, part: Box, seed: int) -> list[tuple[Box, NDArray[np.int64]]]:
    rng = np.random.default_rng(seed)
    boxes = [box.intersection(Box.whole(layout.shape)) for box in layout.windows(part)]
    return [(box, rng.integers(0, 2**48, (2, *box.shape))) for box in boxes]


@settings(max_examples=20)
@given(
    st.tuples(st.integers(2, 10), st.integers(4, 20), st.integers(4, 20)),
    st.tuples(st.integers(3, 6), st.integers(5, 12), st.integers(5, 12)),
    st.floats(0, 0.5),
    st.integers(0, 99),
)
def test_windows_that_come_part_by_part_give_the_bits_of_the_plain_sum(
    shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float, seed: int
) -> None:
    layout = Layout.regular(shape, window, overlap=overlap)
    rng = np.random.default_rng(seed)
    plain = np.zeros((2, *shape), dtype=np.int64)
    drawn = []
    parts = list(layout.lattice.tiles((layout.lattice.shape[0], 2, 1)))
    for part in parts:
        windows = drawn_windows(layout, part, seed)
        for box, values in windows:
            plain[(slice(None), *box.slices)] += values
        rng.shuffle(windows)  # type: ignore[arg-type]
        drawn += windows
    np.testing.assert_array_equal(summed(layout, parts, drawn), plain)


@settings(max_examples=20)
@given(st.integers(0, 99), st.floats(0, 1), st.integers(1, 2))
def test_windows_that_are_left_out_add_nothing_and_nobody_waits_for_them(
    seed: int, share: float, views: int
) -> None:
    layout = Layout.regular((9, 25, 30), (6, 12, 16), overlap=0.5)
    wanted = np.random.default_rng(seed).random(layout.lattice.shape) < share
    region = aligned(layout.covered(layout.lattice))
    array = zarr.create_array({}, shape=(2, *region.shape), chunks=(2, *TILE), dtype=np.int64)
    parts = list(layout.lattice.tiles((layout.lattice.shape[0], 2, 1))) * views
    sums = TileSums(array, region, layout, parts, wanted)
    plain = np.zeros((2, *region.shape), dtype=np.int64)
    for part in parts:
        for (box, values), chosen in zip(
            drawn_windows(layout, part, seed), wanted[part.slices].flat, strict=True
        ):
            if chosen:
                sums.add(box, values)
                plain[(slice(None), *box.slices)] += values
    assert not sums._held
    np.testing.assert_array_equal(np.asarray(array[:]), plain)


def test_the_sums_of_shards_add_up_to_those_of_the_whole() -> None:
    layout = Layout.regular((9, 25, 30), (6, 12, 16), overlap=0.5)
    windows = drawn_windows(layout, layout.lattice, 0)
    whole = summed(layout, [layout.lattice], windows)
    known = dict(windows)
    parts = np.zeros_like(whole)
    for part in layout.shards(4):
        own = [b.intersection(Box.whole(layout.shape)) for b in layout.windows(part)]
        parts += summed(layout, [part], [(b, known[b]) for b in own])
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("depth", [8, 80])
def test_tiles_in_memory_do_not_grow_with_the_depth_of_the_volume(depth: int) -> None:
    layout = Layout.regular((depth, 16, 24), (4, 8, 8), overlap=0.5)
    region = aligned(layout.covered(layout.lattice))
    array = zarr.create_array({}, shape=(2, *region.shape), chunks=(2, *TILE), dtype=np.int64)
    parts = list(layout.lattice.tiles((layout.lattice.shape[0], 2, 2)))
    sums = TileSums(array, region, layout, parts)
    for part in parts:
        for box, values in drawn_windows(layout, part, 0):
            sums.add(box, values)
            assert len(sums._held) <= 2 * 2 * 2


@pytest.mark.parametrize(
    ("box", "tiles"),
    [
        (Box((0, 0, 0), (1, 1, 1)), Box((0, 0, 0), (1, 1, 1))),
        (Box((3, 7, 8), (5, 8, 9)), Box((0, 0, 1), (2, 1, 2))),
        (Box((4, 8, 0), (8, 16, 16)), Box((1, 1, 0), (2, 2, 2))),
    ],
)
def test_tiles_are_those_that_a_box_touches(box: Box, tiles: Box) -> None:
    assert tiled(box) == tiles
    assert aligned(box) == tiles.scaled(TILE)


def test_a_shard_reaches_the_disk(tmp_path: Path) -> None:
    layout = Layout.regular((5, 6, 6), (4, 4, 4), overlap=0.5)
    windows = drawn_windows(layout, layout.lattice, 3)
    region = aligned(Box.whole(layout.shape))
    array = zarr.create_array(
        tmp_path / "sums.zarr", shape=(2, *region.shape), chunks=(2, *TILE), dtype=np.int64
    )
    sums = TileSums(array, region, layout, [layout.lattice])
    for box, values in windows:
        sums.add(box, values)
    read = np.asarray(zarr.open_array(tmp_path / "sums.zarr", mode="r")[:])
    assert read[:, :5, :6, :6].sum() == sum(values.sum() for _, values in windows)
    assert not read[:, 5:].any()
