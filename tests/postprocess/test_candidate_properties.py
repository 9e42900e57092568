import numpy as np
import pytest
from chest_scan import axes, ellipsoid

from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.candidate_properties import measure_densities, measure_form
from parafovea.postprocess.detection.candidates import find_candidates
from parafovea.settings.postprocess import PeakSettings

SPACINGS = [(1.0, 1.0, 1.0), (2.0, 0.7, 0.7), (0.8, 1.3, 1.0)]


def grid_of(spacing, extent=48.0):
    shape = tuple(int(extent / s) for s in spacing)
    return Grid(shape, spacing, (-10.0, 5.0, 3.0), "millimeter")


def found_in(heat, grid, threshold=0.5):
    chosen = PeakSettings(threshold=threshold)
    return find_candidates(lambda box: heat[box.slices], grid, chosen)


def soft_ellipsoid(grid, radii):
    """Return a heatmap of 0.5 at an ellipsoid's surface, and the ellipsoid's centre."""
    centre = [o + e / 2 for o, e in zip(grid.origin, grid.extent, strict=True)]
    terms = zip(axes(grid), centre, radii, strict=True)
    reach = np.sqrt(sum(((a - c) / r) ** 2 for a, c, r in terms))
    return np.clip(1 - reach / 2, 0, 1).astype(np.float32), centre


def form_of(heat, grid, **options):
    (candidate,) = found_in(heat, grid)
    return measure_form(candidate, lambda box: heat[box.slices], grid, **options)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_ball_has_sphericity_one_and_its_own_diameter(spacing):
    grid = grid_of(spacing)
    heat, _ = soft_ellipsoid(grid, (9, 9, 9))
    form = form_of(heat, grid)
    assert form.sphericity == pytest.approx(1, abs=0.01)
    assert form.axial_diameter == pytest.approx(18, rel=0.02)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radii", [(16.0, 6.0, 6.0), (6.0, 15.0, 9.0)])
