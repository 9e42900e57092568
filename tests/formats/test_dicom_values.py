"""What the pixels of a slice mean: bits that are no part of a value, and pixels outside of it."""

import imagecodecs
import numpy as np
import pytest
import SimpleITK
from dicom_slices import save, slice_dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from parafovea.formats.opening import open_source

#: Values of 12 bits, with both ends.
SIGNED = np.random.default_rng(2).integers(-2048, 2048, (4, 24, 32)).astype(np.int16)
SIGNED[0, 0, :4] = (-2048, -1, 0, 2047)
_LS = imagecodecs.jpegls_encode


def _read(folder):
    source = open_source(str(folder))
    return source.read(source.grid.box)


def _by_gdcm(folder):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return SimpleITK.GetArrayFromImage(reader.Execute())


def _write(folder, planes, *, syntax=ExplicitVRLittleEndian, encode=None, **elements):
    for k, plane in enumerate(planes):
        plain = syntax if encode is None else ExplicitVRLittleEndian
        dataset = slice_dataset(plane, (0, 0, 2 * k), syntax=plain, **elements)
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = plane.byteswap().tobytes()
        if encode is not None:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = encapsulate([encode(plane)])
            dataset["PixelData"].is_undefined_length = True
        save(dataset, folder / f"{k}.dcm")


@pytest.mark.parametrize("above", [0x0, 0x5], ids=["empty", "an overlay"])
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("signed", [True, False])
def test_bits_above_the_value_are_no_part_of_it(tmp_path, above, syntax, signed):
    stored = (SIGNED.view(np.uint16) & 0xFFF) | (above << 12)
    planes = stored.view(np.int16) if signed else stored
    _write(tmp_path, planes, syntax=syntax, BitsStored=12, HighBit=11)
    expected = SIGNED if signed else (SIGNED.view(np.uint16) & 0xFFF)
    np.testing.assert_array_equal(_read(tmp_path), expected)
    np.testing.assert_array_equal(_by_gdcm(tmp_path), expected)


@pytest.mark.parametrize("signed", [True, False])
def test_a_value_in_the_upper_bits_is_found_there(tmp_path, signed):
    stored = (SIGNED.view(np.uint16) & 0xFFF) << 4 | 0x3
    planes = stored.view(np.int16) if signed else stored
    _write(tmp_path, planes, BitsStored=12, HighBit=15)
    expected = SIGNED if signed else (SIGNED.view(np.uint16) & 0xFFF)
    np.testing.assert_array_equal(_read(tmp_path), expected)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLSLossless, lambda p: _LS(p.view(np.uint16) & 0xFFF)),
        (JPEGLSLossless, lambda p: _LS(p.view(np.uint16))),
        (
            JPEGLosslessSV1,
            lambda p: imagecodecs.ljpeg_encode(p.view(np.uint16) & 0xFFF, bitspersample=12),
        ),
        (JPEGLosslessSV1, lambda p: imagecodecs.ljpeg_encode(p.view(np.uint16))),
        (
            JPEG2000Lossless,
            lambda p: imagecodecs.jpeg2k_encode(p.view(np.uint16) & 0xFFF, reversible=True),
        ),
        (JPEG2000Lossless, lambda p: imagecodecs.jpeg2k_encode(p, reversible=True)),
    ],
    ids=["JPEG-LS 12", "JPEG-LS 16", "JPEG 12", "JPEG 16", "JPEG 2000 unsigned", "JPEG 2000"],
)
def test_every_codec_gives_values_of_fewer_bits_their_sign(tmp_path, syntax, encode):
    _write(tmp_path, SIGNED, syntax=syntax, encode=encode, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(_read(tmp_path), SIGNED)


def test_run_lengths_give_values_of_fewer_bits_their_sign(tmp_path):
    for k, plane in enumerate(SIGNED):
        masked = (plane.view(np.uint16) & 0xFFF).view(np.int16)
        dataset = slice_dataset(masked, (0, 0, 2 * k), BitsStored=12, HighBit=11)
        dataset.compress(RLELossless, generate_instance_uid=False)
        save(dataset, tmp_path / f"{k}.dcm")
    np.testing.assert_array_equal(_read(tmp_path), SIGNED)


OUTSIDE = np.zeros((24, 32), bool)
OUTSIDE[:3], OUTSIDE[:, 29:] = True, True
INSIDE = np.random.default_rng(3).integers(0, 3000, (3, 24, 32)).astype(np.uint16)


@pytest.mark.parametrize(
    ("padding", "elements", "written"),
    [
        (63536, {"PixelPaddingValue": 63536}, np.uint16),
        (-2000, {"PixelPaddingValue": -2000}, np.int16),
        # as writers get it that take the value for an unsigned one
        (-2000, {"PixelPaddingValue": 63536}, np.int16),
        (-1990, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1980}, np.int16),
        (-1990, {"PixelPaddingValue": -1980, "PixelPaddingRangeLimit": -2000}, np.int16),
    ],
    ids=["unsigned", "signed", "stated unsigned", "range", "range turned round"],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_pixels_outside_of_the_image_become_air(tmp_path, padding, elements, written, syntax):
    planes = INSIDE.astype(written)
    planes[:, OUTSIDE] = padding
    if elements["PixelPaddingValue"] > 32767 and written == np.int16:
        elements = {}
    _write(tmp_path, planes, syntax=syntax, RescaleIntercept="-1024", **elements)
    if not elements:
        _restate_padding(tmp_path, 63536)
    found = _read(tmp_path)
    assert (found[:, OUTSIDE] == -1000).all()
    np.testing.assert_array_equal(found[:, ~OUTSIDE], INSIDE[:, ~OUTSIDE] - 1024.0)


def _restate_padding(folder, value):
    """State a padding with the sign that the pixels do not have."""
    import pydicom

    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US", value)
        dataset.save_as(path, enforce_file_format=True)


def test_padding_of_more_bits_than_values_have_is_found(tmp_path):
    planes = INSIDE.copy()
    planes[:, OUTSIDE] = 63536
    _write(tmp_path, planes, BitsStored=12, HighBit=11, PixelPaddingValue=63536)
    found = _read(tmp_path)
    assert (found[:, OUTSIDE] == -1000).all()
    np.testing.assert_array_equal(found[:, ~OUTSIDE], INSIDE[:, ~OUTSIDE])


def test_padding_that_is_air_stays_as_it_is_stored(tmp_path):
    planes = INSIDE.copy()
    planes[:, OUTSIDE] = 0
    _write(tmp_path, planes, RescaleIntercept="-1024", PixelPaddingValue=0)
    np.testing.assert_array_equal(_read(tmp_path), _by_gdcm(tmp_path))


def test_padding_of_another_modality_is_no_signal(tmp_path):
    planes = INSIDE.copy()
    planes[:, OUTSIDE] = 65535
    _write(tmp_path, planes, Modality="MR", PixelPaddingValue=65535)
    found = _read(tmp_path)
    assert (found[:, OUTSIDE] == 0).all()
    np.testing.assert_array_equal(found[:, ~OUTSIDE], INSIDE[:, ~OUTSIDE])
