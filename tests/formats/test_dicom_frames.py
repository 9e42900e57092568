"""Enhanced multi-frame images: their frames are the slices of a volume."""

import shutil
import zipfile

import highdicom
import numpy as np
import pytest
from dicom_slices import AXIAL, OBLIQUE, enhanced_dataset, save, slice_dataset, write_series
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from parafovea.errors import SourceError
from parafovea.formats.dicom import selection
from parafovea.formats.location import format_modules, locate
from parafovea.formats.opening import open_source

VOLUME = np.random.default_rng(7).integers(-1024, 2000, (9, 12, 14)).astype(np.int16)
#: Frames in another order than slices.
MIXED = (4, 0, 8, 2, 6, 1, 7, 3, 5)


def read(path, **options):
    source = open_source(str(path), **options)
    return source, np.asarray(source.array[:, :, :])


@pytest.mark.parametrize("shared", [True, False], ids=["stated_once", "stated_by_frame"])
@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_frames_are_the_volume_that_single_slices_are(tmp_path, directions, shared):
    save(
        enhanced_dataset(VOLUME, order=MIXED, directions=directions, shared=shared),
        tmp_path / "enhanced" / "scan.dcm",
    )
    write_series(tmp_path / "single", VOLUME, directions=directions)
    one, values = read(tmp_path / "enhanced")
    two, same = read(tmp_path / "single")
    assert np.array_equal(values, VOLUME)
    assert np.array_equal(values, same)
    assert np.allclose(one.affine, two.affine)
    assert one.grid == two.grid


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_place_and_values_are_those_of_highdicom(tmp_path, directions):
    rescale = [(1 + k % 3, -1000 - k) for k in range(len(VOLUME))]
    dataset = enhanced_dataset(VOLUME, order=MIXED, directions=directions, rescale=rescale)
    dataset.FrameOfReferenceUID = "1.2.3"
    save(dataset, tmp_path / "scan.dcm")
    volume = highdicom.imread(tmp_path / "scan.dcm").get_volume(
        apply_real_world_transform=False, apply_modality_transform=True
    )
    source, values = read(tmp_path)
    affine = np.diag([-1, -1, 1, 1]) @ source.affine
    index = np.argwhere(np.ones(volume.spatial_shape, bool))
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    found = np.linalg.solve(affine[:3, :3], (places - affine[:3, 3]).T).T
    assert np.abs(found - np.rint(found)).max() < 1e-4
    x, y, z = np.rint(found).astype(int).T
    assert np.allclose(values[z, y, x], volume.array[tuple(index.T)])


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=["rle", "jpegls", "jpeg2000"]
)
@pytest.mark.parametrize("table", [True, False], ids=["with_offsets", "without_offsets"])
def test_compressed_frames_are_the_same_voxels(tmp_path, syntax, table):
    from pydicom.encaps import encapsulate, generate_frames

    dataset = enhanced_dataset(VOLUME + 1024, order=MIXED)
    dataset.PixelRepresentation = 0
    if syntax == RLELossless:
        dataset.compress(syntax)
    else:
        import imagecodecs

        encode = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else None
        planes = (VOLUME[list(MIXED)] + 1024).astype(np.uint16)
        frames = [
            encode(plane)
            if encode
            else imagecodecs.jpeg2k_encode(plane, reversible=True, codecformat="j2k")
            for plane in planes
        ]
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    if not table:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=len(VOLUME)))
        dataset.PixelData = encapsulate(frames, has_bot=False)
    save(dataset, tmp_path / "scan.dcm")
    _, values = read(tmp_path)
    assert np.array_equal(values, VOLUME + 1024)


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_of_the_file_are_the_same_voxels(tmp_path, syntax):
    big = syntax == ExplicitVRBigEndian
    dataset = enhanced_dataset(VOLUME, order=MIXED, syntax=syntax)
    if big:
        dataset.PixelData = VOLUME[list(MIXED)].astype(">i2").tobytes()
    save(dataset, tmp_path / "scan.dcm")
    assert np.array_equal(read(tmp_path)[1], VOLUME)


def test_a_box_of_an_archive_reads_its_frames_alone(tmp_path):
    save(enhanced_dataset(VOLUME, order=MIXED), tmp_path / "scan" / "scan.dcm")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "scan" / "scan.dcm", "scan.dcm")
    source = open_source(str(tmp_path / "scan.zip"))
    assert np.array_equal(source.array[3:7, 2:9, 1:5], VOLUME[3:7, 2:9, 1:5])
    assert np.array_equal(source.array[0:9, 0:12, 0:14], VOLUME)


