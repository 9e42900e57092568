"""Heatmaps in the scan's own voxels lie where the scan lies, for every program that reads them."""

import itertools
import tracemalloc

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_slices import OBLIQUE, write_series
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parafovea.errors import GridError
from parafovea.formats import nifti, open_source
from parafovea.formats.nifti import HEATMAP_STEPS, write_heatmap, write_nifti
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.scan_space import LPS_TO_RAS, ScanSpace

SHAPE = (5, 6, 7)
#: An oblique scan with a flipped axis, in RAS millimetres.
AFFINE = np.eye(4)
AFFINE[:3, :3] = OBLIQUE * [-0.9, 0.8, 2.5]
AFFINE[:3, 3] = (90, -30, 7)
FIELD = np.random.default_rng(1).random(SHAPE, np.float32)


def _space(affine=AFFINE, shape=SHAPE):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    return ScanSpace(Grid(shape, tuple(spacing), unit="millimeter"), affine)


def _reader(values):
    return lambda box: values[box.slices]


def _float(low, high):
    return st.floats(low, high, allow_nan=False)


@st.composite
def affines(draw):
    """Draw affines of scans: rotated, flipped, anisotropic, anywhere in a large scanner."""
    turn = np.linalg.qr(draw(arrays(np.float64, (3, 3), elements=_float(-1, 1))))[0]
    flips = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn * flips * [draw(_float(0.3, 5)) for _ in range(3)]
    affine[:3, 3] = [draw(_float(-2000, 2000)) for _ in range(3)]
    return affine


#: The z axis along x, and the two others half a milliradian off: a quaternion of b = c, d = 0.
NEAR_A_HALF_TURN = np.array(
    [[0, 0, 1, 0], [5e-4, -1, 0, 0], [1, 5e-4, 0, 0], [0, 0, 0, 1]], dtype=float
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines())
def test_every_voxel_of_a_large_scan_is_within_a_hundredth_voxel_of_its_place(tmp_path, affine):
    path = tmp_path / "a.nii"
    write_nifti(path, _reader(FIELD), space=_space(affine))
    by_nibabel = LPS_TO_RAS @ nibabel.load(path).affine
    image = SimpleITK.ReadImage(str(path))
    by_itk = np.eye(4)
    by_itk[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    by_itk[:3, 3] = image.GetOrigin()
    corners = np.array([*itertools.product((0, 511), (0, 511), (0, 799))])
    world = _space(affine, (800, 512, 512)).world_of_voxel(corners[:, ::-1])
    for found in (by_nibabel, by_itk):
        back = nibabel.affines.apply_affine(np.linalg.inv(found), world)
        assert np.abs(back - corners).max() < 0.01


def test_voxels_come_back_by_this_reader_and_by_itk(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_nifti(path, _reader(FIELD), space=_space())
    source = open_source(str(path))
    np.testing.assert_array_equal(source.read(source.grid.box), FIELD)
    assert source.grid.same_place(_space().grid)
    np.testing.assert_allclose(source.affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)), FIELD)


def test_a_heatmap_is_interpolated_linearly_where_the_scans_voxels_are(tmp_path):
    space = _space(shape=(12, 30, 32))
    grid = space.grid.resampled((1.0, 1.0, 1.0))
    # linear along every axis, so that interpolation is exact but for the outermost voxels
    z, y, x = (
        grid.origin[a] + grid.spacing[a] * np.arange(grid.shape[a], dtype=np.float64)
        for a in range(3)
    )
    plane = (2 * z[:, None, None] + y[:, None] + 3 * x) / 200
    write_heatmap(tmp_path / "a.nii.gz", _reader(plane.astype(np.float32)), grid, space=space)
    image = nibabel.load(tmp_path / "a.nii.gz")
    found = np.asarray(image.dataobj).T
    z, y, x = (space.grid.spacing[a] * np.arange(space.grid.shape[a]) for a in range(3))
    expected = np.clip((2 * z[:, None, None] + y[:, None] + 3 * x) / 200, 0, 1)
    assert found.dtype == np.float32
    inner = (slice(1, -1),) * 3
    half = 0.5 / HEATMAP_STEPS
    np.testing.assert_allclose(found[inner], expected[inner], atol=half + 1e-6, rtol=0)
    np.testing.assert_array_equal(found * HEATMAP_STEPS % 1, 0)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


def test_a_peak_keeps_its_place_and_its_height_in_thick_slices(tmp_path):
    space = _space(np.diag([-0.7, -0.7, 3.0, 1.0]), (10, 40, 40))
    grid = Grid((30, 28, 28), (1, 1, 1), unit="millimeter")
    heatmap = np.zeros(grid.shape, np.float32)
    heatmap[12, 14, 7] = 0.9
    write_heatmap(tmp_path / "a.nii", _reader(heatmap), grid, space=space)
    found = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj).T
    assert np.unravel_index(found.argmax(), found.shape) == (4, 20, 10)
    assert found.max() == pytest.approx(0.9, abs=0.5 / HEATMAP_STEPS)


