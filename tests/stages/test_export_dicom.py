"""Results as DICOM objects: their voxels and positions against the scan's nodules and the table."""

import json
import shutil

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from chest_scan import Nodule, chest, ellipsoid, heat
from dicom_slices import AXIAL, OBLIQUE, PATIENT, enhanced_dataset, save, write_series
from pydicom.sr.codedict import codes

from parafovea.errors import SourceError, StoreError
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Grid
from parafovea.settings.recipe import Normalization
from parafovea.stages.detect_nodules import detect_nodules
from parafovea.stages.export_dicom import export_dicom
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import create

SHAPE, SPACING = (44, 92, 136), (2.8, 2.3, 2.2)
CHEST = Grid(SHAPE, SPACING, (-60.0, -104.0, -150.0), "millimeter")
#: LPS position of the first voxel.
ORIGIN = (-91.7, 33.25, -1200.5)
NODULES = (
    Nodule((10, 5, 60), 7.0, hu=-50, heat=0.97),
    Nodule((-20, 20, -50), 5.0, hu=-300, heat=0.9),
    Nodule((-30, -10, 65), 4.0, hu=50, heat=0.8),
)

#: Study, frame of reference and instances, which the slices of other tests do not state.
STUDY = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.9",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.8",
    "StudyDate": "20240131",
    "StudyTime": "101112",
    "SeriesNumber": 3,
    "StudyID": "",
    "AccessionNumber": "",
    "PatientSex": "F",
    "PatientName": "Müller^Jörg",
    "SpecificCharacterSet": "ISO_IR 100",
}

TILT = np.deg2rad(25)
#: Directions along x, y, z of the array, as columns (LPS).
ORIENTATIONS = {
    "axial": AXIAL,
    "head_first_reversed": np.diag([1.0, -1.0, -1.0]),
    "turned_in_plane": np.array(
        [[np.cos(TILT), -np.sin(TILT), 0], [np.sin(TILT), np.cos(TILT), 0], [0, 0, 1]]
    ),
    "tilted_stack": np.array(
        [[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]]
    ),
    "oblique": OBLIQUE,
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]),
    "sagittal": np.array([[0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0]]),
}


def predicted(folder, directions=AXIAL, *, found=NODULES, series=None, metadata=""):
    """Write a series with its prediction and its detections, and return where its slices are."""
    source = series or folder / "series"
    if series is None:
        hu = chest(CHEST, found).astype(np.int16)
        write_series(
            source,
            hu,
            directions=directions,
            spacing=SPACING,
            origin=ORIGIN,
            **STUDY,
        )
    local = CHEST.resampled((1.6,) * 3)
    # the world of the scan's grid begins at its first voxel
    start = [a - b for a, b in zip(local.origin, CHEST.origin, strict=True)]
    grid = Grid(local.shape, local.spacing, tuple(start), "millimeter")
    made = {"model": {"name": "chest", "sha256": "ab" * 32}}
    values = heat(local, found)
    path = folder / "prediction.ome.zarr"
    with create(path, grid, dtype=np.float16, channels=("nodule",), attributes=made) as array:
        array[:] = values[None].astype(np.float16)
    resample_volume(
        folder / "volume.ome.zarr",
        source=str(source),
        metadata=metadata,
        spacing=(8.0, 8.0, 8.0),
        unit="millimeter",
        normalization=Normalization(method="window", low=-1000, high=400),
        check_hounsfield=True,
        find_body=True,
    )
    detect_nodules(
        folder / "prediction.ome.zarr",
        folder / "volume.ome.zarr",
        folder / "detections.json",
        folder / "detections.csv",
        folder / "heatmap.nii.gz",
        sample="patient_001",
        source=str(source),
        metadata=metadata,
        settings={},
        calibration=None,
        limits={},
    )
    return source


