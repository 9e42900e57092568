import math

import pytest

from parafovea.geometry.sphere import equivalent_diameter


def test_the_volume_of_a_ball_gives_its_diameter():
    assert equivalent_diameter(4 / 3 * math.pi * 3**3) == pytest.approx(6)
    assert equivalent_diameter(0) == 0
