"""DICOM series: where the voxels lie, what they are, and what a series must not be."""

import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_slices import (
    AXIAL,
    OBLIQUE,
    PATIENT,
    SERIES,
    save,
    slice_dataset,
    write_series,
    write_structures,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from parafovea.errors import MissingSourceError, SourceError, SpacingError
from parafovea.formats.dicom import selection
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.geometry.grid import Box
from parafovea.geometry.scan_space import ScanSpace
from parafovea.settings.recipe import Normalization
from parafovea.stages.resample_volume import resample_volume

VOLUME = np.random.default_rng(3).integers(-1024, 3000, (6, 8, 10)).astype(np.int16)


def _all(source):
    return source.read(source.grid.box)


def _zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"export/{file.name}")
    return str(path)


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_voxels_lie_where_itk_places_them(tmp_path, directions):
    files = write_series(tmp_path / "scan", VOLUME, directions=directions)
    source = open_source(str(tmp_path / "scan"))
    image = SimpleITK.ReadImage([str(file) for file in files])
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), _all(source))
    assert source.grid.unit == "millimeter"
    np.testing.assert_allclose(source.grid.spacing, image.GetSpacing()[::-1], rtol=1e-6)
    space = ScanSpace(source.grid, source.affine)
    for index in np.ndindex(VOLUME.shape):
        there = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-5)


@pytest.mark.parametrize(
    "directions",
    [
        np.diag([-1.0, -1.0, 1.0]),
        np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]).T,
        np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).T,
    ],
    ids=["prone", "sagittal", "coronal"],
)
def test_flipped_and_turned_scans_keep_their_directions(tmp_path, directions):
    directions = directions * [1, 1, np.linalg.det(directions)]
    write_series(tmp_path, VOLUME, directions=directions)
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(_all(source), VOLUME)
    expected = np.diag([-1, -1, 1]) @ directions * [0.8, 0.7, 2.5]
    np.testing.assert_allclose(source.affine[:3, :3], expected, atol=1e-9)


def test_a_zip_gives_what_its_folder_gives_and_writes_nothing(tmp_path):
    write_series(tmp_path / "scan", VOLUME, directions=OBLIQUE)
    folder = open_source(str(tmp_path / "scan"))
    archive = _zipped(tmp_path / "scan", tmp_path / "scan.zip")
    before = sorted(tmp_path.rglob("*"))
    zipped = open_source(archive)
    np.testing.assert_array_equal(_all(zipped), _all(folder))
    assert zipped.grid == folder.grid
    assert zipped.series == folder.series == SERIES
    np.testing.assert_array_equal(zipped.affine, folder.affine)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zarr_in_an_archive_is_refused_by_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as archive:
        archive.writestr(".zarray", "{}")
        archive.writestr("0.0.0", b"")
    with pytest.raises(SourceError, match=r"a\.zarr\.zip is a Zarr in an archive.*unpack it"):
        open_source(str(tmp_path / "a.zarr.zip"))


def test_members_of_a_zip_are_never_written_whatever_their_names_are(tmp_path):
    write_series(tmp_path / "scan", VOLUME)
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in/scan.zip", "w") as archive:
        for file in (tmp_path / "scan").iterdir():
            archive.write(file, f"../../{file.name}")
    before = sorted(tmp_path.rglob("*"))
    np.testing.assert_array_equal(_all(open_source(str(tmp_path / "in/scan.zip"))), VOLUME)
    assert sorted(tmp_path.rglob("*")) == before


@settings(max_examples=20)
@given(data=st.data())
def test_any_box_is_the_same_part_of_the_whole(data, tmp_path_factory):
    source = _boxes_source(tmp_path_factory)
    pairs = [
        sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in VOLUME.shape
    ]
    box = Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    np.testing.assert_array_equal(source.read(box), VOLUME[box.slices])


_OPENED = {}


def _boxes_source(factory):
    if "source" not in _OPENED:
        folder = factory.mktemp("boxes")
        write_series(folder, VOLUME)
        _OPENED["source"] = open_source(str(folder))
        _OPENED["source"].array._keep = 2  # fewer than slices, so that some are decoded again
    return _OPENED["source"]


