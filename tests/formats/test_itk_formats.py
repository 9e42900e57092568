"""NRRD and MetaImage as ITK writes them: the same voxels at the same places."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.location import source_files
from parafovea.formats.metadata import SourceMetadata
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


@settings(deadline=None, max_examples=20)
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
    with pytest.raises(SourceError, match=r"outside of its folder|in several files"):
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
        (b"NDims = 3", b"NDims = 4", "where a volume has three"),
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
