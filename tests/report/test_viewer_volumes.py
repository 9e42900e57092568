"""Scans for a viewer have the voxels and places of the scan, every one or every so many."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from parafovea.errors import StoreError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Grid
from parafovea.report.detections.viewer_volumes import viewer_steps, write_viewer_volumes

AFFINE = np.array([[-0.7, 0.1, 0, 90], [0.1, 0.7, 0, -40], [0, 0, 1.5, -200], [0, 0, 0, 1]])


@pytest.fixture
def scan(tmp_path):
    """Return a scan, its voxels, its heatmap and the values in it, as nibabel has them."""
    rng = np.random.default_rng(1)
    voxels = rng.integers(-1000, 1500, (31, 22, 17)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "scan.nii.gz")
    heat = rng.uniform(0, 1, voxels.shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(heat, AFFINE), tmp_path / "heatmap.nii.gz")
    source = open_source(str(tmp_path / "scan.nii.gz"), metadata=SourceMetadata())
    return source, voxels, tmp_path / "heatmap.nii.gz", heat


@pytest.mark.parametrize("most", [31 * 22 * 17, 4000, 900])
def test_voxels_that_are_shown_have_the_values_and_places_of_the_scan(scan, tmp_path, most):
    source, voxels, heatmap, heat = scan
    small = (tmp_path / "small.nii.gz", tmp_path / "small_heat.nii.gz")
    steps = write_viewer_volumes(source, heatmap, *small, most=most)
    shown, shown_heat = (nibabel.load(path) for path in small)
    assert (steps == (1, 1, 1)) == (most == voxels.size)
    assert shown.shape == shown_heat.shape
    assert np.prod(shown.shape) <= most
    x, y, z = (slice(None, None, step) for step in reversed(steps))
    np.testing.assert_array_equal(np.asarray(shown.dataobj), voxels[x, y, z])
    np.testing.assert_allclose(shown_heat.get_fdata(), heat[x, y, z], atol=0.5 / 255 + 1e-6)
    assert (shown.get_data_dtype(), shown_heat.get_data_dtype()) == (np.int16, np.uint8)
    for index in ((0, 0, 0), tuple(n - 1 for n in shown.shape)):
        place = nibabel.affines.apply_affine(shown.affine, index)
        own = nibabel.affines.apply_affine(AFFINE, np.array(index) * steps[::-1])
        np.testing.assert_allclose(place, own, atol=1e-3)
    np.testing.assert_array_equal(shown.affine, shown_heat.affine)


def test_voxels_are_left_out_along_the_finest_axis_first():
    grid = Grid((600, 512, 512), (0.6, 0.7, 0.7), unit="millimeter")
    assert viewer_steps(grid, most=grid.size) == (1, 1, 1)
    assert viewer_steps(grid, most=grid.size // 2) == (2, 1, 1)
    assert viewer_steps(grid, most=grid.size // 3) == (2, 2, 1)


def test_a_heatmap_of_another_scan_is_refused(scan, tmp_path):
    source, _, heatmap, heat = scan
    nibabel.save(nibabel.Nifti1Image(heat[:-1], AFFINE), heatmap)
    with pytest.raises(StoreError, match=r"\(30, 22, 17\), and its scan \(31, 22, 17\)"):
        write_viewer_volumes(source, heatmap, tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
