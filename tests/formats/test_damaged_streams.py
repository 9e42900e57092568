"""Headers and compressed voxels of scans are held to what they promise."""

import gzip
import struct
import zlib

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from parafovea.errors import SourceError
from parafovea.formats.opening import open_source, source_grid

#: Along x, y, z.
VALUES = np.random.default_rng(0).integers(0, 1000, (10, 12, 14)).astype(np.int16)
OTHER = np.zeros(2**25, np.int16).tobytes()


def _nifti(path):
    nibabel.save(nibabel.Nifti1Image(VALUES, np.eye(4)), path)
    return 0


def _nrrd(path):
    header = {"space": "left-posterior-superior", "space directions": np.eye(3)}
    nrrd.write(str(path), VALUES, {**header, "space origin": [0, 0, 0], "encoding": "gzip"})
    return path.read_bytes().index(b"\n\n") + 2


def _metaimage(path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES.T.copy()), str(path), True)
    return path.read_bytes().index(b"LOCAL\n") + 6


WRITE = {"a.nii.gz": _nifti, "a.nrrd": _nrrd, "a.mha": _metaimage}


@pytest.fixture(params=WRITE)
def scan(request, tmp_path):
    """Return a file, its bytes, and where its compressed stream begins."""
    path = tmp_path / request.param
    start = WRITE[request.param](path)
    return path, path.read_bytes(), start


def _read(path):
    source = open_source(str(path))
    return source.read(source.grid.box)


def test_whole_streams_are_read_in_any_order(scan):
    path, _, _ = scan
    np.testing.assert_array_equal(_read(path), VALUES.T)
    source = open_source(str(path))
    for planes in (slice(13, 14), slice(2, 5), slice(0, 14), slice(12, 14)):
        read = source.array[planes, 0:12, 3:9]
        np.testing.assert_array_equal(read, VALUES.T[planes, :, 3:9])


def test_a_stream_too_short_for_its_header_is_refused_when_it_is_opened(scan):
    path, whole, _ = scan
    if path.suffix == ".gz":
        raw = bytearray(gzip.decompress(whole))
        struct.pack_into("<hhh", raw, 42, 30_000, 30_000, 30_000)
        path.write_bytes(gzip.compress(raw))
    else:
        path.write_bytes(whole.replace(b"10 12 14", b"30000 30000 30000"))
    for reads in (open_source, source_grid):
        with pytest.raises(SourceError, match=r"cannot hold the 54000000000\d* bytes"):
            reads(str(path))


@pytest.mark.parametrize("kept", [0.5, -1, -4, -20])
def test_streams_cut_short_are_refused(scan, kept):
    path, whole, start = scan
    count = int(len(whole[start:]) * kept) if kept > 0 else len(whole) - start + kept
    path.write_bytes(whole[: start + count])
    with pytest.raises(SourceError, match=path.name):
        _read(path)


def test_one_changed_bit_is_found(scan):
    path, whole, start = scan
    for at in np.linspace(start + 40, len(whole) - 1, 25).astype(int):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match=path.name):
            _read(path)


def test_other_bytes_after_the_stream_are_refused(scan):
    path, whole, _ = scan
    path.write_bytes(whole + b"more")
    with pytest.raises(SourceError, match=path.name):
        _read(path)


def test_streams_that_go_on_are_refused(scan):
    path, whole, start = scan
    pack = zlib.compress if path.suffix == ".mha" else gzip.compress
    content = zlib.decompress(whole[start:], zlib.MAX_WBITS | 32)
    path.write_bytes(whole[:start] + pack(content + OTHER))
    with pytest.raises(SourceError, match="go on after"):
        _read(path)


def test_an_empty_last_member_and_zeros_after_it_are_no_damage(scan):
    path, whole, _ = scan
    if path.suffix == ".mha":
        pytest.skip("a zlib stream has one member")
    path.write_bytes(whole + gzip.compress(b"") + bytes(100))
    np.testing.assert_array_equal(_read(path), VALUES.T)


def test_channels_of_a_compressed_nifti_are_read_plane_by_plane(tmp_path):
    values = np.stack([VALUES, VALUES + 1, VALUES + 2], axis=-1)
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_slope_inter(2.0, -5.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    # nibabel rescales what it saves
    stored = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    for channel in range(3):
        source = open_source(str(tmp_path / "a.nii.gz"), metadata=f"channel={channel}")
        np.testing.assert_allclose(source.read(source.grid.box), stored[..., channel].T)
        np.testing.assert_allclose(source.array[3:4, 1:7, 0:10], stored[:, 1:7, 3:4, channel].T)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("start", "size", "says"),
    [
        (2**31, 2**31 - 352, "voxels start at byte 2147483648, more than the limit"),
        (352 + 2**20, 2**31 - 16, "extension of 2147483632 bytes, with 1048576 bytes left"),
        (352 + 2**20, 0, "extension of 0 bytes, with 1048576 bytes left"),
        (352 + 2**20, -16, "extension of -16 bytes"),
    ],
)
def test_extensions_of_a_nifti_fit_before_its_voxels(tmp_path, packed, start, size, says):
    nibabel.save(nibabel.Nifti1Image(VALUES, np.eye(4)), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", raw, 108, start)
    raw[348:352] = bytes([1, 0, 0, 0])
    content = bytes(raw[:352]) + struct.pack("<ii", size, 6) + bytes(2**20 - 8) + raw[352:]
    path = tmp_path / ("b.nii.gz" if packed else "b.nii")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    for reads in (open_source, source_grid):
        with pytest.raises(SourceError, match=says):
            reads(str(path))


def test_a_nifti_with_extensions_is_read(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    for text in (b"one", b"two" * 500):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(image, tmp_path / name)
        np.testing.assert_array_equal(_read(tmp_path / name), VALUES.T)


def test_a_header_that_does_not_end_is_refused(tmp_path):
    _nrrd(tmp_path / "a.nrrd")
    whole = (tmp_path / "a.nrrd").read_bytes()
    first, _, rest = whole.partition(b"\n")
    (tmp_path / "a.nrrd").write_bytes(first + b"\n" + b"# comment\n" * 2**18 + rest)
    with pytest.raises(SourceError, match="no end of its header within 1048576 bytes"):
        source_grid(str(tmp_path / "a.nrrd"))
