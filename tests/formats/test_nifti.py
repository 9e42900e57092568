import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_slices import OBLIQUE
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import SourceError, SpacingError, VoxelError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.scan_space import ScanSpace

# Oblique and flipped, in millimetres.
AFFINE = np.eye(4)
AFFINE[:3, :3] = OBLIQUE * [-0.9, 1.1, 2.5]
AFFINE[:3, 3] = (90, -30, 7)
VALUES = np.random.default_rng(7).integers(-1000, 3000, (8, 10, 6)).astype(np.int16)


def _write(path, values=VALUES, *, affine=AFFINE, unit="mm", slope=None, inter=0.0):
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units(unit)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    if slope is not None:
        # nibabel rescales what it saves; put the stored integers back.
        raw = bytearray(Path(path).read_bytes())
        raw[352:] = values.tobytes(order="F")
        raw[112:120] = np.array([slope, inter], "<f4").tobytes()
        Path(path).write_bytes(raw)
    return str(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_axes_are_turned_and_the_affine_is_kept(tmp_path, name):
    source = open_source(_write(tmp_path / name))
    zooms = np.linalg.norm(AFFINE[:3, :3], axis=0)
    assert source.grid.shape == (6, 10, 8)
    assert source.grid.unit == "millimeter"
    assert source.grid.origin == (0, 0, 0)
    np.testing.assert_allclose(source.grid.spacing, zooms[::-1], rtol=1e-6)
    np.testing.assert_allclose(source.affine, AFFINE, rtol=1e-6)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES.T)
    assert source.array.dtype == np.int16


@pytest.fixture(scope="module", params=["a.nii", "a.nii.gz"])
def scan(request, tmp_path_factory):
    return open_source(_write(tmp_path_factory.mktemp("nifti") / request.param))


@settings(max_examples=15)
@given(st.data())
def test_any_box_is_the_same_part_of_the_whole(scan, data):
    pairs = [
        sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in scan.grid.shape
    ]
    box = Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    np.testing.assert_array_equal(scan.read(box), VALUES.T[box.slices])


def test_values_are_scaled_as_the_header_says(tmp_path):
    source = open_source(_write(tmp_path / "a.nii", slope=0.5, inter=-24.0))
    read = source.read(source.grid.box)
    assert read.dtype == source.array.dtype == np.float32
    np.testing.assert_array_equal(read, VALUES.T * 0.5 - 24)


@pytest.mark.parametrize(
    ("unit", "name", "factor"),
    [("micron", "micrometer", 1e-3), ("meter", "meter", 1e3), ("unknown", "millimeter", 1)],
)
def test_the_affine_is_in_millimetres_whatever_the_unit(tmp_path, unit, name, factor):
    source = open_source(_write(tmp_path / "a.nii", unit=unit))
    assert source.grid.unit == name
    np.testing.assert_allclose(source.affine[:3], AFFINE[:3] * factor, rtol=1e-6)


def test_spacing_from_the_user_scales_the_grid_and_the_positions(tmp_path):
    metadata = SourceMetadata(spacing=(3.0, 1.0, 1.0), unit="mm", origin=(1.0, 2.0, 3.0))
    source = open_source(_write(tmp_path / "a.nii"), metadata=metadata)
    assert source.grid == Grid((6, 10, 8), (3, 1, 1), (1, 2, 3), "millimeter")
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    image.SetSpacing((1.0, 1.0, 3.0))
    image.SetOrigin((3.0, 2.0, 1.0))
    space = ScanSpace(source.grid, source.affine)
    for index in [(0, 0, 0), (5, 9, 7), (2, 0, 6)]:
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-4)


def test_a_unit_from_the_user_holds_for_the_positions_too(tmp_path):
    path = _write(tmp_path / "a.nii")
    micrometres = open_source(path, metadata=SourceMetadata(unit="um"))
    np.testing.assert_allclose(micrometres.affine[:3], AFFINE[:3] / 1000, rtol=1e-6)
    assert micrometres.grid.unit == "micrometer"


