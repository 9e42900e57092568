"""What the settings of inference allow together, and what they mean for the windows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_sample import tiny_recipe, tiny_spec

from parafovea.errors import GridError
from parafovea.geometry.grid import Box
from parafovea.inference.window_plan import planned_layout
from parafovea.settings.inference import InferenceSettings

quick = settings(max_examples=50)
SPEC = tiny_spec(tiny_recipe(context=False))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"stride": (16, 16, 16)},
        {"stride": (16, 16, 16), "overlap": None},
        {"mode": "whole_volume"},
        {"overlap": 0.25, "sigma": 0.1},
    ],
)
def test_settings_survive_the_way_through_a_rule(values: dict[str, Any]) -> None:
    chosen = InferenceSettings(**values)
    assert InferenceSettings(**chosen.model_dump(mode="json")) == chosen


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"overlap": 0.5, "stride": (8, 8, 8)}, "overlap .* and stride .* both .* null"),
        ({"overlap": None}, "neither overlap nor stride"),
        ({"window": (16, 16, 16), "stride": (8, 17, 8)}, "larger than the window"),
        ({"mode": "whole_volume", "overlap": 0.5}, "one window, but overlap .* sliding_window"),
        ({"mode": "whole_volume", "window": (16, 16, 16)}, "one window, but window"),
        ({"blending": "bump", "sigma": 0.2}, "does not apply to blending bump.*gaussian_radial"),
        # weights of one that is narrower would be no numbers
        ({"sigma": 1e-300}, "sigma .1e-300. is a share of the window, in 0.001 to 1000"),
        ({"sigma": 1e300}, "sigma .1e.300. is a share of the window, in 0.001 to 1000"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_fix(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        InferenceSettings(**values)


def test_a_stride_that_leaves_gaps_in_the_models_own_window_is_refused() -> None:
    with pytest.raises(GridError, match=r"\(17, 8, 8\) must .* at most the window \(16, 32, 32\)"):
        planned_layout((40, 40, 40), SPEC, InferenceSettings(stride=(17, 8, 8)))


def test_overlap_is_a_stride() -> None:
    shape = (40, 70, 50)
    strided = planned_layout(shape, SPEC, InferenceSettings(stride=(8, 16, 16)))
    assert strided == planned_layout(shape, SPEC, InferenceSettings(overlap=0.5))


@quick
@given(st.tuples(*[st.integers(1, 70)] * 3))
def test_a_whole_volume_is_one_window_of_a_multiple_of_16(shape: tuple[int, int, int]) -> None:
    (window,) = planned_layout(shape, SPEC, InferenceSettings(mode="whole_volume")).windows()
    assert window.union(Box.whole(shape)) == window
    assert all(w % 16 == 0 and 0 <= w - n < 16 for w, n in zip(window.shape, shape, strict=True))


def test_a_whole_volume_of_a_flat_network_is_a_window_a_section() -> None:
    spec = tiny_spec(tiny_recipe(dimensions=2, context=False))
    windows = list(
        planned_layout((5, 20, 33), spec, InferenceSettings(mode="whole_volume")).windows()
    )
    assert [w.start[0] for w in windows] == [0, 1, 2, 3, 4]
    assert {w.shape for w in windows} == {(1, 32, 48)}