def exported(folder, source, name="out", **options):
    (folder / name).mkdir()
    export_dicom(
        folder / "prediction.ome.zarr",
        folder / name / "segmentation.dcm",
        folder / name / "measurements.dcm",
        folder / "detections.json",
        folder / "volume.ome.zarr",
        source=str(source),
        settings={},
        **options,
    )
    return folder / name


def voxels_in_patient(mask, affine):
    """Return the LPS positions of the voxels (x, y, z) of a NIfTI mask."""
    index = np.argwhere(mask)
    return (index @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1]


def nodule_positions(directions):
    """Return the LPS positions of the voxels of the scan's nodules, from the slices' geometry."""
    inside = [ellipsoid(CHEST, each.centre, (each.radius,) * 3) for each in NODULES]
    index = np.argwhere(np.any(inside, axis=0))[:, ::-1]
    return ORIGIN + (index * SPACING[::-1]) @ np.asarray(directions).T


def segment_positions(path, number):
    """Return the LPS positions of a segment's voxels, by pydicom alone, frame by frame."""
    found = pydicom.dcmread(path)
    frames = found.pixel_array
    frames = frames[None] if frames.ndim == 2 else frames
    shared = found.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(
        [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient], (2, 3)
    )
    dy, dx = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    places = []
    for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        named = group if "SegmentIdentificationSequence" in group else shared
        if named.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        j, i = np.nonzero(frame)
        places.append(origin + i[:, None] * dx * row + j[:, None] * dy * column)
    return np.concatenate(places)


def in_order(places):
    return places[np.lexsort(np.round(places, 1).T)]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_segments_are_the_nodules_of_the_scan(tmp_path, name):
    source = predicted(tmp_path, ORIENTATIONS[name])
    out = exported(tmp_path, source)
    wanted = nodule_positions(ORIENTATIONS[name])
    each = [segment_positions(out / "segmentation.dcm", number) for number in (1, 2, 3)]
    got = np.concatenate(each)
    assert len(got) == len(wanted)
    assert np.abs(in_order(got) - in_order(wanted)).max() < 0.01
    document = json.loads((tmp_path / "detections.json").read_text())
    for places, detection in zip(each, document["detections"], strict=True):
        assert np.linalg.norm(places.mean(0) - detection["coordinates"]) < 0.7
        volume = len(places) * np.prod(SPACING)
        assert volume == pytest.approx(detection["properties"]["volume_mm3"], rel=1e-4)