def test_each_slice_is_rescaled_by_its_own_slope_and_intercept(tmp_path):
    stored = np.random.default_rng(4).integers(0, 4000, (4, 5, 6)).astype(np.uint16)
    slopes = [1, 2, 0.5, 1.25]
    for k, (plane, slope) in enumerate(zip(stored, slopes, strict=True)):
        dataset = slice_dataset(
            plane, (0, 0, 3 * k), RescaleSlope=str(slope), RescaleIntercept=str(-1024 + k)
        )
        save(dataset, tmp_path / f"{9 - k}.dcm")
    source = open_source(str(tmp_path))
    expected = [
        p * float(s) - 1024 + k for k, (p, s) in enumerate(zip(stored, slopes, strict=True))
    ]
    assert source.array.dtype == np.float32
    np.testing.assert_array_equal(_all(source), np.asarray(expected, np.float32))


@pytest.mark.parametrize(
    ("bits", "intercept", "dtype"),
    [(12, "-1024", "int16"), (16, "-1024", "int32"), (12, "-1024.5", "float32")],
)
def test_voxels_get_the_narrowest_type_that_holds_all_values(tmp_path, bits, intercept, dtype):
    stored = np.array([[0, 4095], [7, 1024]], np.uint16)
    dataset = slice_dataset(
        stored,
        (0, 0, 0),
        BitsStored=bits,
        HighBit=bits - 1,
        RescaleIntercept=intercept,
        SliceThickness="2",
    )
    save(dataset, tmp_path / "a.dcm")
    source = open_source(str(tmp_path))
    assert source.array.dtype == dtype
    assert source.grid.spacing == (2, 0.7, 0.8)
    np.testing.assert_array_equal(_all(source)[0], stored + float(intercept))


def test_bits_above_those_stored_do_not_count(tmp_path):
    stored = np.array([[0xF000 | 5, 0x0FFF]], np.uint16)
    elements = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1, "SliceThickness": "1"}
    save(slice_dataset(stored, (0, 0, 0), **elements), tmp_path / "a.dcm")
    np.testing.assert_array_equal(_all(open_source(str(tmp_path))), [[[5, -1]]])


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_plain_transfer_syntax_is_read(tmp_path, syntax):
    volume = VOLUME.astype(">i2") if syntax == ExplicitVRBigEndian else VOLUME
    write_series(tmp_path, volume, syntax=syntax)
    np.testing.assert_array_equal(_all(open_source(str(tmp_path))), VOLUME)


def test_what_is_no_image_is_left_out(tmp_path):
    write_series(tmp_path, VOLUME)
    write_structures(tmp_path / "structures.dcm")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "VERSION").write_bytes(b"x" * 500)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    np.testing.assert_array_equal(_all(open_source(str(tmp_path))), VOLUME)


def test_files_without_ending_and_in_folders_below_are_found(tmp_path):
    for k, file in enumerate(write_series(tmp_path, VOLUME)):
        (tmp_path / f"part{k % 2}").mkdir(exist_ok=True)
        file.rename(tmp_path / f"part{k % 2}" / f"IM{k}")
    np.testing.assert_array_equal(_all(open_source(str(tmp_path))), VOLUME)


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path):
    files = write_series(tmp_path, VOLUME)
    files[3].unlink()
    with pytest.raises(SourceError, match=r"lacks 1 slice: from .* 5 mm, elsewhere 2\.5") as e:
        open_source(str(tmp_path))
    assert str(files[2]) in str(e.value)
    assert str(files[4]) in str(e.value)


def test_slices_that_may_be_missing_at_an_end_or_in_between_are_warned_of(tmp_path, caplog):
    volume = np.arange(6 * 4 * 5, dtype=np.int16).reshape(6, 4, 5)
    files = write_series(
        tmp_path, volume, ImagesInAcquisition=6, AcquisitionNumber=1, SliceThickness=2.5
    )
    for number, file in enumerate(files, start=1):
        dataset = pydicom.dcmread(file)
        dataset.InstanceNumber = number
        dataset.save_as(file)
    open_source(str(tmp_path))
    assert not caplog.records
    files[5].unlink()
    open_source(str(tmp_path))
    assert "5 slices are there, but ImagesInAcquisition is 6" in caplog.text
    assert "InstanceNumber" not in caplog.text
    for file in files[1:5:2]:
        file.unlink()
    open_source(str(tmp_path))
    assert "slices are 5 mm apart, but 2.5 mm is stated, and their InstanceNumber" in caplog.text


