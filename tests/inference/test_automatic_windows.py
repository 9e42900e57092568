"""`window: auto` and `overlap: auto`: windows that fit, cover, and compute little twice."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import tiny_recipe, tiny_spec

from parafovea.geometry.grid import Box
from parafovea.inference.automatic_windows import LARGEST, LONGEST, OVERLAP
from parafovea.inference.window_plan import planned_layout, window_bytes
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe

quick = settings(max_examples=60)
SPEC = tiny_spec(tiny_recipe(context=False))
PLAIN = SPEC.model_dump(include=set(Recipe.model_fields))
AUTO = InferenceSettings()


def with_network(**values: Any) -> Recipe:
    network = {**SPEC.network.model_dump(), **values}
    return Recipe.model_validate({**PLAIN, "network": network})


WIDE = with_network(base_channels=16, max_channels=48)


@quick
@given(st.tuples(*[st.integers(1, 3000)] * 3))
def test_automatic_windows_fit_the_network_and_compute_no_more_than_its_own(
    shape: tuple[int, int, int],
) -> None:
    layout = planned_layout(shape, WIDE, AUTO)
    assert all(side % 16 == 0 and side <= LONGEST for side in layout.window)
    assert math.prod(layout.window) <= LARGEST / 16
    own = planned_layout(shape, WIDE, InferenceSettings(window=None))
    computed = [each.lattice.size * math.prod(each.window) for each in (layout, own)]
    assert computed[0] <= computed[1]
    for starts, side, count in zip(layout.starts, layout.window, shape, strict=True):
        assert len(starts) == 1 or starts[0] == 0
        assert starts[-1] + side >= count
        steps = [b - a for a, b in pairwise(starts)]
        assert all(step <= side - min(OVERLAP, side // 2) for step in steps)


def test_a_volume_that_fits_is_one_window_and_a_large_one_takes_the_largest() -> None:
    (only,) = planned_layout((80, 90, 100), WIDE, AUTO).windows()
    assert only == Box((0, -3, -6), (80, 93, 106))
    assert planned_layout((4096, 4096, 4096), WIDE, AUTO).window == (96, 96, 96)


def test_a_network_of_twice_the_channels_gets_windows_of_the_same_memory() -> None:
    doubled = with_network(base_channels=32, max_channels=48)
    shape = (4096, 4096, 4096)
    for recipe in (WIDE, doubled):
        assert 0.5e9 < window_bytes(planned_layout(shape, recipe, AUTO).window, recipe) < 1e9


@pytest.mark.parametrize(
    ("given_settings", "window", "stride"),
    [
        ({"overlap": 0.5}, (16, 32, 32), (8, 16, 16)),
        ({"overlap": 0.25}, (16, 32, 32), (12, 24, 24)),
        ({"stride": (8, 16, 16)}, (16, 32, 32), (8, 16, 16)),
        ({"window": (64, 64, 32)}, (64, 64, 32), (48, 48, 16)),
        ({"do_eval": False, "overlap": 0.5}, (16, 32, 32), (8, 16, 16)),
    ],
)
def test_what_is_stated_is_used(
    given_settings: dict[str, Any], window: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    layout = planned_layout((400, 400, 400), SPEC, InferenceSettings(**given_settings))
    assert layout.window == window
    assert tuple(starts[1] - starts[0] for starts in layout.starts) == stride


def test_a_concentric_context_keeps_the_window_that_it_was_computed_for() -> None:
    concentric = tiny_recipe(context=True)
    values = concentric.model_dump()
    values["context"]["alignment"] = "concentric"
    recipe = type(concentric).model_validate(values)
    assert planned_layout((400, 400, 400), recipe, AUTO).window == recipe.window


def test_planes_of_a_network_of_2_dimensions_stay_planes() -> None:
    flat = Recipe.model_validate(
        {
            **PLAIN,
            "network": {**WIDE.network.model_dump(), "dimensions": 2},
            "window": (1, 64, 64),
        }
    )
    layout = planned_layout((20, 1024, 1024), flat, AUTO)
    assert layout.window == (1, 352, 352)
    assert layout.lattice.shape == (20, 3, 3)