@pytest.mark.parametrize("name", ["axial", "oblique", "sagittal"])
def test_highdicom_reads_the_segments_as_a_volume_on_the_slices(tmp_path, name):
    source = predicted(tmp_path, ORIENTATIONS[name])
    out = exported(tmp_path, source)
    found = highdicom.seg.segread(out / "segmentation.dcm")
    slices = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, source.iterdir())}
    assert {str(uid) for _, _, uid in found.get_source_image_uids()} <= set(slices)
    assert found.StudyInstanceUID == STUDY["StudyInstanceUID"]
    assert found.FrameOfReferenceUID == STUDY["FrameOfReferenceUID"]
    for group in found.PerFrameFunctionalGroupsSequence:
        origin = group.DerivationImageSequence[0].SourceImageSequence[0]
        image = slices[origin.ReferencedSOPInstanceUID]
        assert np.allclose(
            group.PlanePositionSequence[0].ImagePositionPatient, image.ImagePositionPatient
        )
    volume = found.get_volume(combine_segments=True, allow_missing_positions=True)
    index = np.argwhere(volume.array)
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    wanted = nodule_positions(ORIENTATIONS[name])
    assert np.abs(in_order(places) - in_order(wanted)).max() < 0.01


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_the_report_measures_the_segments_at_the_positions_of_the_table(tmp_path, name):
    source = predicted(tmp_path, ORIENTATIONS[name])
    out = exported(tmp_path, source)
    found = highdicom.sr.srread(out / "measurements.dcm")
    seg = pydicom.dcmread(out / "segmentation.dcm")
    assert found.SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    assert found.StudyInstanceUID == STUDY["StudyInstanceUID"]
    groups = found.content.get_volumetric_roi_measurement_groups()
    detections = json.loads((tmp_path / "detections.json").read_text())["detections"]
    assert len(groups) == len(detections) == 3
    for number, (group, detection) in enumerate(zip(groups, detections, strict=True), start=1):
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert segment[0].referenced_segment_numbers == [number]
        assert group.tracking_uid == seg.SegmentSequence[number - 1].TrackingUID
        assert group.finding_type == codes.SCT.Nodule
        (diameter,) = group.get_measurements(name=codes.SCT.Diameter)
        assert diameter.value == detection["diameter_mm"]
        assert diameter.unit == codes.UCUM.Millimeter
        (placed,) = found.content.get_image_measurement_groups(tracking_uid=group.tracking_uid)
        (place,) = placed.get_measurements(name=codes.SCT.Diameter)[0].referenced_coordinates
        assert place.value[0] == pytest.approx(detection["coordinates"], abs=0.001)
        assert place.frame_of_reference_uid == STUDY["FrameOfReferenceUID"]
        (volume,) = group.get_measurements(name=codes.SCT.Volume)
        assert volume.value == detection["properties"]["volume_mm3"]
        (certainty,) = group.get_measurements(name=codes.DCM.CertaintyOfFinding)
        assert certainty.value == pytest.approx(100 * detection["confidence"])
        assert certainty.unit.value == "%"


def test_patient_and_study_are_those_of_the_source(tmp_path):
    source = predicted(tmp_path)
    out = exported(tmp_path, source)
    for name in ("segmentation.dcm", "measurements.dcm"):
        found = pydicom.dcmread(out / name)
        assert found.PatientName == STUDY["PatientName"]
        assert found.PatientID == PATIENT["PatientID"]
        assert found.StudyDate == found.ContentDate == STUDY["StudyDate"]
        assert found.ContentTime == STUDY["StudyTime"]
        assert found.SeriesInstanceUID != next(source.iterdir()).name
        # what is about the source alone
        assert PATIENT["SeriesDescription"] not in str(found.SeriesDescription)


def test_a_series_without_patient_or_with_odd_values_has_results(tmp_path):
    source = predicted(tmp_path)
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        for name in ("PatientName", "PatientID", "StudyTime", "AccessionNumber", "SeriesNumber"):
            delattr(dataset, name)
        dataset.PatientSex, dataset.StudyDate, dataset.PatientBirthDate = "U", "2024-31", ""
        dataset.PatientAge, dataset.StudyDescription = "about 40", "x" * 70
        dataset.save_as(path)
    out = exported(tmp_path, source)
    for name in ("segmentation.dcm", "measurements.dcm"):
        found = pydicom.dcmread(out / name)
        assert found.PatientID in (None, "")
        assert found.StudyDate in (None, "")
        assert found.ContentDate == "19700101"


def test_names_of_patients_are_neither_logged_nor_in_warnings(tmp_path, caplog, recwarn):
    source = predicted(tmp_path)
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "Secretname", "SECRET" * 20
        dataset.save_as(path)
    caplog.set_level("DEBUG")
    out = exported(tmp_path, source)
    assert pydicom.dcmread(out / "measurements.dcm").PatientName == "Secretname"
    said = caplog.text + "".join(str(each.message) for each in recwarn)
    assert "secret" not in said.lower()


def test_rounded_directions_and_positions_still_lie_on_the_slices(tmp_path):
    rounded = np.round(OBLIQUE, 3)
    source = predicted(tmp_path, rounded)
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        places = [f"{float(v):.1f}" for v in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = places
        dataset.save_as(path)
    for name in ("detections.json", "heatmap.nii.gz", "prediction.ome.zarr", "volume.ome.zarr"):
        place = tmp_path / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    predicted(tmp_path, series=source)
    out = exported(tmp_path, source)
    slices = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, source.iterdir())}
    seg = highdicom.seg.segread(out / "segmentation.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        image = slices[
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        ]
        assert group.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient


