"""An array keeps its place as long as it is the same array, and no longer."""

import numpy as np
import pytest

from parafovea.errors import GridError
from parafovea.geometry.grid import Grid
from parafovea.geometry.placed_array import PlacedArray
from parafovea.geometry.scan_space import ScanSpace

SPACE = ScanSpace(Grid((3, 4, 5), (2, 1, 1), unit="millimeter"))


def test_what_is_computed_from_a_placed_array_has_no_place():
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    placed = PlacedArray(values, SPACE, "a")
    assert placed.space is SPACE
    assert placed.name == "a"
    assert np.shares_memory(placed, values)
    for other in (placed[1:], placed[::-1], np.flip(placed, 2), placed + 1, placed.copy()):
        assert getattr(other, "space", None) is None
        assert getattr(other, "name", "") == ""


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(GridError, match=r"shape \(3, 4\) cannot lie on .* shape \(3, 4, 5\)"):
        PlacedArray(np.zeros((3, 4)), SPACE)
