"""What candidates take of the scan's own voxels: volume, border and density."""

import numpy as np
import pytest
from chest_scan import axes, ellipsoid

from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection import extents
from parafovea.postprocess.detection.candidates import find_candidates
from parafovea.postprocess.detection.extents import measure_extents, region_planes
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


def measured(candidates, grid, scan, scan_grid):
    return measure_extents(candidates, grid, lambda box: scan[box.slices], scan_grid)


@pytest.mark.parametrize("scan_spacing", [(1.0, 1.0, 1.0), (0.7, 0.5, 0.5), (2.5, 0.8, 0.8)])
def test_densities_are_those_of_the_scans_own_voxels(scan_spacing):
    grid = grid_of((1.0, 1.0, 1.0))
    heat, centre = soft_ellipsoid(grid, (10, 8, 9))
    shape = tuple(int(e / s) for e, s in zip(grid.extent, scan_spacing, strict=True))
    scan_grid = Grid(shape, scan_spacing, grid.origin, "millimeter")
    noise = np.random.default_rng(3).normal(-300, 80, shape)
    hu = np.where(ellipsoid(scan_grid, centre, (11.5, 9.5, 10.5)), noise, 1000.0).astype(np.int16)
    (density,) = measured(found_in(heat, grid), grid, hu, scan_grid)
    inside = hu[ellipsoid(scan_grid, centre, (10, 8, 9))]
    assert density.mean == pytest.approx(inside.mean(), abs=4)
    assert density.deviation == pytest.approx(inside.std(), abs=4)


def test_a_region_smaller_than_the_scans_voxels_has_the_value_at_its_centre():
    grid = Grid((10, 10, 10), (1.0, 1.0, 1.0), unit="millimeter")
    heat = np.zeros(grid.shape, np.float32)
    heat[6, 6, 6] = 0.9
    scan = Grid((2, 2, 2), (5.0, 5.0, 5.0), (1.0, 1.0, 1.0), "millimeter")
    hu = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    (candidate,) = found_in(heat, grid)
    (extent,) = measured([candidate], grid, hu, scan)
    assert (extent.mean, extent.deviation) == (7, 0)
    # as large as in the heatmap, and marked in the scan by its voxel
    assert extent.volume(scan) == pytest.approx(candidate.volume(grid))
    assert extent.mask.all()
    assert extent.mask.size == 1


def test_densities_do_not_depend_on_what_else_is_measured():
    grid = grid_of((1.0, 1.0, 1.0), 90)
    heat = np.zeros(grid.shape, np.float32)
    for z in (10, 30, 33, 60, 80):
        heat[z : z + 3, 20:26, z : z + 4] = 0.6 + z / 1000
    hu = np.random.default_rng(1).integers(-50, 100, grid.shape)
    found = found_in(heat, grid)
    together = measured(found, grid, hu, grid)
    for candidate, density in zip(found, together, strict=True):
        (alone,) = measured([candidate], grid, hu, grid)
        assert (alone.box, alone.mean) == (density.box, density.mean)
        np.testing.assert_array_equal(alone.share, density.share)
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
    (density,) = measured(found_in(heat, grid), grid, scan, scan_grid)
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
    scan_grid = grid_of((1.25, 0.8, 0.8))
    scan, centre = _nodule(scan_grid)
    grid = grid_of((2.0, 2.0, 2.0))
    heat = _around(grid, centre, 6)
    whole = _density(heat, grid, scan, scan_grid)
    plain = extents.slabs
    monkeypatch.setattr(extents, "slabs", lambda shape: plain(shape, 3))
    again = _density(heat, grid, scan, scan_grid)
    assert (again.box, again.mean, again.deviation) == (whole.box, whole.mean, whole.deviation)
    np.testing.assert_array_equal(again.share, whole.share)


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