def test_an_ellipsoid_has_the_sphericity_of_its_area(spacing, radii):
    grid = grid_of(spacing)
    heat, _ = soft_ellipsoid(grid, radii)
    a, b, c = radii
    # Knud Thomsen's approximation of an ellipsoid's area, exact to about 1 %
    p = 1.6075
    mean = ((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3
    area = 4 * np.pi * mean ** (1 / p)
    volume = 4 / 3 * np.pi * a * b * c
    form = form_of(heat, grid)
    expected = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    assert form.sphericity == pytest.approx(expected, rel=0.025)
    assert form.axial_diameter == pytest.approx(2 * max(b, c), rel=0.03)


def test_the_axial_diameter_is_measured_across_the_patients_length():
    grid = grid_of((1.0, 1.0, 1.0))
    heat, _ = soft_ellipsoid(grid, (15, 6, 8))
    assert form_of(heat, grid, axial=0).axial_diameter == pytest.approx(16, rel=0.02)
    assert form_of(heat, grid, axial=1).axial_diameter == pytest.approx(30, rel=0.02)


def test_an_oblique_diameter_is_found():
    grid = Grid((3, 40, 40), (1.0, 1.0, 1.0), unit="millimeter")
    heat = np.zeros(grid.shape, np.float32)
    along = np.arange(8, 32)
    for shift in (-1, 0, 1):
        heat[1, along, along + shift] = 1.0
    # between the centres of two corners of the band, and half a voxel beyond each
    longest = np.hypot(23, 25) + 1
    assert form_of(heat, grid).axial_diameter == pytest.approx(longest, abs=0.5)


def test_a_region_at_the_edge_and_one_of_a_single_value_have_a_form():
    grid = Grid((9, 9, 9), (1.0, 1.0, 1.0), unit="millimeter")
    heat = np.zeros(grid.shape, np.float32)
    heat[:4, :4, :4] = 0.5
    form = form_of(heat, grid)
    # a cube has (pi / 6)^(1/3) = 0.806; its corners are cut by the mesh
    assert 0.78 < form.sphericity < 0.95
    assert form.axial_diameter == pytest.approx(4 * np.sqrt(2), rel=0.15)


def test_a_neighbouring_region_is_not_measured_with_it():
    grid = Grid((30, 30, 60), (1.0, 1.0, 1.0), unit="millimeter")
    z, y, x = axes(grid)
    gaps = [np.sqrt((z - 15) ** 2 + (y - 15) ** 2 + (x - c) ** 2) for c in (18, 36)]
    heat = np.clip(1 - np.minimum(*gaps) / 20, 0, 1).astype(np.float32)
    candidates = found_in(heat, grid)
    assert len(candidates) == 2
    for each in candidates:
        form = measure_form(each, lambda box: heat[box.slices], grid)
        assert form.axial_diameter < 21
        assert form.sphericity > 0.95


@pytest.mark.parametrize("scan_spacing", [(1.0, 1.0, 1.0), (0.7, 0.5, 0.5), (2.5, 0.8, 0.8)])
def test_densities_are_those_of_the_scans_own_voxels(scan_spacing):
    grid = grid_of((1.0, 1.0, 1.0))
    heat, centre = soft_ellipsoid(grid, (10, 8, 9))
    shape = tuple(int(e / s) for e, s in zip(grid.extent, scan_spacing, strict=True))
    scan_grid = Grid(shape, scan_spacing, grid.origin, "millimeter")
    noise = np.random.default_rng(3).normal(-300, 80, shape)
    hu = np.where(ellipsoid(scan_grid, centre, (11.5, 9.5, 10.5)), noise, 1000.0).astype(np.int16)
    (density,) = measure_densities(
        found_in(heat, grid), grid, lambda box: hu[box.slices], scan_grid
    )
    inside = hu[ellipsoid(scan_grid, centre, (10, 8, 9))]
    assert density.mean == pytest.approx(inside.mean(), abs=4)
    assert density.deviation == pytest.approx(inside.std(), abs=4)


def test_a_region_smaller_than_the_scans_voxels_has_the_value_at_its_centre():
    grid = Grid((10, 10, 10), (1.0, 1.0, 1.0), unit="millimeter")
    heat = np.zeros(grid.shape, np.float32)
    heat[6, 6, 6] = 0.9
    scan = Grid((2, 2, 2), (5.0, 5.0, 5.0), (1.0, 1.0, 1.0), "millimeter")
    hu = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    (density,) = measure_densities(found_in(heat, grid), grid, lambda box: hu[box.slices], scan)
    assert (density.mean, density.deviation) == (7, 0)


def test_densities_do_not_depend_on_what_else_is_measured():
    grid = grid_of((1.0, 1.0, 1.0), 90)
    heat = np.zeros(grid.shape, np.float32)
    for z in (10, 30, 33, 60, 80):
        heat[z : z + 3, 20:26, z : z + 4] = 0.6 + z / 1000
    hu = np.random.default_rng(1).integers(-50, 100, grid.shape)
    found = found_in(heat, grid)
    together = measure_densities(found, grid, lambda box: hu[box.slices], grid)
    alone = [measure_densities([c], grid, lambda box: hu[box.slices], grid)[0] for c in found]
    assert together == alone
    for candidate, density in zip(found, together, strict=True):
        own = hu[candidate.box.slices][candidate.mask]
        assert density.mean == pytest.approx(own.mean())
        assert density.deviation == pytest.approx(own.std())


LUNG, NODULE = -850, 30


def _nodule(grid, radius=6.0, noise=12, hu=NODULE):
    """Return a scan with one nodule in the lung, a third of the way, and the nodule's centre."""
    centre = [o + e * k for o, e, k in zip(grid.origin, grid.extent, (0.4, 0.55, 0.5), strict=True)]
    scan = np.where(ellipsoid(grid, centre, (radius,) * 3), hu, LUNG)
    scan = scan + np.random.default_rng(4).integers(-noise, noise + 1, grid.shape)
    return scan.astype(np.int16), centre


def _around(grid, centre, radius):
    """Return a heatmap whose region at 0.5 is a ball."""
    reach = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes(grid), centre, strict=True)))
    return np.clip(1 - reach / (2 * radius), 0, 1).astype(np.float32)


def _density(heat, grid, scan, scan_grid):
    (density,) = measure_densities(
        found_in(heat, grid), grid, lambda box: scan[box.slices], scan_grid
    )
    return density


@pytest.mark.parametrize("radius", [4.5, 5.0, 6.0, 7.0, 7.5])
@pytest.mark.parametrize("shift", [(0, 0, 0), (1.2, 0, 0), (0, -1.2, 0.8)])
@pytest.mark.parametrize("nodule", [NODULE, -300, 150])
def test_the_density_is_that_of_the_nodule_whatever_the_region_has_of_the_lung(
    radius, shift, nodule
):
    scan_grid = grid_of((1.25, 0.8, 0.8))
    scan, centre = _nodule(scan_grid, hu=nodule)
    grid = grid_of((2.0, 2.0, 2.0))
    heat = _around(grid, np.add(centre, shift), radius)
    density = _density(heat, grid, scan, scan_grid)
    assert density.mean == pytest.approx(nodule, abs=2)
    # of noise that is even from -12 to 12
    assert density.deviation == pytest.approx(7.2, abs=1)


