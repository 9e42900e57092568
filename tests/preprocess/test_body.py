import numpy as np
import pytest
from chest_scan import AIR, LUNG, TISSUE, Nodule, chest, ellipsoid
from scipy import ndimage

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import windows_with_body
from parafovea.preprocess.body import axial_axis, body_mask
from parafovea.preprocess.coarse_view import (
    LARGEST_VIEW,
    CoarseArray,
    StreamedView,
    coarse_view,
    pooled,
)
from parafovea.preprocess.lungs import border_distance, lung_mask
from parafovea.preprocess.source_statistics import scan as stream

GRID = Grid((48, 100, 140), (3.0, 2.2, 2.2), (-70.5, -105.0, -152.9), "millimeter")


def view_of(hu, grid=GRID):
    return coarse_view(lambda box: hu[box.slices], grid)


@pytest.fixture(scope="module")
def scan():
    return chest(GRID, [Nodule((0, 0, 55), 6.0), Nodule((5, 20, -60), 8.0)])


@pytest.fixture(scope="module")
def body(scan):
    return body_mask(view_of(scan))


def at(mask, *points):
    return mask.nearest(np.array(points, float)).tolist()


def test_the_body_holds_lungs_and_windpipe_and_neither_air_nor_table(body):
    assert at(body, (0, 0, 0), (0, 0, 55), (30, -20, 0), (0, 60, 0), (-60, 70, 0)) == [True] * 5
    assert at(body, (0, 102, 100), (0, -100, -140), (0, 98, 0), (0, 98, 120)) == [False] * 4
    # an elliptic cylinder, and one voxel of 4 mm around it
    volume = body.values.sum() * body.grid.voxel_volume
    exact, grown = (np.pi * (80 + r) * (120 + r) * GRID.extent[0] for r in (0, 9))
    assert exact < volume < grown


def test_lung_at_the_edge_of_the_picture_is_body_and_air_there_is_not():
    grid = Grid((30, 60, 60), (3.0, 2.0, 2.0), unit="millimeter")
    hu = np.full(grid.shape, TISSUE, np.float32)
    hu[:, :12, :] = AIR
    hu[ellipsoid(grid, (45, 70, 119), (40, 35, 60))] = LUNG
    body = body_mask(view_of(hu, grid))
    assert at(body, (45, 70, 117), (45, 70, 80)) == [True, True]
    assert at(body, (45, 4, 10), (45, 4, 110)) == [False, False]


def test_the_slices_are_taken_across_the_patients_length(scan):
    # the chest lies along x: slices along z would leave the open lungs to the outside
    turned = np.ascontiguousarray(np.moveaxis(scan, 0, 2))
    spacing, origin = (GRID.spacing[i] for i in (1, 2, 0)), (GRID.origin[i] for i in (1, 2, 0))
    grid = Grid(turned.shape, tuple(spacing), tuple(origin), "millimeter")
    upright, lying = body_mask(view_of(scan)), body_mask(view_of(turned, grid), axial=2)
    np.testing.assert_array_equal(np.moveaxis(lying.values, 2, 0), upright.values)


def test_a_scan_without_tissue_is_refused():
    with pytest.raises(VoxelError, match="no voxel is denser than -400 HU"):
        body_mask(view_of(np.full(GRID.shape, AIR, np.float32)))


@pytest.mark.parametrize("spacing", [(3.0, 2.2, 2.2), (2.0, 1.7, 1.9), (6.0, 5.0, 5.0)])
def test_windows_are_kept_just_where_a_voxel_of_the_body_lies_in_them(body, spacing):
    shape = [round(e / s) for e, s in zip(GRID.extent, spacing, strict=True)]
    grid = Grid(tuple(shape), spacing, GRID.origin, "millimeter")
    layout = Layout.regular(grid.shape, (4, 8, 8), overlap=0.25)
    kept = windows_with_body(layout, grid, body)
    assert kept.shape == layout.lattice.shape
    assert 0.4 < kept.mean() < 0.9
    for keep, window in zip(kept.ravel(), layout.windows(), strict=True):
        inside = window.intersection(grid.box)
        points = np.stack(np.mgrid[inside.slices], axis=-1).reshape(-1, 3)
        world = np.array(grid.origin) + points * np.array(grid.spacing)
        assert keep or not body.nearest(world).any()


def test_a_window_larger_than_the_volume_keeps_the_whole_body(body):
    layout = Layout.regular((10, 10, 10), (64, 64, 64), overlap=0)
    inside = Grid((10, 10, 10), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), "millimeter")
    assert windows_with_body(layout, inside, body).all()


def test_the_lungs_hold_their_nodules_and_not_the_windpipe(scan, body):
    lungs = lung_mask(view_of(scan), body)
    assert at(lungs, (0, 0, 55), (5, 20, -60), (0, 30, -55)) == [True] * 3
    assert at(lungs, (10, -20, 0), (30, -20, 0), (0, 0, 0), (0, 102, 0)) == [False] * 4
    exact = 2 * 4 / 3 * np.pi * 55 * 50 * 38
    assert lungs.values.sum() * lungs.grid.voxel_volume == pytest.approx(exact, rel=0.05)


def test_a_scan_without_lungs_has_none():
    hu = chest(GRID)
    hu[hu == LUNG] = TISSUE
    assert lung_mask(view_of(hu), body_mask(view_of(hu))) is None


