"""Compressed slices give the voxels that were compressed, or one error."""

import imagecodecs
import numpy as np
import pytest
from dicom_slices import save, slice_dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from parafovea.errors import SourceError
from parafovea.formats.opening import open_source

STORED = np.random.default_rng(2).integers(-1000, 3000, (3, 24, 32)).astype(np.int16)


def _write(folder, syntax, encode, **elements):
    for k, plane in enumerate(STORED):
        dataset = slice_dataset(plane, (0, 0, 2 * k), syntax=syntax, **elements)
        dataset.PixelData = encapsulate([encode(plane)])
        dataset["PixelData"].is_undefined_length = True
        save(dataset, folder / f"{k}.dcm")
    return str(folder)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLosslessSV1, lambda plane: imagecodecs.ljpeg_encode(plane.view(np.uint16))),
        (JPEGLSLossless, lambda plane: imagecodecs.jpegls_encode(plane.view(np.uint16))),
        (JPEG2000Lossless, lambda plane: imagecodecs.jpeg2k_encode(plane, reversible=True)),
    ],
    ids=["lossless JPEG", "JPEG-LS", "JPEG 2000"],
)
def test_a_lossless_compression_keeps_every_voxel(tmp_path, syntax, encode):
    source = open_source(_write(tmp_path, syntax, encode))
    np.testing.assert_array_equal(source.read(source.grid.box), STORED)


def test_signed_voxels_of_fewer_bits_keep_their_sign_in_lossless_jpeg(tmp_path):
    def encode(plane):
        return imagecodecs.ljpeg_encode((plane & 0xFFF).view(np.uint16), bitspersample=12)

    elements = {"BitsStored": 12, "HighBit": 11}
    source = open_source(_write(tmp_path, JPEGLosslessSV1, encode, **elements))
    expected = (STORED << 4) >> 4
    np.testing.assert_array_equal(source.read(source.grid.box), expected)


def test_run_lengths_are_read(tmp_path):
    for k, plane in enumerate(STORED):
        dataset = slice_dataset(plane, (0, 0, 2 * k))
        dataset.compress(RLELossless, generate_instance_uid=False)
        save(dataset, tmp_path / f"{k}.dcm")
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(source.read(source.grid.box), STORED)


def test_a_compression_without_decoder_is_one_error_that_names_it(tmp_path):
    path = _write(tmp_path, MPEG2MPML, lambda plane: plane.tobytes())
    with pytest.raises(
        SourceError, match=r"0\.dcm is compressed as MPEG2 .* no decoder is available"
    ):
        open_source(path)


def test_a_damaged_compressed_slice_is_named(tmp_path):
    path = _write(tmp_path, JPEGLSLossless, lambda plane: b"\xff\xd8 no image")
    source = open_source(path)
    with pytest.raises(SourceError, match=r"0\.dcm cannot be read"):
        source.read(source.grid.box)


def test_an_image_of_another_size_than_its_header_says_is_refused(tmp_path):
    encode = lambda plane: imagecodecs.jpegls_encode(plane[:4].view(np.uint16))  # noqa: E731
    source = open_source(_write(tmp_path, JPEGLSLossless, encode))
    with pytest.raises(SourceError, match=r"0\.dcm"):
        source.read(source.grid.box)


def test_a_jpeg_2000_image_whose_codestream_is_nowhere_is_refused(tmp_path):
    # pydicom stays at a box without a length forever
    def encode(plane):
        data = imagecodecs.jpeg2k_encode(plane, reversible=True, codecformat="jp2")
        at = data.index(b"jp2c")
        return data[: at - 4] + b"\0\0\0\0jp2x" + data[at + 4 :]

    source = open_source(_write(tmp_path, JPEG2000Lossless, encode))
    with pytest.raises(
        SourceError, match=r"0\.dcm cannot be read \(its JPEG 2000 image has no code"
    ):
        source.read(source.grid.box)
