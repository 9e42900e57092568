"""What is rare in a landscape: clouds, floods, haze."""

from __future__ import annotations

import numpy as np
import pytest

from parafovea.errors import ConfigError
from parafovea_phantoms.landscapes.landscape import Landscape, LandscapeView
from parafovea_phantoms.landscapes.spectra import TURBID_WATER
from parafovea_phantoms.landscapes.tile_cutting import landscape_tiles

NIR = 3


@pytest.fixture(scope="module")
def views() -> list[LandscapeView]:
    tiles = landscape_tiles(541, tiles=[48], sizes=[16], variety=1.0)
    return [tile.view for tile in tiles]


def test_a_landscape_without_variety_is_as_before() -> None:
    plain, stated = (
        Landscape(7, 4, 6, **more).view(0, 0, (32, 32)) for more in ({}, {"variety": 0.0})
    )
    for name, values in vars(plain).items():
        np.testing.assert_array_equal(values, getattr(stated, name))


def test_a_part_of_a_varied_landscape_is_that_part_of_the_whole() -> None:
    landscape = Landscape(541, 4, 6, variety=1.0)
    whole, part = landscape.view(0, 0, (48, 64)), landscape.view(16, 24, (32, 40))
    for name, values in vars(part).items():
        np.testing.assert_array_equal(values, getattr(whole, name)[..., 16:, 24:])
    assert np.abs(whole.truth - Landscape(541, 4, 6).view(0, 0, (48, 64)).truth).max() > 0.01


def test_floods_are_muddier_than_any_water_of_a_plain_landscape(
    views: list[LandscapeView],
) -> None:
    water = np.concatenate([view.truth[NIR][view.classes == 1] for view in views])
    assert TURBID_WATER[NIR] < 0.03
    assert (water > 0.06).mean() > 0.05


def test_some_tiles_show_clouds_and_most_do_not(views: list[LandscapeView]) -> None:
    # docs/real_tiles.md excludes a real image by the same rule
    clouded = np.array([(view.truth[0] > 0.15).mean() > 0.5 for view in views])
    assert 0.03 < clouded.mean() < 0.4


def test_a_variety_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"variety 1\.5 is out of range: use 0 to 1"):
        Landscape(7, 4, 6, variety=1.5)