def test_a_fourth_axis_is_the_channel(tmp_path):
    values = np.stack([VALUES, VALUES + 1], axis=-1)
    path = _write(tmp_path / "a.nii.gz", values)
    with pytest.raises(SourceError, match="2 channels: write channel=0"):
        open_source(path)
    source = open_source(path, metadata=SourceMetadata(channel=1))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES.T + 1)
    single = open_source(_write(tmp_path / "b.nii", values[..., :1]))
    np.testing.assert_array_equal(single.read(single.grid.box), VALUES.T)


def test_two_axes_are_a_plane_and_five_are_refused(tmp_path):
    path = _write(tmp_path / "a.nii", VALUES[:, :, 0])
    with pytest.raises(SpacingError, match="along z"):
        open_source(path)
    source = open_source(path, metadata=SourceMetadata(spacing=(1, 1, 1)))
    np.testing.assert_array_equal(source.read(source.grid.box)[0], VALUES[:, :, 0].T)
    with pytest.raises(SourceError, match=r"shape \(2, 2, 2, 2, 2\)"):
        open_source(_write(tmp_path / "b.nii", np.zeros((2,) * 5, np.uint8)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.99])
def test_a_truncated_file_is_found_when_it_is_opened(tmp_path, name, kept):
    path = Path(_write(tmp_path / name))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(SourceError, match=r"a\.nii.* truncated"):
        open_source(str(path))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_is_cut_after_opening_is_found_when_a_slab_is_read(tmp_path, name):
    path = Path(_write(tmp_path / name))
    source = open_source(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.nii.* cannot be read"):
        source.read(Box((5, 0, 0), (6, 10, 8)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_never_start_within_the_header(tmp_path, name):
    path = Path(_write(tmp_path / name))
    packed = name.endswith(".gz")
    raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    raw[108:112] = np.array([0], "<f4").tobytes()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(SourceError, match="start at byte 0, within its header of 348 bytes"):
        open_source(str(path))


def test_a_gzip_file_of_several_members_is_whole(tmp_path):
    raw = Path(_write(tmp_path / "a.nii")).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    source = open_source(str(path))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES.T)


def test_colours_and_complex_numbers_are_refused(tmp_path):
    rgb = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(SourceError, match=r"colour image \(3 values per voxel\)"):
        open_source(_write(tmp_path / "a.nii", rgb))
    with pytest.raises(SourceError, match="complex numbers"):
        open_source(_write(tmp_path / "b.nii", np.zeros((2, 3, 4), np.complex64)))


def test_a_volume_without_voxels_is_refused(tmp_path):
    with pytest.raises(VoxelError, match="no voxels along y"):
        open_source(_write(tmp_path / "a.nii", np.zeros((2, 0, 4), np.uint8)))


def test_what_is_no_nifti_is_named(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"a\.nii\.gz cannot be read"):
        open_source(str(tmp_path / "a.nii.gz"))


def test_a_file_without_affine_says_how_to_state_its_spacing(tmp_path):
    image = nibabel.Nifti1Image(VALUES, None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    nibabel.save(image, tmp_path / "a.nii")
    path = str(tmp_path / "a.nii")
    with pytest.raises(
        SpacingError,
        match=r"no affine \(sform_code and qform_code are 0\).*`spacing=Z,Y,X unit=millim",
    ):
        open_source(path)
    source = open_source(path, metadata=SourceMetadata(spacing=(2.5, 0.8, 0.7), unit="mm"))
    assert source.grid.spacing == (2.5, 0.8, 0.7)
    assert source.affine is None


def test_a_spacing_that_contradicts_the_affine_is_refused_unless_the_user_says_it(tmp_path):
    path = Path(_write(tmp_path / "a.nii"))
    raw = bytearray(path.read_bytes())
    raw[80:92] = np.array([3, 3, 3], "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(SpacingError, match="contradicts itself: its pixdim states voxels of 3,3,3"):
        open_source(str(path))
    source = open_source(str(path), metadata=SourceMetadata(spacing=(2.5, 1.1, 0.9), unit="mm"))
    assert source.grid.spacing == (2.5, 1.1, 0.9)


@pytest.mark.parametrize("known", ["pixdim", "affine"])
def test_advice_on_a_contradiction_never_repeats_a_number_of_the_file(tmp_path, known):
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), 1)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = (0.9, 1.1, 2.5)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(SpacingError, match=r"2\.5,1\.1,0\.9, its affine 1,1,1") as caught:
        open_source(str(tmp_path / "a.nii"))
    assert "`spacing=Z,Y,X unit=millimeter`" in str(caught.value)
    true = (2.5, 1.1, 0.9) if known == "pixdim" else (1.0, 1.0, 1.0)
    source = open_source(
        str(tmp_path / "a.nii"), metadata=SourceMetadata(spacing=true, unit="millimeter")
    )
    np.testing.assert_allclose(np.diag(source.affine)[:3], true[::-1], rtol=1e-6)


def test_a_spacing_of_zero_is_one_error(tmp_path):
    path = Path(_write(tmp_path / "a.nii"))
    raw = bytearray(path.read_bytes())
    raw[80:84] = bytes(4)
    path.write_bytes(raw)
    with pytest.raises(SpacingError, match=r"a\.nii .*along x: write `spacing="):
        open_source(str(path))


@pytest.mark.parametrize("skew", [0.02, 0.4])
def test_sheared_axes_are_refused_by_name(tmp_path, skew):
    affine = AFFINE.copy()
    affine[:3, 2] += skew * affine[:3, 1]
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_sform(affine, 1)
    image.header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(SourceError, match=r"a\.nii .* axes y and z meet at .* degrees"):
        open_source(str(tmp_path / "a.nii"))


def test_axes_rounded_to_four_digits_are_read_as_perpendicular(tmp_path):
    affine = AFFINE.copy()
    affine[:3, :3] = np.round(OBLIQUE, 4) * [-0.9, 1.1, 2.5]
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_sform(affine, 1)
    image.header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    nibabel.save(image, tmp_path / "a.nii")
    found = open_source(str(tmp_path / "a.nii")).affine
    directions = found[:3, :3] / np.linalg.norm(found[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found, affine, atol=1e-3)


def test_two_placements_in_one_file_are_refused(tmp_path):
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    moved = AFFINE.copy()
    moved[2, 3] += 200
    image.set_sform(moved, 2)
    image.set_qform(AFFINE, 1, update_affine=False)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(SourceError, match=r"200 mm apart: its sform \(code 2\) and its qform"):
        open_source(str(tmp_path / "a.nii"))
    # as the message says
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "b.nii")
    np.testing.assert_allclose(open_source(str(tmp_path / "b.nii")).affine, moved, rtol=1e-6)


@settings(max_examples=30)
@given(turn=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_a_rounded_quaternion_is_no_second_placement(tmp_path_factory, turn):
    affine = np.eye(4)
    quaternion = np.array(turn) / np.linalg.norm(turn)
    affine[:3, :3] = nibabel.quaternions.quat2mat(quaternion) * [0.7, 0.7, 2.5]
    path = tmp_path_factory.mktemp("quaternion") / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((512, 2, 400), np.uint8), affine), path)
    np.testing.assert_allclose(open_source(str(path)).affine, affine, atol=1e-5)


@pytest.mark.parametrize(("name", "packed"), [("a.nii.gz", False), ("a.nii", True)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_wrong_ending_is_seen_by_the_first_bytes(tmp_path, name, packed, kind):
    image = kind(VALUES, AFFINE)
    image.header.set_xyzt_units("mm")
    right = tmp_path / ("right.nii.gz" if packed else "right.nii")
    nibabel.save(image, right)
    (tmp_path / name).write_bytes(right.read_bytes())
    source = open_source(str(tmp_path / name))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES.T)
    np.testing.assert_array_equal(source.read(Box((2, 1, 0), (4, 3, 8))), VALUES.T[2:4, 1:3])
    np.testing.assert_allclose(source.affine, AFFINE, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_a_wrong_ending_keeps_the_scale_and_finds_a_missing_end(tmp_path, name):
    packed = name == "a.nii"
    raw = Path(_write(tmp_path / "right.nii", slope=0.5, inter=-24.0)).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(raw) if packed else raw)
    source = open_source(str(tmp_path / name))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES.T * 0.5 - 24)
    assert source.read(source.grid.box).dtype == np.float32
    short = raw[:-50]
    (tmp_path / name).write_bytes(gzip.compress(short) if packed else short)
    with pytest.raises(SourceError, match="truncated"):
        open_source(str(tmp_path / name))
