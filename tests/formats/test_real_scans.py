"""Real CT scans, where they are: the same places in every format, and in the files written back."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from parafovea.errors import VoxelError
from parafovea.formats.nifti import write_heatmap
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box
from parafovea.geometry.resample import resample_box
from parafovea.geometry.scan_space import ScanSpace
from parafovea.preprocess.hounsfield import check_hounsfield
from parafovea.preprocess.source_statistics import scan

ROOT = Path(os.environ.get("PARAFOVEA_REAL_DATA", ".")) / "ct"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        "PARAFOVEA_REAL_DATA" not in os.environ,
        reason="PARAFOVEA_REAL_DATA does not say where the real data are",
    ),
]
LUNG = "ibsi_lung/nifti/image/phantom.nii.gz"
SCANS = [
    LUNG,
    "totalseg/example_ct.nii.gz",
    "totalseg/example_ct_sm.nii.gz",
    "chest_cptac/C3N-00247_LUNG3.0_B70f_z45-84.nii.gz",
    "sts/STS_002/CT_image.nii.gz",
    "ibsi_lung/dicom",
]


def _opened(name):
    source = open_source(str(ROOT / name))
    return source, ScanSpace(source.grid, source.affine)


def test_nifti_and_dicom_of_a_scan_give_the_same_voxels_at_the_same_places():
    (nifti, of_nifti), (dicom, of_dicom) = _opened(LUNG), _opened("ibsi_lung/dicom")
    index = np.stack(np.indices(dicom.grid.shape), axis=-1)
    there = of_nifti.voxel_of_world(of_dicom.world_of_voxel(index))
    nearest = np.rint(there).astype(int)
    np.testing.assert_allclose(there, nearest, atol=1e-3)
    values = nifti.read(nifti.grid.box)[tuple(np.moveaxis(nearest, -1, 0))]
    np.testing.assert_array_equal(dicom.read(dicom.grid.box), values)
    assert dicom.array.dtype == np.int16
    assert dicom.series == "1.3.6.1.4.1.9590.100.1.2.296658988911737913102339329841519593982"


def test_a_series_beside_its_structures_is_the_series_alone():
    both, alone = _opened("ibsi_lung/dicom")[0], _opened("ibsi_lung/dicom/image")[0]
    assert both.grid == alone.grid
    np.testing.assert_array_equal(both.affine, alone.affine)


def test_the_series_lies_where_itk_places_it():
    source, space = _opened("ibsi_lung/dicom/image")
    folder = str(ROOT / "ibsi_lung/dicom/image")
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(folder)
    image = SimpleITK.ReadImage(names)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), source.read(source.grid.box))
    for index in ((0, 0, 0), (59, 200, 203), (30, 5, 100)):
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-4)


@pytest.mark.parametrize("name", SCANS)
def test_a_heatmap_lies_on_its_scan_for_itk(tmp_path, name):
    source, space = _opened(name)
    grid = source.grid.resampled((1.0, 1.0, 1.0))

    def bone(box):
        values = resample_box(source.read, source.grid, grid, box)
        return np.clip((values - 150) / 1000, 0, 1)

    write_heatmap(tmp_path / "a.nii.gz", bone, grid, space=space)
    written = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    if name.endswith(".nii.gz"):
        scanned = SimpleITK.ReadImage(str(ROOT / name))
        assert written.GetSize() == scanned.GetSize()
        np.testing.assert_allclose(written.GetSpacing(), scanned.GetSpacing(), rtol=1e-5)
        np.testing.assert_allclose(written.GetDirection(), scanned.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(written.GetOrigin(), scanned.GetOrigin(), atol=1e-3)
        affine = nibabel.load(ROOT / name).affine
        np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii.gz").affine, affine, rtol=1e-6)
    # bone of the scan and of the heatmap, at the same indices
    own = np.clip((source.read(source.grid.box).astype(np.float32) - 150) / 1000, 0, 1)
    found = SimpleITK.GetArrayFromImage(written)
    shifted = [_correlation(np.roll(found, s, axis), own) for axis in range(3) for s in (-1, 1)]
    assert _correlation(found, own) > 0.9
    assert _correlation(found, own) > max(shifted)


def _correlation(one, other):
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_the_flipped_scan_is_turned_back_by_its_affine():
    source, space = _opened("totalseg/example_ct.nii.gz")
    image = SimpleITK.ReadImage(str(ROOT / "totalseg/example_ct.nii.gz"))
    assert image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    rng = np.random.default_rng(0)
    for index in rng.integers(0, source.grid.shape, (20, 3)).tolist():
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-4)
        value = source.read(Box.sized(index, (1, 1, 1))).item()
        assert value == image.GetPixel(*index[::-1])


@pytest.mark.parametrize("name", SCANS)
def test_real_scans_count_as_ct(name):
    source, _ = _opened(name)
    check_hounsfield(name, scan(source.read, source.grid, source.array.dtype))


@pytest.mark.parametrize(
    "name", ["totalseg/example_seg.nii.gz", "ibsi_lung/nifti/mask/mask.nii.gz"]
)
def test_masks_do_not_count_as_ct(name):
    source, _ = _opened(name)
    with pytest.raises(VoxelError, match="not a CT in Hounsfield units"):
        check_hounsfield(name, scan(source.read, source.grid, source.array.dtype))