def test_a_heatmap_lies_on_a_dicom_series_for_itk(tmp_path):
    volume = np.zeros((9, 20, 22), np.int16)
    volume[3:6, 8:12, 5:10] = 1000
    files = write_series(tmp_path / "scan", volume, directions=OBLIQUE)
    source = open_source(str(tmp_path / "scan"))
    space = ScanSpace(source.grid, source.affine)
    write_heatmap(
        tmp_path / "heatmap.nii.gz",
        lambda box: source.read(box) / np.float32(1000),
        source.grid,
        space=space,
    )
    scan = SimpleITK.ReadImage([str(file) for file in files])
    heatmap = SimpleITK.ReadImage(str(tmp_path / "heatmap.nii.gz"))
    assert heatmap.GetSize() == scan.GetSize()
    np.testing.assert_allclose(heatmap.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(heatmap.GetDirection(), scan.GetDirection(), atol=1e-5)
    laid = SimpleITK.GetArrayFromImage(SimpleITK.Resample(heatmap, scan))
    np.testing.assert_allclose(laid, volume / 1000, atol=1e-3)


def test_the_same_voxels_give_the_same_bytes_whatever_the_slab(tmp_path, monkeypatch):
    write_nifti(tmp_path / "a.nii.gz", _reader(FIELD), space=_space())
    monkeypatch.setattr(nifti, "SLAB_VOXELS", 50)
    write_nifti(tmp_path / "b.nii.gz", _reader(FIELD), space=_space())
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "SLAB_VOXELS", 50)
    (tmp_path / "a.nii.gz").write_bytes(b"before")

    def fail(box):
        if box.start[0] > 2:
            raise RuntimeError("the heatmap is damaged")
        return FIELD[box.slices]

    with pytest.raises(RuntimeError):
        write_nifti(tmp_path / "a.nii.gz", fail, space=_space())
    assert [f.name for f in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == b"before"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), angle=st.sampled_from([0.0, 1e-4, 1e-3, 0.03]))
@example(affine=NEAR_A_HALF_TURN, angle=0.0)
def test_sform_and_qform_are_both_set_and_mean_the_same(tmp_path, affine, angle):
    # half turns, whose quaternion rounds worst, and turns close to them
    turned = affine.copy()
    small = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
    turned[:3, :3] = np.vstack([small, [0, 0, 1]]) @ np.diag([-1, -1, 1])
    for each in (affine, turned):
        write_nifti(tmp_path / "a.nii", _reader(FIELD), space=_space(each))
        header = nibabel.load(tmp_path / "a.nii").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
        far = np.array([511, 511, 799, 1])
        by_qform = np.eye(4)
        by_qform[:3, :3] = _standard_rotation(header) * header["pixdim"][1:4]
        by_qform[:3, 2] *= header["pixdim"][0]
        by_qform[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
        apart = np.linalg.norm((header.get_sform() - by_qform) @ far)
        # near a half turn, NIfTI's own library reads a first component below 3.2e-4 as 0, and the
        # angle is twice its error: 3.8e-4 was the largest of 12,000 random rotations
        assert apart < 5e-4 * np.linalg.norm(each[:3, :3] @ far[:3]) + 1e-3


def _standard_rotation(header):
    """Return the rotation of a qform by the formula of NIfTI's own library."""
    b, c, d = (float(header[f"quatern_{letter}"]) for letter in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    return nibabel.quaternions.quat2mat([np.sqrt(rest) if rest >= 1e-7 else 0.0, b, c, d])


@pytest.mark.parametrize("skew", [1e-4, 9e-4])
def test_axes_that_are_nearly_perpendicular_are_written_so_that_itk_opens_them(tmp_path, skew):
    affine = AFFINE.copy()
    affine[:3, 2] += skew * affine[:3, 1]
    space = _space(affine)
    write_nifti(tmp_path / "a.nii", _reader(FIELD), space=space)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    there = image.TransformIndexToPhysicalPoint((6, 5, 4))
    np.testing.assert_allclose(there, space.world_of_voxel((4, 5, 6)), atol=1e-4)
    np.testing.assert_allclose(there, (LPS_TO_RAS @ affine @ [6, 5, 4, 1])[:3], atol=0.02)


def test_a_sheared_scan_is_never_written(tmp_path):
    affine = AFFINE.copy()
    affine[0, 2] = 0.4
    with pytest.raises(GridError, match="meet at"):
        _space(affine)


@pytest.mark.parametrize("comment", ["", "x", '{"a": [1, 2], "b": "twenty-nine signs"}'])
def test_a_comment_stands_in_the_header_and_moves_no_voxel(tmp_path, comment):
    write_nifti(tmp_path / "a.nii", _reader(FIELD), space=_space(), comment=comment)
    image = nibabel.load(tmp_path / "a.nii")
    found = [each.get_content().rstrip(b"\x00").decode() for each in image.header.extensions]
    assert found == [comment] * bool(comment)
    np.testing.assert_array_equal(image.get_fdata().transpose(2, 1, 0), FIELD)
    by_itk = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(by_itk), FIELD)


def test_memory_is_bounded_by_a_slab(tmp_path):
    space = _space(np.diag([1.0, 1.0, 1.0, 1.0]), (400, 256, 256))
    grid = Grid((200, 128, 128), (2, 2, 2), (0.5, 0.5, 0.5), "millimeter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nifti, "SLAB_VOXELS", 2**18)
        tracemalloc.start()
        write_heatmap(
            tmp_path / "a.nii.gz", lambda box: np.ones(box.shape, np.float32), grid, space=space
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12 * 2**20
    assert Box.whole(space.grid.shape).size * 4 >= 100 * 2**20
