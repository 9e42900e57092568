"""NRRD and MetaImage as ITK writes them: the same voxels at the same places."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import MissingSourceError, SourceError, SpacingError
from parafovea.formats.location import source_files
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Box
from parafovea.geometry.scan_space import ScanSpace

VALUES = np.random.default_rng(7).integers(-1000, 3000, (6, 7, 9)).astype(np.int16)
DIRECTION = [0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6]
NAMES = ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"]


def _write(folder, name, values=VALUES, *, compressed=False):
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.75, 0.5, 2.5))
    image.SetOrigin((-100.5, 20.25, 7.0))
    image.SetDirection(DIRECTION)
    SimpleITK.WriteImage(image, str(folder / name), compressed)
    return str(folder / name), image


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_voxels_lie_where_itk_places_them(tmp_path, name, compressed):
    path, image = _write(tmp_path, name, compressed=compressed)
    source = open_source(path)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    assert source.array.dtype == np.int16
    assert source.series == "a"
    np.testing.assert_allclose(source.grid.spacing, (2.5, 0.5, 0.75), rtol=1e-9)
    assert source.grid.unit == "millimeter"
    space = ScanSpace(source.grid, source.affine)
    for index in ((0, 0, 0), (5, 6, 8), (3, 0, 2)):
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-9)
    assert source_grid(path, metadata=SourceMetadata()) == source.grid


def test_the_user_may_say_what_tables_of_findings_call_the_scan(tmp_path):
    path, _ = _write(tmp_path, "a.mha")
    assert open_source(path, metadata=SourceMetadata(series="1.2.3")).series == "1.2.3"


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_every_type_of_number_is_read(tmp_path, name, dtype):
    values = (VALUES % 100).astype(dtype)
    source = open_source(_write(tmp_path, name, values)[0])
    assert source.array.dtype == dtype
    np.testing.assert_array_equal(source.read(source.grid.box), values)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_big_endian_voxels_are_read(tmp_path, name):
    path, _ = _write(tmp_path, name)
    data = Path(source_files(path)[1])
    data.write_bytes(VALUES.astype(">i2").tobytes())
    header = Path(path).read_bytes()
    header = header.replace(b"OrderMSB = False", b"OrderMSB = True")
    Path(path).write_bytes(header.replace(b"endian: little", b"endian: big"))
    source = open_source(path)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)


@pytest.fixture(scope="module", params=["a.mha", "a.nrrd"])
def stored(request, tmp_path_factory):
    path, _ = _write(tmp_path_factory.mktemp("itk"), request.param, compressed=True)
    return open_source(path)


@settings(max_examples=20)
@given(st.data())
def test_any_box_of_a_compressed_file_is_the_same_part_of_the_whole(stored, data):
    pairs = [
        sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in VALUES.shape
    ]
    box = Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    np.testing.assert_array_equal(stored.read(box), VALUES[box.slices])


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_one_of_several_channels_is_chosen(tmp_path, name):
    image = SimpleITK.GetImageFromArray(np.stack([VALUES, VALUES + 1], -1), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / name))
    with pytest.raises(SourceError, match="2 channels: write channel=0"):
        open_source(str(tmp_path / name))
    source = open_source(str(tmp_path / name), metadata=SourceMetadata(channel=1))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES + 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_its_end_is_one_error(tmp_path, name):
    for compressed in (False, True):
        path, _ = _write(tmp_path, name, compressed=compressed)
        data = Path(source_files(path)[-1])
        data.write_bytes(data.read_bytes()[:-60])
        with pytest.raises(SourceError, match=rf"{name}.* (truncated|cannot be read)"):
            source = open_source(path)
            source.read(source.grid.box)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_a_header_depends_on_the_file_of_its_voxels(tmp_path, name):
    path, _ = _write(tmp_path, name)
    files = source_files(path)
    assert files[0] == path
    assert len(files) == 2
    with pytest.raises(SourceError, match="changed or disappeared"), unchanged(path) as check:
        Path(files[1]).write_bytes(b"other")
        check()
    Path(files[1]).unlink()
    with pytest.raises(MissingSourceError, match=r"holds the voxels of .* does not exist"):
        source_files(path)


@pytest.mark.parametrize("field", [b"ElementDataFile = ", b"data file: "])
@pytest.mark.parametrize("target", [b"../secret.raw", b"/etc/passwd", b"C:\\secret.raw", b"LIST"])
def test_voxels_outside_of_the_folder_are_never_read(tmp_path, field, target):
    (tmp_path / "secret.raw").write_bytes(b"x" * 100)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / ("a.mhd" if b"=" in field else "a.nhdr")
    path.write_bytes(b"NRRD0004\n" * (b":" in field) + field + target + b"\n")
    with pytest.raises(SourceError, match=r"outside its folder|in several files"):
        source_files(str(path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"nothing at all", b"NRRD0004\n\n", b"NDims = 3\n"])
def test_what_is_no_header_is_one_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=name):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ElementSpacing = 0.75", b"ElementSpacing = 0.0", "along x: write `spacing="),
        (b"Offset = -100.5", b"Offset = nan", "not finite"),
        (b"MET_SHORT", b"MET_STRING", "type MET_STRING"),
        (b"NDims = 3", b"NDims = 4", "but a volume has three"),
        (b"DimSize = 9", b"DimSize = 9 2", "states DimSize = 9 2 7 6, of 4 numbers"),
        (b"BinaryData = True", b"BinaryData = False", "write it again as binary"),
    ],
)
def test_a_meta_image_that_makes_no_sense_is_one_error(tmp_path, old, new, message):
    path, _ = _write(tmp_path, "a.mha")
    header = Path(path).read_bytes()
    assert old in header
    Path(path).write_bytes(header.replace(old, new))
    with pytest.raises(SourceError, match=message):
        open_source(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"encoding: raw", b"encoding: bzip2", "encoding 'bzip2': write it again"),
        (b"sizes: 9 7 6", b"sizes: 9 7 60", "truncated"),
        (b"type: short", b"type: block", "type 'block'"),
    ],
)
def test_a_nrrd_that_makes_no_sense_is_one_error(tmp_path, old, new, message):
    path, _ = _write(tmp_path, "a.nrrd")
    header = Path(path).read_bytes()
    assert old in header
    Path(path).write_bytes(header.replace(old, new))
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_a_nrrd_in_right_anterior_superior_micrometres_has_its_affine_in_millimetres(tmp_path):
    head = (
        "NRRD0005\ntype: uint8\ndimension: 3\nspace: RAS\nsizes: 2 3 4\nencoding: gzip\n"
        'space directions: (500,0,0) (0,-600,0) (0,0,700)\nspace units: "um" "um" "um"\n'
        "space origin: (1000,2000,3000)\n\n"
    )
    voxels = np.arange(24, dtype=np.uint8)
    (tmp_path / "a.nrrd").write_bytes(head.encode() + gzip.compress(voxels.tobytes()))
    source = open_source(str(tmp_path / "a.nrrd"))
    assert source.grid.spacing == (700, 600, 500)
    assert source.grid.unit == "micrometer"
    np.testing.assert_allclose(np.diag(source.affine), (0.5, -0.6, 0.7, 1))
    np.testing.assert_allclose(source.affine[:3, 3], (1, 2, 3))
    np.testing.assert_array_equal(source.read(source.grid.box).ravel(), voxels)


def _check_places(path, **metadata):
    """Compare the places of all corners with those of ITK."""
    source = open_source(str(path), metadata=SourceMetadata(**metadata))
    image = SimpleITK.ReadImage(str(path))
    space = ScanSpace(source.grid, source.affine)
    last = np.array(source.grid.shape) - 1
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * last
        there = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-6)
    return source


DIRECTED = "space directions: (0,2,0) (0,0,3) (4,0,0)\nspace origin: (10,20,30)\n"
MM = 'space units: "mm" "mm" "mm"\n'
SPACED = 'spacings: 2 3 4\nunits: "mm" "mm" "mm"\n'


def _nrrd(path, header):
    head = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n"
    path.write_bytes(f"{head}{header}\n".encode() + bytes(range(24)))
    return path


@pytest.mark.parametrize(
    "header",
    [
        f"space: left-posterior-superior\n{DIRECTED}",
        f"space: LPS\n{DIRECTED}",
        f"space: right-anterior-superior\n{DIRECTED}",
        f"space: left-anterior-superior\n{DIRECTED}",
        f"space: scanner-xyz\n{DIRECTED}",
        f"space: 3D-right-handed\n{DIRECTED}",
        f"space: 3D-left-handed\n{DIRECTED}",
        f"space dimension: 3\n{MM}{DIRECTED}",
        "space: left-posterior-superior\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n",
        SPACED,
        f"{SPACED}axis mins: 10 20 30\n",
        f"{SPACED}axis mins: 10 20 30\ncenters: cell cell cell\n",
        f"{SPACED}axis mins: 10 20 30\ncenters: node node node\n",
        f"{SPACED}axis mins: 10 20 30\naxis maxs: 12 26 42\ncenters: node node node\n",
        SPACED.replace("2 3 4", "2 -3 4") + "axis mins: 10 20 30\n",
        f'space: LPS\n{DIRECTED}labels: "y" "z" "x"\n',
        f'space: LPS\n{DIRECTED}labels: "x" "y" "z"\nkinds: space space space\n',
        f"{SPACED}old min: 0\nold max: 255\nthicknesses: 1 1 9\n",
        f"space: LPS\n{DIRECTED}measurement frame: (0,1,0) (1,0,0) (0,0,1)\n",
    ],
)
def test_a_nrrd_lies_where_itk_places_it_whatever_its_space(tmp_path, header):
    _check_places(_nrrd(tmp_path / "a.nrrd", header))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f"space: left-posterior-superior-time\n{DIRECTED}", "in the space 'left-posterior-super"),
        (f"space: right-up-front\n{DIRECTED}", "in the space 'right-up-front'"),
        (f"space: LPS\n{SPACED}", "spacings without directions"),
        (f"{SPACED}axis mins: 10 20 30\naxis maxs: 12 26 42\n", "contradicts itself"),
        (f"{SPACED}axis mins: 10 nan 30\n", "not all numbers"),
        ("space: LPS\nspace directions: (2,0,0) (1,3,0) (0,0,4)\n", r"axes x and y meet at 71\.57"),
        (
            f'space: LPS\n{DIRECTED}labels: "z" "y" "x"\n',
            "labels its axes z, y, x, but by",
        ),
        (f'{SPACED}labels: "z" "y" "x"\n', r"labels its axes z, y, x, but by their order they are"),
        (f"space: LPS\n{DIRECTED}kinds: domain vector domain\n", r"axis 1, of the kind 'vector'"),
        (f"{SPACED}old min: -1024\nold max: 3071\n", r"were quantized, of old min -1024\.0"),
    ],
)
def test_a_nrrd_that_cannot_be_placed_is_refused(tmp_path, header, message):
    with pytest.raises(SourceError, match=message):
        open_source(str(_nrrd(tmp_path / "a.nrrd", header)))


def test_mins_and_maxs_without_spacings_do_not_stand_for_them(tmp_path):
    header = 'units: "mm" "mm" "mm"\naxis mins: 10 20 30\naxis maxs: 14 29 46\n'
    with pytest.raises(SpacingError, match="does not state how large"):
        open_source(str(_nrrd(tmp_path / "a.nrrd", header)))


def test_an_axis_of_colours_is_no_axis_of_space(tmp_path):
    header = f"{SPACED}kinds: RGB-color domain domain\n"
    with pytest.raises(SourceError, match="2 of them spatial"):
        open_source(str(_nrrd(tmp_path / "a.nrrd", header)))


@pytest.mark.parametrize("directed", [True, False])
def test_a_unit_for_each_axis_is_obeyed(tmp_path, directed):
    units = '"mm" "um" "cm"'
    header = f"spacings: 2 3000 0.4\nunits: {units}\naxis mins: 0 0 0\n"
    if directed:
        header = f"space: LPS\nspace units: {units}\nspace origin: (1,2000,3)\n"
        header += "space directions: (2,0,0) (0,3000,0) (0,0,0.4)\n"
    source = open_source(str(_nrrd(tmp_path / "a.nrrd", header)))
    assert source.grid.unit == "millimeter"
    np.testing.assert_allclose(source.grid.spacing, (4, 3, 2))
    origin = (1, 2, 30) if directed else (1, 1.5, 2)
    np.testing.assert_allclose(
        ScanSpace(source.grid, source.affine).world_of_voxel([0] * 3), origin
    )


def test_a_nrrd_without_units_gets_its_place_in_the_users(tmp_path):
    path = _nrrd(tmp_path / "a.nrrd", f"space dimension: 3\n{DIRECTED}")
    with pytest.raises(SpacingError, match="unspecified unit"):
        open_source(str(path))
    _check_places(path, unit="mm")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_spacing_from_the_user_scales_the_positions(tmp_path, name):
    path, image = _write(tmp_path, name)
    source = open_source(path, metadata=SourceMetadata(spacing=(5.0, 0.5, 1.5), unit="mm"))
    image.SetSpacing((1.5, 0.5, 5.0))
    space = ScanSpace(source.grid, source.affine)
    for index in ((0, 0, 0), (5, 6, 8), (3, 0, 2)):
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-9)


META = {
    "TransformMatrix": "0 0 1 1 0 0 0 1 0",
    "Offset": "10 20 30",
    "ElementSpacing": "2 3 4",
}


def _meta(path, changes):
    fields = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", **META, **changes}
    fields |= {"DimSize": "2 3 4", "ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL"}
    lines = [f"{key} = {value}\n" for key, value in fields.items() if value is not None]
    path.write_bytes("".join(lines).encode() + bytes(range(24)))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CenterOfRotation": "5 6 7", "AnatomicalOrientation": "LPI"},
        {"ElementSize": "1 1 1"},
        {"ElementSpacing": None, "ElementSize": "2 3 4"},
        {"Offset": None, "Position": "10 20 30"},
        {"Offset": None, "Origin": "10 20 30"},
        {"TransformMatrix": None, "Rotation": META["TransformMatrix"]},
        {"TransformMatrix": None, "Orientation": META["TransformMatrix"]},
        {"Offset": None, "TransformMatrix": None},
        {"ElementSpacing": "2 -3 4"},
        {"HeaderSize": "-1"},
    ],
)
def test_a_meta_image_lies_where_itk_places_it(tmp_path, changes):
    source = _check_places(_meta(tmp_path / "a.mha", changes))
    np.testing.assert_array_equal(source.read(source.grid.box).ravel(), range(24))


@pytest.mark.parametrize("word", ["True", "true", "T", "1", "False", "F", "0", "yes"])
def test_words_of_a_meta_image_mean_what_itk_takes_them_for(tmp_path, word):
    path = _meta(tmp_path / "a.mha", {"BinaryDataByteOrderMSB": word})
    data = path.read_bytes().replace(b"MET_UCHAR", b"MET_SHORT").replace(b"2 3 4", b"2 3 2")
    path.write_bytes(data)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    source = open_source(str(path))
    np.testing.assert_array_equal(source.read(source.grid.box).ravel(), read.ravel())
    packed = _meta(tmp_path / "b.mha", {"CompressedData": "1", "CompressedDataSize": "18"})
    header, _ = packed.read_bytes().split(b"LOCAL\n")
    stream = zlib.compress(bytes(range(24)))
    header = header.replace(b"DataSize = 18", f"DataSize = {len(stream)}".encode())
    packed.write_bytes(header + b"LOCAL\n" + stream)
    source = open_source(str(packed))
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(packed)))
    np.testing.assert_array_equal(source.read(source.grid.box).ravel(), range(24))
    np.testing.assert_array_equal(read.ravel(), range(24))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Position": "1 2 3"}, r"two placements, Offset = 10 20 30 and Position = 1 2 3"),
        ({"Rotation": "1 0 0 0 1 0 0 0 1"}, "two placements, TransformMatrix"),
        ({"TransformMatrix": "1 0 0 0.3 0.954 0 0 0 1"}, r"axes x and y meet at 72"),
        ({"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, "not of length 1"),
        ({"ElementToIntensityFunctionSlope": "2"}, "FunctionSlope = 2"),
        ({"ElementToIntensityFunctionOffset": "-1024"}, "FunctionOffset = -1024"),
        ({"DistanceUnits": "um"}, "write `unit=um` or `unit=mm`"),
    ],
)
def test_a_meta_image_on_which_programs_disagree_is_refused(tmp_path, changes, message):
    with pytest.raises(SourceError, match=message):
        open_source(str(_meta(tmp_path / "a.mha", changes)))


def test_the_user_may_settle_the_unit_of_a_meta_image(tmp_path):
    path = _meta(tmp_path / "a.mha", {"DistanceUnits": "um"})
    _check_places(path, unit="mm")
    source = open_source(str(path), metadata=SourceMetadata(unit="um"))
    there = ScanSpace(source.grid, source.affine).world_of_voxel([0, 0, 0])
    np.testing.assert_allclose(there, (0.01, 0.02, 0.03))
