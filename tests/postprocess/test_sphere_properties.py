"""A nodule of which only centre and diameter are known is measured in its scan."""

import numpy as np
import pytest
from chest_scan import axes

from parafovea.errors import GridError
from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.postprocess.detection.sphere_properties import measure_sphere

LUNG, TISSUE = -850.0, 40.0

SPACINGS = [(1.0, 1.0, 1.0), (2.0, 0.7, 0.7), (0.8, 1.3, 1.0)]


def scan_of(spacing, radii, *, around=LUNG):
    """Return an ellipsoid of tissue with a border one voxel wide, and its centre as a voxel."""
    shape = tuple(int(60 / s) for s in spacing)
    grid = Grid(shape, spacing, (-10.0, 5.0, 3.0), "millimeter")
    centre = [o + e / 2 + 0.3 for o, e in zip(grid.origin, grid.extent, strict=True)]
    terms = zip(axes(grid), centre, radii, strict=True)
    reach = np.sqrt(sum(((a - c) / r) ** 2 for a, c, r in terms))
    share = np.clip(0.5 + (1 - reach) * min(radii) / max(spacing), 0, 1)
    hu = (around + share * (TISSUE - around)).astype(np.float32)
    return Volume(lambda box: hu[box.slices], grid), grid.index(centre)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radius", [6.0, 11.0])
def test_a_ball_in_the_lung_has_its_own_volume_and_density(spacing, radius):
    scan, centre = scan_of(spacing, (radius,) * 3)
    found = measure_sphere(scan, centre, 2 * radius)
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
    # the border of the nodule is as wide as the largest voxel
    assert found.mean_intensity == pytest.approx(TISSUE, abs=5)
    assert found.std_intensity < 25
    assert found.sphericity == pytest.approx(1, abs=0.02)
    assert found.longest_axial_diameter_mm == pytest.approx(2 * radius, rel=0.03)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_longish_nodule_is_less_spherical_by_the_formula_of_wadell(spacing):
    a, b, c = radii = (6.0, 10.0, 10.0)
    scan, centre = scan_of(spacing, radii)
    # the sphere around the nodule
    found = measure_sphere(scan, centre, 20)
    volume = 4 / 3 * np.pi * a * b * c
    # area of an oblate spheroid
    e = np.sqrt(1 - a**2 / b**2)
    area = 2 * np.pi * b**2 * (1 + (1 - e**2) / e * np.arctanh(e))
    expected = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    assert found.volume_mm3 == pytest.approx(volume, rel=0.04)
    assert found.sphericity == pytest.approx(expected, abs=0.02)
    assert found.longest_axial_diameter_mm == pytest.approx(20, rel=0.03)


def test_without_lung_around_it_the_sphere_itself_is_measured():
    scan, centre = scan_of((1.0, 1.0, 1.0), (8.0, 8.0, 8.0), around=20.0)
    found = measure_sphere(scan, centre, 12)
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)
    assert found.sphericity == pytest.approx(1, abs=0.02)
    assert found.mean_intensity == pytest.approx(TISSUE, abs=2)


def test_a_nodule_smaller_than_a_voxel_or_at_the_border_is_measured():
    scan, centre = scan_of((2.0, 2.0, 2.0), (6.0, 6.0, 6.0))
    tiny = measure_sphere(scan, centre, 0.5)
    assert tiny.volume_mm3 >= 8
    corner = measure_sphere(scan, (0.0, 0.0, 0.0), 6)
    assert corner.mean_intensity == pytest.approx(LUNG)


@pytest.mark.parametrize(
    ("centre", "diameter", "message"),
    [
        ((5.0, 5.0, 5.0), 0.0, "diameter 0 mm must be positive"),
        ((5.0, 5.0, 5.0), float("nan"), "must be positive"),
        ((-1.0, 5.0, 5.0), 4.0, r"voxel \(-1.0, 5.0, 5.0\) \(z, y, x\) lies outside"),
        ((5.0, 5.0, 60.0), 4.0, "lies outside of the scan of"),
    ],
)
def test_what_cannot_be_measured_is_one_error(centre, diameter, message):
    scan, _ = scan_of((1.0, 1.0, 1.0), (6.0, 6.0, 6.0))
    with pytest.raises(GridError, match=message):
        measure_sphere(scan, centre, diameter)