@pytest.mark.parametrize("diameter", [5.0, 8.0, 16.0, 30.0])
@pytest.mark.parametrize("wrong", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("spacing", [(1.25, 0.7, 0.7), (3.0, 0.8, 0.8)])
def test_a_diameter_is_that_of_the_nodule_and_not_of_the_heatmaps_region(diameter, wrong, spacing):
    if diameter < 6 and (spacing[0] > 2 or wrong < 0):
        pytest.skip("less than two slices, or a region of one voxel")
    scan_grid = grid_of(spacing)
    centre = [o + e / 2 + 0.3 for o, e in zip(scan_grid.origin, scan_grid.extent, strict=True)]
    reach = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes(scan_grid), centre, strict=True)))
    # a voxel of the border has the share that is nodule, along a line through its centre
    share = np.clip(0.5 + (diameter / 2 - reach) / np.mean(spacing), 0, 1)
    noise = np.random.default_rng(5).normal(0, 30, scan_grid.shape)
    scan = (LUNG + share * (NODULE - LUNG) + noise).astype(np.int16)
    grid = grid_of((2.0, 2.0, 2.0))
    heat = _around(grid, centre, (diameter + wrong) / 2)
    (extent,) = measured(found_in(heat, grid), grid, scan, scan_grid)
    assert extent.diameter(scan_grid) == pytest.approx(diameter, abs=0.5)


def test_a_nodule_ends_where_another_candidate_is_nearer():
    grid = grid_of((1.0, 1.0, 1.0))
    z, y, x = axes(grid)
    middle = [o + e / 2 for o, e in zip(grid.origin, grid.extent, strict=True)]
    radii = [
        np.sqrt((z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2] - side) ** 2)
        for side in (-7, 7)
    ]
    scan = np.where(np.minimum(*radii) <= 7.5, NODULE, LUNG).astype(np.int16)
    heat = np.clip(1 - np.minimum(*radii) / 12, 0, 1).astype(np.float32)
    found = found_in(heat, grid)
    assert len(found) == 2
    both = measured(found, grid, scan, grid)
    for extent in both:
        assert extent.diameter(grid) == pytest.approx(15, abs=0.4)
    planes = region_planes(both, grid.shape)
    marked = np.stack([planes.get(k, np.zeros(grid.shape[1:])) for k in range(grid.shape[0])])
    owners = [set(np.unique(marked[..., half])) - {0} for half in (slice(0, 23), slice(25, None))]
    assert sorted(map(list, owners)) == [[1], [2]]
    np.testing.assert_array_equal(marked > 0, scan == NODULE)


def test_a_voxel_of_two_extents_belongs_to_the_first():
    box = extents.Box((1, 2, 2), (3, 4, 4))
    share = np.full((2, 2, 2), 0.75, np.float32)
    other = extents.Box((2, 3, 3), (4, 5, 5))
    planes = region_planes(
        [extents.Extent(box, share, 0, 0), extents.Extent(other, share, 0, 0)], (9, 9, 9)
    )
    assert sorted(planes) == [1, 2, 3]
    assert planes[2].dtype == np.uint16
    assert planes[2][2:5, 2:5].tolist() == [[1, 1, 0], [1, 1, 2], [0, 2, 2]]


def test_of_no_candidates_nothing_is_read():
    def read(box):
        raise AssertionError(box)

    grid = grid_of((1.0, 1.0, 1.0))
    assert measure_extents([], grid, read, grid) == []


def test_a_region_beside_the_scan_has_the_nearest_voxel():
    grid = grid_of((1.0, 1.0, 1.0))
    heat = np.zeros(grid.shape, np.float32)
    heat[40:44, 3:6, 3:6] = 0.9
    scan_grid = Grid((20, 20, 20), (1.0, 1.0, 1.0), grid.origin, "millimeter")
    scan = np.zeros(scan_grid.shape, np.int16)
    (extent,) = measured(found_in(heat, grid), grid, scan, scan_grid)
    assert extent.box == extents.Box((19, 4, 4), (20, 5, 5))
    assert extent.mask.all()