def test_the_distance_to_the_border_is_positive_inside_and_negative_outside():
    grid = Grid((60, 60, 60), (2.0, 2.0, 2.0), unit="millimeter")
    ball = CoarseArray(ellipsoid(grid, (59, 59, 59), (40, 40, 40)), grid)
    points = np.array([(59, 59, 59), (59, 59, 89), (59, 59, 99), (59, 59, 109)], float)
    assert border_distance(ball, points) == pytest.approx([40, 10, 0, -10], abs=3)


@pytest.mark.parametrize("spacing", [(2.0, 1.5, 1.7), (5.0, 0.7, 0.7)])
def test_the_distance_to_the_border_is_that_of_a_distance_transform(spacing):
    generator = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(generator.random((21, 33, 26)), 2) > 0.5
    grid = Grid(mask.shape, spacing, (3.0, -4.0, 5.0), unit="millimeter")
    wide = np.pad(mask, 1, mode="edge")
    half = min(spacing) / 2
    inside, outside = (
        ndimage.distance_transform_edt(side, sampling=spacing) for side in (wide, ~wide)
    )
    signed = np.where(wide, inside - half, half - outside)
    # beyond the picture, too
    index = generator.uniform(-3, 1, (200, 3)) + generator.random((200, 3)) * (wide.shape)
    expected = ndimage.map_coordinates(signed, index.T, order=1, mode="nearest")
    points = (index - 1) * spacing + grid.origin
    found = border_distance(CoarseArray(mask, grid), points)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("lung", [True, False])
def test_without_a_border_there_is_no_distance(lung):
    grid = Grid((4, 5, 6), (2.0, 2.0, 2.0), unit="millimeter")
    depth = border_distance(CoarseArray(np.full(grid.shape, lung), grid), np.zeros((2, 3)))
    assert np.isnan(depth).all()


def test_where_the_picture_ends_is_no_border():
    grid = Grid((20, 20, 20), (2.0, 2.0, 2.0), unit="millimeter")
    half = np.zeros(grid.shape, bool)
    half[:, :, 10:] = True
    depth = border_distance(CoarseArray(half, grid), np.array([(0.0, 0, 37)]))
    assert depth == pytest.approx([18], abs=0.5)


def test_the_view_is_never_larger_than_its_limit_and_never_finer_than_the_scan(monkeypatch):
    monkeypatch.setattr("parafovea.preprocess.coarse_view.LARGEST_VIEW", 9000)
    view = view_of(chest(GRID))
    assert view.values.size <= 9000 < LARGEST_VIEW
    wide = Grid((5, 6, 7), (8.0, 3.0, 1.0), unit="millimeter")
    assert view_of(np.zeros(wide.shape), wide).grid.spacing == (8.0, 3.0, 2.0)


@pytest.mark.parametrize("planes", [1, 5, 100])
@pytest.mark.parametrize("slab", [1, 7 * 100 * 140, 2**24])
@pytest.mark.parametrize("spacing", [(3.0, 2.2, 2.2), (0.7, 2.2, 2.2), (0.2, 0.3, 0.9)])
def test_a_view_of_planes_that_pass_by_is_that_of_the_whole_scan(
    monkeypatch, scan, spacing, slab, planes
):
    # a slab of the view, and one of the statistics, of any number of planes
    monkeypatch.setattr("parafovea.geometry.resample.SLAB_VOXELS", slab)
    monkeypatch.setattr("parafovea.preprocess.source_statistics.SCANNED_VOXELS", planes * 100 * 140)
    grid = Grid(GRID.shape, spacing, GRID.origin, "millimeter")
    for hu in (scan.astype(np.int16), scan.copy()):
        if hu.dtype == np.float32:
            hu[3, 4, 5], hu[40, 4, 5] = np.nan, np.inf
        streamed = StreamedView(grid)
        stream(lambda box, hu=hu: hu[box.slices], grid, hu.dtype, seen=streamed.add)
        whole = view_of(hu, grid)
        assert streamed.view.grid == whole.grid
        np.testing.assert_array_equal(streamed.view.values, whole.values)


def test_pooled_voxels_are_means_of_what_they_cover():
    values = np.arange(5 * 4 * 1, dtype=np.float32).reshape(5, 4, 1)
    small = pooled(CoarseArray(values, Grid((5, 4, 1), (2.0, 2.0, 2.0), unit="millimeter")), 2)
    assert small.grid.spacing == (4.0, 4.0, 2.0)
    assert small.values[0, 0, 0] == values[:2, :2].mean()
    assert small.values[2, 1, 0] == values[4:, 2:].mean()


@pytest.mark.parametrize(
    ("columns", "axis"), [("xyz", 0), ("xzy", 1), ("zyx", 2), ("yxz", 0), ("zxy", 2)]
)
def test_the_axial_axis_follows_the_affine(columns, axis):
    affine = np.eye(4)
    for column, name in enumerate(columns):
        affine[:3, column] = [0.1, -0.2, 0.1]
        affine["xyz".index(name), column] = -1.7
    assert axial_axis(affine) == axis
    assert axial_axis(None) == 0


def test_a_box_of_another_grid_covers_what_touches_it():
    coarse = CoarseArray(np.zeros((4, 4, 4)), Grid((4, 4, 4), (4.0, 4.0, 4.0), unit="millimeter"))
    fine = Grid((16, 16, 16), (1.0, 1.0, 1.0), (-1.5, -1.5, -1.5), "millimeter")
    assert coarse.box_of(Box((0, 4, 3), (4, 8, 5)), fine) == Box((0, 1, 0), (1, 2, 2))
    assert coarse.box_of(Box((-9, 40, 0), (-8, 41, 16)), fine) == Box((0, 3, 0), (1, 4, 4))