def test_two_slices_at_one_place_are_named(tmp_path):
    files = write_series(tmp_path, VOLUME)
    (tmp_path / "copy.dcm").write_bytes(files[2].read_bytes())
    with pytest.raises(SourceError, match="are at the same position, 35 mm") as e:
        open_source(str(tmp_path))
    assert str(files[2]) in str(e.value)
    assert "copy.dcm" in str(e.value)


def test_uneven_slices_are_refused_and_rounded_positions_are_not(tmp_path):
    rounded = [0, 0.6, 1.3, 1.9, 2.5, 3.1, 3.8]
    for place in rounded:
        save(slice_dataset(VOLUME[0], (0, 0, place)), tmp_path / f"good/{place}.dcm")
    assert open_source(str(tmp_path / "good")).grid.spacing[0] == pytest.approx(3.8 / 6)
    for place in (0, 2, 4, 6.8, 8):
        save(slice_dataset(VOLUME[0], (0, 0, place)), tmp_path / f"bad/{place}.dcm")
    with pytest.raises(
        SourceError, match=r"unevenly spaced slices, 1\.2 to 2\.8 mm apart: .*6\.8\.dcm"
    ):
        open_source(str(tmp_path / "bad"))


def test_a_tilted_gantry_is_refused(tmp_path):
    for k in range(4):
        save(slice_dataset(VOLUME[0], (0, 0.3 * k, 3 * k)), tmp_path / f"{k}.dcm")
    with pytest.raises(SourceError, match=r"shift sideways by 0\.3 mm"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": (0.7, 0.9)}, "pixel spacing"),
        ({"directions": OBLIQUE}, "orientation"),
        ({"stored": VOLUME[0, :4]}, "pixels"),
    ],
)
def test_a_slice_that_differs_is_named_with_both_values(tmp_path, change, message):
    write_series(tmp_path, VOLUME)
    options = {"stored": VOLUME[0], **change}
    save(slice_dataset(options.pop("stored"), (-100, -80, 45), **options), tmp_path / "x.dcm")
    with pytest.raises(SourceError, match=rf"x\.dcm has the {message}.*, but .*slice000"):
        open_source(str(tmp_path))


def test_one_of_several_series_is_chosen_by_its_uid(tmp_path):
    write_series(tmp_path, VOLUME)
    write_series(tmp_path, VOLUME[:4] + 1, prefix="other", series=f"{SERIES}.5")
    with pytest.raises(SourceError, match="2 series: write series=UID in the metadata") as e:
        open_source(str(tmp_path))
    assert f"{SERIES} (6 slices" in str(e.value)
    assert f"{SERIES}.5 (4 slices" in str(e.value)
    source = open_source(str(tmp_path), metadata=SourceMetadata(series=f"{SERIES}.5"))
    np.testing.assert_array_equal(_all(source), VOLUME[:4] + 1)
    with pytest.raises(SourceError, match=r"no series 1\.2: it contains"):
        open_source(str(tmp_path), metadata=SourceMetadata(series="1.2"))


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_a_truncated_slice_is_named_when_the_series_is_opened(tmp_path, kept, zipped):
    path = write_series(tmp_path / "scan", VOLUME)[4]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    source = str(tmp_path / "scan")
    if zipped:
        source = _zipped(tmp_path / "scan", tmp_path / "scan.zip")
    with pytest.raises(SourceError, match=path.name):
        open_source(source)


