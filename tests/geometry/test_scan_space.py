"""Voxels, other grids of the same scan and the patient, there and back."""

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parafovea.errors import GridError
from parafovea.geometry.grid import Grid
from parafovea.geometry.scan_space import ScanSpace

GRID = Grid((40, 50, 60), (2.5, 0.8, 0.7), (3, 2, 1), "millimeter")


def floats(low, high):
    return st.floats(low, high, allow_nan=False)


@st.composite
def affines(draw):
    """Draw oblique, flipped and anisotropic affines to RAS millimetres."""
    turn = np.linalg.qr(draw(arrays(np.float64, (3, 3), elements=floats(-1, 1))))[0]
    flips = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)]
    spacing = [draw(floats(0.3, 5)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn * flips * spacing
    affine[:3, 3] = [draw(floats(-2000, 2000)) for _ in range(3)]
    return affine


indices = arrays(np.float64, (5, 3), elements=floats(-100, 600))


@given(affine=affines(), index=indices)
def test_every_conversion_is_undone_by_its_counterpart(affine, index):
    space = ScanSpace(GRID, affine)
    other = Grid((100, 40, 42), (1000, 1000, 1000), (-500, 7, 0), "micrometer")
    exact = {"rtol": 0, "atol": 1e-8}
    np.testing.assert_allclose(space.voxel_of_world(space.world_of_voxel(index)), index, **exact)
    there = space.voxel_of_grid(index, other)
    # a scan on the other grid leads back
    np.testing.assert_allclose(ScanSpace(other).voxel_of_grid(there, GRID), index, **exact)
    world = space.world_of_grid(index, other)
    np.testing.assert_allclose(space.voxel_of_world(world), there, rtol=0, atol=1e-7)


@given(affine=affines(), index=indices)
def test_the_world_is_the_one_of_itk_and_nibabel(affine, index):
    image = SimpleITK.Image([60, 50, 40], SimpleITK.sitkUInt8)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    found = ScanSpace(GRID, affine).world_of_voxel(index)
    ras = nibabel.affines.apply_affine(affine, index[:, ::-1])
    np.testing.assert_allclose(found, ras * [-1, -1, 1], rtol=0, atol=1e-9)
    for one, there in zip(index, found, strict=True):
        expected = image.TransformContinuousIndexToPhysicalPoint(one[::-1].tolist())
        np.testing.assert_allclose(there, expected, rtol=0, atol=1e-8)


def test_a_voxel_of_the_models_grid_is_found_in_the_scan_by_their_common_world():
    space = ScanSpace(GRID, np.diag([-0.7, -0.8, 2.5, 1]))
    other = GRID.resampled((1, 1, 1))
    centre = other.index(GRID.world((10, 20, 30)))
    np.testing.assert_allclose(space.voxel_of_grid(centre, other), (10, 20, 30), atol=1e-12)
    np.testing.assert_allclose(space.world_of_grid(centre, other), (21, 16, 25), atol=1e-12)


def test_a_scan_without_affine_lies_in_its_own_grid():
    space = ScanSpace(GRID)
    np.testing.assert_allclose(space.world_of_voxel((0, 0, 0)), (1, 2, 3))
    np.testing.assert_allclose(space.world_of_voxel((1, 1, 1)), (1.7, 2.8, 5.5))
    micro = ScanSpace(GRID.converted("micrometer"))
    np.testing.assert_allclose(micro.world_of_voxel((1, 1, 1)), (1.7, 2.8, 5.5))


def test_the_nearest_voxel_is_counted_along_x_y_z_and_within_the_scan():
    space = ScanSpace(GRID, np.diag([-1.0, -1.0, 2.0, 1.0]))
    assert space.nearest_voxel((10.4, 20.6, 60.0)).tolist() == [10, 21, 30]
    outside = space.nearest_voxel([(-9, 0.5, 1e4), (59.4, 99, 0.9)])
    assert outside.tolist() == [[0, 1, 39], [59, 49, 0]]


def test_a_recorded_source_gives_its_space_back():
    affine = np.array([[0, -0.8, 0, 5], [0.7, 0, 0, 6], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
    record = {"path": "a", "grid": GRID.to_dict(), "affine": affine.tolist()}
    assert ScanSpace.from_record(record).grid == GRID
    np.testing.assert_array_equal(ScanSpace.from_record(record).affine, affine)
    plain = ScanSpace.from_record({**record, "affine": None})
    np.testing.assert_array_equal(plain.affine, ScanSpace(GRID).affine)


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3), np.ones((4, 4))]
)
def test_an_affine_that_leads_nowhere_is_refused(affine):
    with pytest.raises(GridError, match="affine"):
        ScanSpace(GRID, affine)
