"""Sphericity and longest axial diameter, against formulas."""

import numpy as np
import pytest
from chest_scan import axes

from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.form import measure_form

SPACINGS = [(1.0, 1.0, 1.0), (2.0, 0.7, 0.7), (0.8, 1.3, 1.0)]


def ellipsoid(spacing, radii, extent=48.0):
    """Return how much of each voxel lies in an ellipsoid, 0.5 at its surface."""
    grid = Grid(tuple(int(extent / s) for s in spacing), spacing, unit="millimeter")
    centre = [e / 2 for e in grid.extent]
    terms = zip(axes(grid), centre, radii, strict=True)
    reach = np.sqrt(sum(((a - c) / r) ** 2 for a, c, r in terms))
    return np.clip(1 - reach / 2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_ball_has_sphericity_one_and_its_own_diameter(spacing):
    form = measure_form(ellipsoid(spacing, (9, 9, 9)), spacing)
    assert form.sphericity == pytest.approx(1, abs=0.01)
    assert form.axial_diameter == pytest.approx(18, rel=0.02)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radii", [(16.0, 6.0, 6.0), (6.0, 15.0, 9.0)])
def test_an_ellipsoid_has_the_sphericity_of_its_area(spacing, radii):
    a, b, c = radii
    # Knud Thomsen's approximation of an ellipsoid's area, exact to about 1 %
    p = 1.6075
    mean = ((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3
    area = 4 * np.pi * mean ** (1 / p)
    volume = 4 / 3 * np.pi * a * b * c
    form = measure_form(ellipsoid(spacing, radii), spacing)
    expected = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    assert form.sphericity == pytest.approx(expected, rel=0.025)
    assert form.axial_diameter == pytest.approx(2 * max(b, c), rel=0.03)


def test_the_axial_diameter_is_measured_across_the_patients_length():
    share = ellipsoid((1.0, 1.0, 1.0), (15, 6, 8))
    assert measure_form(share, (1, 1, 1), axial=0).axial_diameter == pytest.approx(16, rel=0.02)
    assert measure_form(share, (1, 1, 1), axial=1).axial_diameter == pytest.approx(30, rel=0.02)


def test_an_oblique_diameter_is_found():
    share = np.zeros((3, 40, 40), np.float32)
    along = np.arange(8, 32)
    for shift in (-1, 0, 1):
        share[1, along, along + shift] = 1.0
    # between the centres of two corners of the band, and half a voxel beyond each
    longest = np.hypot(23, 25) + 1
    assert measure_form(share, (1, 1, 1)).axial_diameter == pytest.approx(longest, abs=0.5)


def test_a_nodule_of_one_value_and_one_smaller_than_a_voxel_have_a_form():
    for share in (1.0, 0.5, 0.2):
        form = measure_form(np.full((4, 4, 4), share, np.float32), (1, 1, 1))
        # a cube has (pi / 6)^(1/3) = 0.806; its corners are cut by the mesh
        assert 0.78 < form.sphericity < 0.95
        assert form.axial_diameter == pytest.approx(4 * np.sqrt(2), rel=0.15)