def test_the_last_slice_is_not_left_out_wherever_it_is_cut(tmp_path):
    path = write_series(tmp_path, VOLUME)[-1]
    whole = path.read_bytes()
    for kept in range(0, len(whole), 7 if len(whole) > 2000 else 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(SourceError, match=path.name):
            open_source(str(tmp_path))


def test_a_slice_that_is_cut_after_opening_is_named_when_it_is_read(tmp_path):
    path = write_series(tmp_path, VOLUME)[4]
    source = open_source(str(tmp_path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=path.name):
        _all(source)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImagePositionPatient": None}, "does not state ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "does not state ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "are not perpendicular unit vectors"),
        ({"ImagePositionPatient": [1, 2]}, "not 3 finite numbers"),
        ({"RescaleSlope": "0"}, "RescaleSlope 0"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "neither RescaleSlope nor"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, r"colour image \(RGB\)"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, r"smallest value is white \(MONOCHROME1\)"),
    ],
)
def test_a_file_that_is_no_slice_is_named(tmp_path, elements, message):
    save(slice_dataset(VOLUME[0], (0, 0, 0), **elements), tmp_path / "a.dcm")
    with pytest.raises(SourceError, match=rf"a\.dcm .*{message}"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("spacing", [None, [0, 0.7]], ids=["missing", "zero"])
def test_a_spacing_that_is_not_stated_comes_from_the_user(tmp_path, spacing):
    write_series(tmp_path, VOLUME, PixelSpacing=spacing)
    with pytest.raises(SpacingError, match=r"along y, x: write `spacing=2\.5,Y,X unit=millimeter`"):
        open_source(str(tmp_path))
    source = open_source(str(tmp_path), metadata=SourceMetadata(spacing=(2.5, 0.5, 0.6), unit="mm"))
    assert source.grid.spacing == (2.5, 0.5, 0.6)
    np.testing.assert_allclose(np.diag(source.affine), [-0.6, -0.5, 2.5, 1])


def test_a_folder_or_an_archive_without_slices_says_what_it_holds(tmp_path):
    write_structures(tmp_path / "only/structures.dcm")
    with pytest.raises(
        MissingSourceError, match=r"no DICOM slice \(other DICOM objects: RT Structure Set\)"
    ):
        open_source(str(tmp_path / "only"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="it is empty: give"):
        open_source(str(tmp_path / "empty"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(MissingSourceError, match="no DICOM slice"):
        open_source(str(tmp_path / "a.zip"))


def test_the_grid_is_planned_from_headers_alone(tmp_path):
    for file in write_series(tmp_path, VOLUME):
        data = bytearray(file.read_bytes())
        data[-VOLUME[0].nbytes :] = bytes(VOLUME[0].nbytes)
        file.write_bytes(data)
    grid = source_grid(str(tmp_path), metadata=SourceMetadata())
    assert grid.shape == VOLUME.shape
    np.testing.assert_allclose(grid.spacing, (2.5, 0.7, 0.8))


def test_nothing_of_the_patient_reaches_a_result(tmp_path):
    write_series(tmp_path / "scan", VOLUME)
    resample_volume(
        tmp_path / "volume.ome.zarr",
        source=str(tmp_path / "scan"),
        spacing=(2.0, 1.0, 1.0),
        unit="millimeter",
        normalization=Normalization(method="window", low=-1000, high=400),
    )
    written = [f.read_bytes() for f in (tmp_path / "volume.ome.zarr").rglob("*") if f.is_file()]
    assert any(SERIES.encode() in content for content in written)
    for secret in PATIENT.values():
        assert not any(secret.encode() in content for content in written)


def test_pixels_that_are_no_dicom_at_all_are_named(tmp_path):
    write_series(tmp_path, VOLUME)
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM" * 100)
    with pytest.raises(SourceError, match=r"broken\.dcm"):
        open_source(str(tmp_path))


def test_old_files_without_preamble_are_read(tmp_path):
    for file in write_series(tmp_path, VOLUME, syntax=ImplicitVRLittleEndian):
        bare = pydicom.Dataset(pydicom.dcmread(file))
        pydicom.dcmwrite(file, bare, implicit_vr=True, little_endian=True)
        assert file.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(_all(open_source(str(tmp_path))), VOLUME)


def _write_at(folder, offsets, *, directions=AXIAL, volume=None):
    """Write slices of 2.5 mm, each moved by its offset along the array's x, y, z."""
    stored = np.zeros((len(offsets), 4, 5), np.int16) if volume is None else volume
    for k, (offset, plane) in enumerate(zip(offsets, stored, strict=True)):
        place = np.array([-100.0, -80, 30]) + directions @ np.add(offset, (0, 0, 2.5 * k))
        save(slice_dataset(plane, place, directions=directions), folder / f"IM{k:02d}.dcm")
    return str(folder)


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("moved", [[3], [0], [11], [5, 6, 7]])
def test_a_slice_out_of_line_is_named(tmp_path, directions, moved):
    offsets = [(0, 1.5, 0) if k in moved else (0, 0, 0) for k in range(12)]
    path = _write_at(tmp_path, offsets, directions=directions)
    with pytest.raises(SourceError, match=rf"IM{moved[0]:02d}\.dcm is 1\.5 mm off the line"):
        open_source(path)


@pytest.mark.parametrize("tilt", [0.01, 0.05, 0.3])
def test_a_steady_shift_is_called_a_tilted_gantry(tmp_path, tilt):
    path = _write_at(tmp_path, [(0, tilt * k, 0) for k in range(40)])
    with pytest.raises(SourceError, match=rf"shift sideways by {tilt} mm"):
        open_source(path)


@pytest.mark.parametrize("rounded", [0, 5, 11])
def test_positions_rounded_to_a_tenth_give_perpendicular_axes_where_itk_has_them(tmp_path, rounded):
    offsets = [(0.1, 0, 0) if k == rounded else (0, 0, 0) for k in range(12)]
    path = _write_at(tmp_path, offsets, directions=OBLIQUE)
    source = open_source(path)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(path))
    image = reader.Execute()
    space = ScanSpace(source.grid, source.affine)
    for index in [(0, 0, 0), (11, 3, 4), (6, 0, 4)]:
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=0.01)
    directions = source.affine[:3, :3] / np.linalg.norm(source.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)


def test_spacing_from_the_user_scales_the_positions_of_a_series(tmp_path):
    files = write_series(tmp_path, VOLUME, directions=OBLIQUE)
    metadata = SourceMetadata(spacing=(5.0, 0.7, 0.9), unit="mm")
    source = open_source(str(tmp_path), metadata=metadata)
    image = SimpleITK.ReadImage([str(file) for file in files])
    image.SetSpacing((0.9, 0.7, 5.0))
    space = ScanSpace(source.grid, source.affine)
    for index in [(0, 0, 0), (5, 7, 9), (2, 0, 9)]:
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-5)


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_only_some_slices_state_is_refused(tmp_path, tag):
    for k in range(6):
        elements = {tag: None} if k in (2, 4) else {}
        dataset = slice_dataset(np.zeros((4, 5), np.int16), (0, 0, 2.5 * k), **elements)
        save(dataset, tmp_path / f"IM{k}.dcm")
    with pytest.raises(SourceError, match=rf"IM2\.dcm does not state {tag}, .*2 of 6 slices"):
        open_source(str(tmp_path))


def test_values_of_two_kinds_in_one_series_are_refused(tmp_path):
    for k, kind in enumerate(["HU", "HU", "US"]):
        dataset = slice_dataset(np.zeros((4, 5), np.int16), (0, 0, 2.5 * k), RescaleType=kind)
        save(dataset, tmp_path / f"IM{k}.dcm")
    with pytest.raises(SourceError, match=r"RescaleType 'HU', but .*IM2\.dcm has 'US'"):
        open_source(str(tmp_path))


def test_a_table_of_values_is_refused_by_name(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "HU"
    table.LUTData = np.arange(4, dtype="<u2").tobytes()
    dataset = slice_dataset(
        np.zeros((4, 5), np.uint16), (0, 0, 0), ModalityLUTSequence=pydicom.Sequence([table])
    )
    save(dataset, tmp_path / "IM0.dcm")
    with pytest.raises(SourceError, match="ModalityLUTSequence"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("head", [b"", bytes(128) + b"DICM"], ids=["bare", "marked"])
def test_zeros_are_not_read_as_elements_without_end(tmp_path, monkeypatch, head):
    monkeypatch.setattr(selection, "MOST_PIECES", 1000)
    (tmp_path / "slice.dcm").write_bytes(head + bytes(100_000))
    with pytest.raises(SourceError, match=r"slice\.dcm.* far more elements"):
        open_source(str(tmp_path))


def test_headers_are_read_once_for_all_stages_and_again_when_a_slice_changes(tmp_path, monkeypatch):
    volume = np.zeros((5, 4, 6), np.int16)
    paths = write_series(tmp_path / "scan", volume)
    read = []
    partial = selection.read_partial
    monkeypatch.setattr(
        selection, "read_partial", lambda *a, **k: read.append(1) or partial(*a, **k)
    )
    first = open_source(str(tmp_path / "scan"))
    count = len(read)
    assert count >= len(paths)
    assert open_source(str(tmp_path / "scan")).grid == first.grid
    assert len(read) == count
    # of the same size as before
    save(slice_dataset(volume[0] + 7, (-100, -80, 30), spacing=(0.7, 0.8)), paths[0])
    assert open_source(str(tmp_path / "scan")).read(Box((0, 0, 0), (1, 1, 1))).item() == 7
    assert len(read) == 2 * count