@pytest.mark.parametrize("flipped", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("scan_spacing", [(1.0, 1.0, 1.0), (1.25, 0.8, 0.8), (2.5, 0.75, 0.75)])
def test_a_flipped_scan_has_the_same_densities(flipped, scan_spacing):
    grid = Grid((24, 24, 24), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5), "millimeter")
    shape = [int(48 / s) for s in scan_spacing]
    # both are centred on one point, so that they flip together
    ends = zip(grid.world([11.5] * 3), shape, scan_spacing, strict=True)
    origin = tuple(middle - (n - 1) / 2 * s for middle, n, s in ends)
    scan_grid = Grid(tuple(shape), scan_spacing, origin, "millimeter")
    scan, centre = _nodule(scan_grid)
    heat = _around(grid, np.add(centre, (0.3, -0.9, 0.4)), 6.5)
    straight = _density(heat, grid, scan, scan_grid)
    turned = _density(np.flip(heat, flipped), grid, np.flip(scan, flipped), scan_grid)
    assert turned.mean == pytest.approx(straight.mean, abs=1e-9)
    assert turned.deviation == pytest.approx(straight.deviation, abs=1e-9)


def test_a_rib_beside_a_nodule_is_no_part_of_it():
    grid = grid_of((1.0, 1.0, 1.0))
    scan, centre = _nodule(grid)
    x = axes(grid)[2]
    scan[np.broadcast_to(x > centre[2] + 5, grid.shape)] = 700
    heat = _around(grid, np.subtract(centre, (0, 0, 2)), 6)
    assert _density(heat, grid, scan, grid).mean == pytest.approx(NODULE, abs=3)


def test_a_region_without_lung_is_measured_whole():
    grid = grid_of((1.0, 1.0, 1.0))
    scan = np.random.default_rng(2).normal(40, 60, grid.shape).astype(np.int16)
    scan[20:24] = 400
    heat, _ = soft_ellipsoid(grid, (8, 8, 8))
    (candidate,) = found_in(heat, grid)
    own = scan[candidate.box.slices][candidate.mask]
    assert _density(heat, grid, scan, grid).mean == pytest.approx(own.mean())


def test_a_slab_that_divides_a_nodule_changes_nothing(monkeypatch):
    from parafovea.postprocess.detection import candidate_properties

    scan_grid = grid_of((1.25, 0.8, 0.8))
    scan, centre = _nodule(scan_grid)
    grid = grid_of((2.0, 2.0, 2.0))
    heat = _around(grid, centre, 6)
    whole = _density(heat, grid, scan, scan_grid)
    plain = candidate_properties.slabs
    monkeypatch.setattr(candidate_properties, "slabs", lambda shape: plain(shape, 3))
    assert _density(heat, grid, scan, scan_grid) == whole


def test_voxels_that_are_partly_lung_do_not_count():
    grid = grid_of((2.0, 2.0, 2.0))
    fine = Grid(
        tuple(4 * n for n in grid.shape),
        (0.5,) * 3,
        tuple(o - 0.75 for o in grid.origin),
        "millimeter",
    )
    scan, centre = _nodule(fine)
    blocks = (
        scan.astype(float).reshape(*(k for n in grid.shape for k in (n, 4))).mean(axis=(1, 3, 5))
    )
    heat = _around(grid, centre, 7)
    assert _density(heat, grid, blocks, grid).mean == pytest.approx(NODULE, abs=3)


def test_a_nodule_of_few_thick_slices_is_measured_within_its_slices():
    fine = Grid((48, 96, 96), (1.0, 0.5, 0.5), unit="millimeter")
    grid = Grid((8, 48, 48), (6.0, 1.0, 1.0), (2.5, 0.25, 0.25), "millimeter")
    z, y, x = axes(fine)
    disc = (abs(z - 23.5) < 6) & ((y - 24) ** 2 + (x - 24) ** 2 < 36)
    scan = np.where(disc, NODULE, LUNG).astype(float)
    blocks = scan.reshape(8, 6, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    heat = np.zeros(grid.shape, np.float32)
    heat[3:5, 17:31, 17:31] = 0.9
    assert _density(heat, grid, blocks, grid).mean == pytest.approx(NODULE, abs=1)
