"""Windows cover every voxel; shards divide the windows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import GridError
from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout, axis_starts

quick = settings(max_examples=30)
layouts = st.builds(
    lambda shape, window, overlap: Layout.regular(shape, window, overlap=overlap),
    st.tuples(*[st.integers(1, 30)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.floats(0, 0.9),
)


@quick
@given(layouts)
def test_windows_cover_every_voxel_and_leave_no_large_volume(layout: Layout) -> None:
    covered = np.zeros(layout.shape, dtype=bool)
    whole = Box.whole(layout.shape)
    for box in layout.windows():
        assert box.shape == layout.window
        covered[box.intersection(whole).slices] = True
        for a, b, n, w in zip(box.start, box.stop, layout.shape, layout.window, strict=True):
            assert (a >= 0 and b <= n) or w > n
    assert covered.all()


@quick
@given(st.integers(1, 200), st.integers(1, 50), st.floats(0, 0.95))
def test_neighbours_overlap_by_the_stated_share_at_least(
    count: int, window: int, overlap: float
) -> None:
    step = max(1, round(window * (1 - overlap)))
    starts = Layout.regular((count,) * 3, (window,) * 3, overlap=overlap).starts[0]
    assert starts == axis_starts(count, window, step)
    steps = np.diff(starts)
    assert (steps >= 1).all()
    assert (steps <= step).all()
    assert (steps[:-1] == step).all()
    if window < count:
        assert starts[0] == 0
        assert starts[-1] == count - window


def test_a_window_longer_than_the_axis_is_centred_on_it() -> None:
    assert axis_starts(10, 16, 8) == (-3,)
    assert axis_starts(11, 16, 8) == (-2,)
    assert axis_starts(16, 16, 8) == (0,)


def test_a_stride_says_where_windows_lie_and_leaves_no_voxel_out() -> None:
    layout = Layout.strided((20, 33, 40), (16, 16, 16), stride=(16, 8, 12))
    assert layout.starts == ((0, 4), (0, 8, 16, 17), (0, 12, 24))
    assert layout == Layout.from_dict(layout.to_dict())
    for stride in ((17, 8, 8), (0, 8, 8)):
        with pytest.raises(GridError, match="at least 1 and at most the window"):
            Layout.strided((20, 33, 40), (16, 16, 16), stride=stride)


@quick
@given(layouts, st.integers(1, 40))
def test_shards_hold_every_window_once_for_any_count(layout: Layout, count: int) -> None:
    parts = layout.shards(count)
    assert len(parts) == count
    held = np.zeros(layout.lattice.shape, dtype=int)
    for part in parts:
        held[part.slices] += 1
    assert (held == 1).all()
    windows = [box for part in parts if part.size for box in layout.windows(part)]
    assert sorted(windows, key=lambda b: b.start) == list(layout.windows())


def test_shards_share_the_windows_evenly() -> None:
    layout = Layout.regular((1, 64, 64), (1, 8, 8), overlap=0)
    assert {part.size for part in layout.shards(4)} == {16}
    sizes = [part.size for part in layout.shards(5)]
    assert max(sizes) <= 2 * min(sizes)


def test_more_shards_than_windows_leaves_some_empty() -> None:
    layout = Layout.regular((4, 4, 4), (4, 4, 4), overlap=0)
    assert sorted(part.size for part in layout.shards(5)) == [0, 0, 0, 0, 1]


@quick
@given(layouts, st.data())
def test_touching_names_the_windows_that_reach_a_box(layout: Layout, data: st.DataObject) -> None:
    start = data.draw(st.tuples(*[st.integers(0, n - 1) for n in layout.shape]))
    shape = [data.draw(st.integers(1, n - a)) for a, n in zip(start, layout.shape, strict=True)]
    box = Box.sized(start, shape)
    wanted = [w for w in layout.windows() if w.intersection(box).size]
    assert list(layout.windows(layout.touching(box))) == wanted


@quick
@given(layouts, st.integers(1, 6))
def test_covered_is_the_voxels_of_a_parts_windows(layout: Layout, count: int) -> None:
    for part in layout.shards(count):
        if part.size:
            seen = np.zeros(layout.shape, dtype=bool)
            for box in layout.windows(part):
                seen[box.intersection(Box.whole(layout.shape)).slices] = True
            assert seen[layout.covered(part).slices].all()
            assert seen.sum() == layout.covered(part).size


@quick
@given(layouts)
def test_a_layout_survives_json(layout: Layout) -> None:
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_an_impossible_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(GridError, match=f"overlap {overlap} must be at least 0 and less than 1"):
        Layout.regular((8, 8, 8), (4, 4, 4), overlap=overlap)