def test_a_rerun_gives_the_same_bytes_and_another_source_other_objects(tmp_path):
    source = predicted(tmp_path)
    first, again = exported(tmp_path, source), exported(tmp_path, source, "again")
    for name in ("segmentation.dcm", "measurements.dcm"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = exported(other, predicted(other, ORIENTATIONS["oblique"]))
    one, two = (pydicom.dcmread(each / "segmentation.dcm") for each in (first, elsewhere))
    assert one.SOPInstanceUID != two.SOPInstanceUID


def test_without_detections_the_report_says_that_there_is_none(tmp_path):
    source = predicted(tmp_path, found=())
    out = exported(tmp_path, source)
    seg = highdicom.seg.segread(out / "segmentation.dcm")
    assert seg.number_of_segments == 1
    assert not seg.pixel_array.any()
    found = highdicom.sr.srread(out / "measurements.dcm")
    assert not found.content.get_volumetric_roi_measurement_groups()
    (group,) = found.content.get_image_measurement_groups()
    (absent,) = (
        each for each in group.get_qualitative_evaluations() if each.name.meaning == "Presence"
    )
    assert absent.value == codes.SCT.Absent


def test_a_region_of_a_series_is_segmented_in_whole_slices(tmp_path):
    region = "region=10:40,0:92,5:130"
    source = predicted(tmp_path, ORIENTATIONS["oblique"], metadata=region)
    out = exported(tmp_path, source, metadata=region)
    seg = pydicom.dcmread(out / "segmentation.dcm")
    assert (seg.Rows, seg.Columns) == SHAPE[1:]
    image = nibabel.load(tmp_path / "heatmap.nii.gz")
    assert image.shape == (125, 92, 30)
    wanted = nodule_positions(ORIENTATIONS["oblique"])
    numbers = range(1, len(seg.SegmentSequence) + 1)
    got = np.concatenate([segment_positions(out / "segmentation.dcm", n) for n in numbers])
    assert len(got) == len(wanted) > 0
    assert np.abs(in_order(got) - in_order(wanted)).max() < 0.01


@pytest.mark.parametrize("metadata", ["spacing=3,2,2 unit=mm", "origin=0,0,0 unit=mm"])
def test_another_place_than_that_of_the_slices_is_refused(tmp_path, metadata):
    source = predicted(tmp_path)
    with pytest.raises(SourceError, match="lie where its slices say"):
        exported(tmp_path, source, metadata=metadata)


def test_frames_of_an_enhanced_image_are_referred_to_by_their_numbers(tmp_path):
    hu = chest(CHEST, NODULES).astype(np.int16)
    order = np.random.default_rng(1).permutation(len(hu)).tolist()
    place = {"spacing": SPACING, "origin": ORIGIN}
    dataset = enhanced_dataset(
        hu, order=order, directions=ORIENTATIONS["oblique"], **place, **STUDY
    )
    save(dataset, tmp_path / "scan.dcm")
    out = exported(tmp_path, predicted(tmp_path, series=tmp_path / "scan.dcm"))
    wanted = nodule_positions(ORIENTATIONS["oblique"])
    got = np.concatenate([segment_positions(out / "segmentation.dcm", n) for n in (1, 2, 3)])
    assert np.abs(in_order(got) - in_order(wanted)).max() < 0.01
    seg = pydicom.dcmread(out / "segmentation.dcm")
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    for group in seg.PerFrameFunctionalGroupsSequence:
        origin = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert origin.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
        frame = dataset.PerFrameFunctionalGroupsSequence[origin.ReferencedFrameNumber - 1]
        assert np.allclose(
            frame.PlanePositionSequence[0].ImagePositionPatient,
            group.PlanePositionSequence[0].ImagePositionPatient,
            atol=1e-6,
        )
    highdicom.sr.srread(out / "measurements.dcm")


def test_classes_of_a_segmentation_are_segments_with_their_volume(tmp_path):
    source = tmp_path / "series"
    directions = ORIENTATIONS["oblique"]
    volume = np.zeros((10, 20, 24), np.int16)
    write_series(source, volume, directions=directions, spacing=(4.0, 2.0, 1.5), **STUDY)
    grid = Grid((20, 20, 24), (2.0, 2.0, 1.5), (-1.0, 0.0, 0.0), "millimeter")
    made = {"model": {"name": "organs"}, "classes": ["background", "liver", "made_up"]}
    with create(tmp_path / "prediction.ome.zarr", grid, dtype=np.uint8, attributes=made) as array:
        array[:] = 0
    with create(tmp_path / "classes.ome.zarr", grid, dtype=np.uint8, attributes=made) as array:
        array[4:8, 5:10, 6:12] = 1
        array[12:14, 1:3, 20:24] = 2
    export_dicom(
        tmp_path / "prediction.ome.zarr",
        tmp_path / "segmentation.dcm",
        tmp_path / "measurements.dcm",
        classes=tmp_path / "classes.ome.zarr",
        source=str(source),
    )
    seg = highdicom.seg.segread(tmp_path / "segmentation.dcm")
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["liver", "made_up"]
    assert seg.SegmentSequence[0].segmented_property_type == codes.SCT.Liver
    assert seg.SegmentSequence[1].segmented_property_type.scheme_designator == "99PARAFOVEA"
    scan = open_source(str(source))
    wanted = np.zeros((10, 20, 24), bool)
    wanted[2:4, 5:10, 6:12] = True
    places = voxels_in_patient(wanted.transpose(2, 1, 0), scan.affine)
    got = segment_positions(tmp_path / "segmentation.dcm", 1)
    assert np.abs(in_order(got) - in_order(places)).max() < 0.01
    found = highdicom.sr.srread(tmp_path / "measurements.dcm").content
    group, _ = found.get_volumetric_roi_measurement_groups()
    (size,) = group.get_measurements(name=codes.SCT.Volume)
    assert size.value == 2 * 5 * 6 * 4.0 * 2.0 * 1.5
    placed, _ = found.get_image_measurement_groups()
    (place,) = placed.get_measurements(name=codes.SCT.Volume)[0].referenced_coordinates
    assert place.value[0] == pytest.approx(places.mean(0), abs=0.001)


@pytest.mark.parametrize("tag", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_a_series_that_lacks_what_results_repeat_is_refused_by_name(tmp_path, tag):
    source = predicted(tmp_path)
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        delattr(dataset, tag)
        dataset.save_as(path)
    with pytest.raises(SourceError, match=tag):
        exported(tmp_path, source)


def test_slices_that_share_their_identifier_are_refused(tmp_path):
    source = predicted(tmp_path)
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = "1.2.3.4.5"
        dataset.save_as(path)
    with pytest.raises(SourceError, match="have one SOPInstanceUID"):
        exported(tmp_path, source)


def test_detections_of_another_prediction_are_refused(tmp_path):
    source = predicted(tmp_path)
    document = json.loads((tmp_path / "detections.json").read_text())
    document["detections"][0]["coordinates"][0] += 1
    (tmp_path / "detections.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="run detect_nodules again"):
        exported(tmp_path, source)


def test_an_archive_of_the_series_gives_the_same_objects(tmp_path):
    source = predicted(tmp_path)
    out = exported(tmp_path, source)
    packed = shutil.make_archive(str(tmp_path / "series"), "zip", source)
    again = exported(tmp_path, packed, "packed")
    for name in ("segmentation.dcm", "measurements.dcm"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