@pytest.mark.parametrize("name", ["scan.dcm", "IM0001"])
def test_one_file_is_a_source_by_itself_if_it_has_frames(tmp_path, name):
    save(enhanced_dataset(VOLUME, order=MIXED), tmp_path / name)
    save(enhanced_dataset(VOLUME + 1, number=2), tmp_path / "other.dcm")
    assert np.array_equal(read(tmp_path / name)[1], VOLUME)
    assert locate(str(tmp_path / name)).files == (str(tmp_path / name),)
    assert "parafovea.formats.dicom.series" in format_modules(str(tmp_path / name))
    save(slice_dataset(VOLUME[0], (0, 0, 0)), tmp_path / "slice.dcm")
    with pytest.raises(SourceError, match="one DICOM file: give the folder of its series"):
        read(tmp_path / "slice.dcm")


def test_parts_of_a_concatenation_are_one_volume(tmp_path):
    for number, planes in enumerate(([7, 1, 3], [0, 2, 8, 4], [5, 6])):
        save(enhanced_dataset(VOLUME, order=planes, number=number), tmp_path / f"{number}.dcm")
    assert np.array_equal(read(tmp_path)[1], VOLUME)


@pytest.mark.parametrize("kind", [LegacyConvertedEnhancedCTImageStorage, EnhancedMRImageStorage])
def test_other_enhanced_images_are_read_alike(tmp_path, kind):
    dataset = enhanced_dataset(VOLUME)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    save(dataset, tmp_path / "scan.dcm")
    assert np.array_equal(read(tmp_path)[1], VOLUME)


def test_several_volumes_are_refused_with_the_choice_and_one_is_chosen(tmp_path):
    stacks = [("1", 1), ("1", 2)] * 4 + [("2", 1)]
    save(enhanced_dataset(VOLUME, stacks=stacks), tmp_path / "scan.dcm")
    with pytest.raises(SourceError, match="3 volumes") as caught:
        read(tmp_path)
    assert "channel=1 for StackID 1, TemporalPositionIndex 2 (4 frames)" in str(caught.value)
    assert np.array_equal(read(tmp_path, metadata="channel=1")[1], VOLUME[1:8:2])
    with pytest.raises(SourceError, match="3 channels, and no channel 3"):
        read(tmp_path, metadata="channel=3")


def test_missing_groups_and_elements_are_named_with_their_frame(tmp_path):
    dataset = enhanced_dataset(VOLUME)
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    save(dataset, tmp_path / "scan.dcm")
    with pytest.raises(SourceError, match=r"scan.dcm \(frame 4\).*ImagePositionPatient"):
        read(tmp_path)
    dataset = enhanced_dataset(VOLUME)
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]
    save(dataset, tmp_path / "scan.dcm")
    with pytest.raises(SourceError, match=r"9 frames .* describes 8"):
        read(tmp_path)


def test_truncated_frames_are_refused(tmp_path):
    dataset = enhanced_dataset(VOLUME)
    dataset.PixelData = dataset.PixelData[:-400]
    save(dataset, tmp_path / "scan.dcm")
    with pytest.raises(SourceError, match="truncated"):
        read(tmp_path)


def test_a_file_of_one_slice_may_not_be_as_large_as_one_of_frames(tmp_path, monkeypatch):
    save(enhanced_dataset(VOLUME), tmp_path / "scan" / "scan.dcm")
    save(slice_dataset(VOLUME[0], (0, 0, 0)), tmp_path / "slice" / "slice.dcm")
    monkeypatch.setattr(selection, "LARGEST_SLICE", 400)
    assert np.array_equal(read(tmp_path / "scan")[1], VOLUME)
    with pytest.raises(SourceError, match=r"more than the 400 that a slice may have"):
        read(tmp_path / "slice")


def test_frames_without_places_are_refused_by_name(tmp_path):
    dataset = slice_dataset(VOLUME[0], (0, 0, 0), NumberOfFrames=3)
    dataset.PixelData = VOLUME[:3].tobytes()
    save(dataset, tmp_path / "scan.dcm")
    with pytest.raises(SourceError, match=r"3 frames .*PerFrameFunctionalGroupsSequence"):
        read(tmp_path)


def test_frames_of_a_tilted_gantry_are_refused_with_the_angle(tmp_path):
    dataset = enhanced_dataset(VOLUME, spacing=(2.5, 0.7, 0.8))
    slope = np.tan(np.deg2rad(15)) * 2.5
    for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [0, f"{k * slope:.8g}", 2.5 * k]
    save(dataset, tmp_path / "scan.dcm")
    with pytest.raises(SourceError, match="tilted by 15 degrees"):
        read(tmp_path)


def test_a_copy_of_a_file_is_refused_by_its_frames(tmp_path):
    folder = tmp_path / "scan"
    save(enhanced_dataset(VOLUME), folder / "scan.dcm")
    shutil.copy(folder / "scan.dcm", folder / "again.dcm")
    with pytest.raises(SourceError, match="same position"):
        read(folder)
