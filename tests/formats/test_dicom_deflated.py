"""Deflated and compressed slices unpack to no more than their headers say."""

import struct
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
from dicom_slices import save, slice_dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from parafovea.errors import SourceError
from parafovea.formats.opening import open_source, source_grid

VALUES = np.random.default_rng(2).integers(0, 4000, (3, 32, 32)).astype(np.int16)


def _write(folder, change=None):
    for k, plane in enumerate(VALUES):
        dataset = slice_dataset(plane, (0, 0, 2 * k), syntax=ExplicitVRLittleEndian)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        save(dataset, folder / f"{k}.dcm")
    if change is not None:
        raw = (folder / "1.dcm").read_bytes()
        # the group of the meta information, whose length is stated, is not deflated
        start = 144 + struct.unpack_from("<I", raw, 140)[0]
        (folder / "1.dcm").write_bytes(raw[:start] + change(raw[start:]))
    return folder


def _read(path):
    source = open_source(str(path))
    return source.read(source.grid.box)


def _repacked(packed, more):
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(zlib.decompress(packed, -zlib.MAX_WBITS) + more) + stream.flush()


def test_deflated_slices_are_read(tmp_path):
    np.testing.assert_array_equal(_read(_write(tmp_path)), VALUES)


@pytest.mark.parametrize("lost", [1, 10, 800])
def test_a_deflated_slice_cut_short_is_refused(tmp_path, lost):
    with pytest.raises(SourceError, match=r"1\.dcm cannot be read"):
        _read(_write(tmp_path, lambda packed: packed[:-lost].rstrip(b"\0")))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_small_file_does_not_unpack_to_gigabytes(tmp_path, zipped):
    (tmp_path / "a").mkdir()
    path = _write(tmp_path / "a", lambda packed: _repacked(packed, bytes(2**28)))
    if zipped:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((tmp_path / "a").iterdir()):
                archive.write(file, file.name)
    # the header, which planning reads, is at the beginning
    assert source_grid(str(path)).shape == VALUES.shape
    with pytest.raises(SourceError, match=r"1\.dcm.*data set unpacks to more than \d+ bytes"):
        _read(path)


def _compressed(folder, syntax, encode, change):
    for k, plane in enumerate(VALUES.astype(np.uint16)):
        dataset = slice_dataset(plane, (0, 0, 2 * k), syntax=ExplicitVRLittleEndian)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([change(encode(plane)) if k == 1 else encode(plane)])
        dataset["PixelData"].is_undefined_length = True
        save(dataset, folder / f"{k}.dcm")
    return folder


def _jpeg2000(plane):
    return imagecodecs.jpeg2k_encode(plane, level=0, codecformat="j2k", reversible=True)


def _of_50000(data):
    data = bytearray(data)
    if data[:2] == b"\xff\x4f":
        struct.pack_into(">II", data, 8, 50_000, 50_000)
    else:
        struct.pack_into(">HH", data, data.index(b"\xff\xf7") + 5, 50_000, 50_000)
    return bytes(data)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [(JPEG2000Lossless, _jpeg2000), (JPEGLSLossless, imagecodecs.jpegls_encode)],
)
def test_a_compressed_slice_is_whole_and_of_the_stated_size(tmp_path, syntax, encode):
    np.testing.assert_array_equal(_read(_compressed(tmp_path, syntax, encode, bytes)), VALUES)
    for change in (lambda data: data[: len(data) // 2], lambda data: data[:-2], _of_50000):
        with pytest.raises(SourceError, match=r"1\.dcm cannot be read"):
            _read(_compressed(tmp_path, syntax, encode, change))


def test_a_slice_larger_than_the_limit_is_refused_when_it_is_opened(tmp_path):
    for k, plane in enumerate(VALUES):
        dataset = slice_dataset(plane, (0, 0, 2 * k), syntax=ExplicitVRLittleEndian)
        dataset.Rows = dataset.Columns = 50_000
        save(dataset, tmp_path / f"{k}.dcm")
    with pytest.raises(SourceError, match="the image of 50000 x 50000 unpacks to 5000000000 bytes"):
        source_grid(str(tmp_path))
