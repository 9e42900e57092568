"""Arrays in NPZ files, and what is refused."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from tile_files import field, write_npz

from parafovea.errors import TileError
from parafovea.formats.tiles.npz import array_header, read_array


def test_the_header_alone_says_shape_and_type(tmp_path):
    path = write_npz(tmp_path, opt_v1=field(), classes=np.zeros((20, 24), np.uint8)).path
    assert array_header(path, "opt_v1") == ((4, 20, 24), np.dtype(np.float32))
    assert array_header(path, "classes") == ((20, 24), np.dtype(np.uint8))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [">f8", "<f4", np.uint16, "?"])
def test_an_array_comes_back_as_it_was(tmp_path, save, dtype):
    values = np.asfortranarray((field() > 0.3) * 7).astype(dtype)
    save(tmp_path / "a.npz", opt_v1=values)
    read = read_array(tmp_path / "a.npz", "opt_v1")
    np.testing.assert_array_equal(read, values)
    assert read.dtype.isnative


def test_a_truncated_file_is_refused(tmp_path):
    path = write_npz(tmp_path, opt_v1=field()).path
    whole = path.read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(TileError, match=r"cannot be read.* truncated or damaged"):
            array_header(path, "opt_v1")


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path):
    path = write_npz(tmp_path, opt_v1=field()).path
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(TileError, match="CRC"):
        read_array(path, "opt_v1")


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was executed')",))


def test_pickled_objects_are_refused_and_never_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, opt_v1=np.array([_Bomb()], dtype=object))
    with pytest.raises(SystemExit, match="executed"):  # the file is what it should be
        np.load(path, allow_pickle=True)["opt_v1"]
    for read in (array_header, read_array):
        with pytest.raises(TileError, match="pickled Python objects, which are never loaded"):
            read(path, "opt_v1")


def test_a_bare_pickle_with_the_ending_of_an_archive_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps({"opt_v1": _Bomb()}))
    with pytest.raises(TileError, match="not a zip file"):
        read_array(path, "opt_v1")


def test_other_keys_are_named(tmp_path):
    path = write_npz(tmp_path, image=field(), mask=field()).path
    with pytest.raises(TileError, match=r"has no array opt_v1, but image, mask: .*key="):
        array_header(path, "opt_v1")
    np.savez(path)
    with pytest.raises(TileError, match="nothing at all"):
        array_header(path, "opt_v1")


def _entry(path, header: bytes, content: bytes):
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("opt_v1.npy", magic + header + content)


def test_a_header_that_promises_more_than_the_file_has_allocates_nothing(tmp_path):
    path = tmp_path / "a.npz"
    _entry(path, b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 9000, 9000)}\n", b"1234")
    with pytest.raises(TileError, match="declares 1296000000 bytes but has 4"):
        read_array(path, "opt_v1")


def test_an_archive_that_unpacks_to_more_than_a_tile_is_refused_by_its_header(tmp_path):
    path = tmp_path / "a.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 90000, 90000)}\n"
    _entry(path, header, bytes(1000))
    with pytest.raises(TileError, match=r"120\.7 GiB, too large for a tile"):
        array_header(path, "opt_v1")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 2)}\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': 'big'}\n",
        b"__import__('os').abort()\n",
        b"\xff\xfe\n",
        b"{'descr': (\n",
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, header):
    _entry(tmp_path / "a.npz", header, bytes(32))
    with pytest.raises(TileError):
        read_array(tmp_path / "a.npz", "opt_v1")


def test_text_records_and_bytes_after_the_array_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, opt_v1=np.array(["sea"]))
    with pytest.raises(TileError, match="not numbers"):
        read_array(path, "opt_v1")
    np.savez(path, opt_v1=np.zeros(3, [("red", "f4")]))
    with pytest.raises(TileError, match="not numbers"):
        read_array(path, "opt_v1")
    content = io.BytesIO()
    np.save(content, field())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("opt_v1.npy", content.getvalue() + b"more")
    with pytest.raises(TileError, match="declares 7680 bytes but has 7684"):
        read_array(path, "opt_v1")


def test_a_header_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    start = np.lib.format.magic(2, 0) + struct.pack("<I", 2**31 - 1)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("opt_v1.npy", start + bytes(2**24))
    with pytest.raises(TileError, match="its header of 2147483647 bytes is larger than 1048576"):
        array_header(tmp_path / "a.npz", "opt_v1")
