import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import skimage.io
import tifffile
from PIL import Image

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box, Grid

NM = SourceMetadata(spacing=(50.0, 4.6, 4.6), unit="nanometer")
VALUES = np.random.default_rng(5).integers(0, 256, (12, 20, 24), dtype=np.uint8)


def _png(path, plane):
    Image.fromarray(plane).save(path)


def _write(folder, values, suffix=".tif"):
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(values):
        file = folder / f"{z}{suffix}"
        _png(file, plane) if suffix == ".png" else tifffile.imwrite(file, plane)
    return str(folder)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
def test_a_folder_of_slices_is_a_volume_in_the_order_of_its_numbers(tmp_path, suffix, dtype):
    values = (VALUES > 99) if dtype == "bool" else VALUES.astype(dtype) * 3
    source = open_source(_write(tmp_path / "raw", values, suffix), metadata=NM)
    assert source.grid == Grid((12, 20, 24), (50, 4.6, 4.6))
    assert source.array.dtype == ("uint8" if dtype == "bool" else dtype)
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    box = Box((3, 4, 5), (11, 6, 24))
    np.testing.assert_array_equal(source.read(box), values[box.slices])


def test_a_pattern_selects_planes(tmp_path):
    folder = _write(tmp_path / "raw", VALUES[:10])
    source = open_source(f"{folder}/[2-6].tif", metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES[2:7])


def test_one_bit_and_eight_bit_slices_may_be_mixed(tmp_path):
    folder = _write(tmp_path / "mask", VALUES[:2], ".png")
    _png(tmp_path / "mask" / "2.png", VALUES[2] > 99)
    source = open_source(folder, metadata=NM)
    np.testing.assert_array_equal(source.read(Box((2, 0, 0), (3, 20, 24)))[0], VALUES[2] > 99)


def test_a_palette_gives_its_indices_as_labels(tmp_path):
    image = Image.fromarray(VALUES[0] % 4)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.save(tmp_path / "a.png")
    source = open_source(str(tmp_path / "a.png"), metadata=NM, labels=True)
    np.testing.assert_array_equal(source.read(source.grid.box)[0], VALUES[0] % 4)


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_few_bits_are_read_as_stored_and_grays_as_grays(tmp_path, bits):
    most = 2**bits - 1
    labels = VALUES[0] & most
    # as a program writes it that saves bits
    packed = np.packbits(
        np.unpackbits(labels[..., None], axis=-1)[..., 8 - bits :].reshape(len(labels), -1), axis=1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    head = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    truth = open_source(str(path), metadata=NM, labels=True)
    np.testing.assert_array_equal(truth.read(truth.grid.box)[0], labels)
    source = open_source(str(path), metadata=NM)
    grays = source.read(source.grid.box)[0]
    np.testing.assert_array_equal(grays, skimage.io.imread(path))
    np.testing.assert_array_equal(grays, labels * (255 // most))


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_colours_are_channels(tmp_path, suffix):
    colours = np.stack([VALUES, VALUES + 1, VALUES + 2], axis=-1)
    folder = _write(tmp_path / "raw", colours, suffix)
    with pytest.raises(SourceError, match="3 channels: write channel=0"):
        open_source(folder, metadata=NM)
    source = open_source(
        folder, metadata=SourceMetadata(spacing=(1, 1, 1), unit="meter", channel=2)
    )
    np.testing.assert_array_equal(source.read(source.grid.box), colours[..., 2])


def test_slices_never_state_a_spacing(tmp_path):
    with pytest.raises(SpacingError, match=r"raw does not state.*spacing=50,4\.6,4\.6"):
        open_source(_write(tmp_path / "raw", VALUES))


@pytest.mark.parametrize(
    ("plane", "says"),
    [
        (VALUES[0, :9], "9 x 24 uint8, but .*0.tif is 20 x 24 uint8"),
        (VALUES[0].astype("u2"), "20 x 24 uint16, but"),
        (VALUES[:3], "has 3 planes"),
    ],
)
def test_a_slice_that_differs_is_named(tmp_path, plane, says):
    folder = _write(tmp_path / "raw", VALUES)
    tifffile.imwrite(tmp_path / "raw" / "7.tif", plane, photometric="minisblack")
    with pytest.raises(SourceError, match=r"7\.tif (is|has).*") as caught:
        open_source(folder, metadata=NM)
    assert caught.match(says)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_damaged_slice_is_named_and_spares_the_others(tmp_path, suffix):
    folder = _write(tmp_path / "raw", VALUES, suffix)
    source = open_source(folder, metadata=NM)
    file = tmp_path / "raw" / f"4{suffix}"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(SourceError, match=rf"4\{suffix} cannot be read"):
        source.read(source.grid.box)
    box = Box((5, 0, 0), (12, 20, 24))
    np.testing.assert_array_equal(source.read(box), VALUES[5:])


def test_a_slice_that_is_no_image_is_named(tmp_path):
    folder = _write(tmp_path / "raw", VALUES[:2], ".png")
    (tmp_path / "raw" / "2.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"2\.png cannot be read"):
        open_source(folder, metadata=NM)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_all_sixteen_bits_of_a_png_with_channels_are_read(tmp_path, channels):
    pixels = np.random.default_rng(1).integers(0, 2**16, (5, 6, channels), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    said = SourceMetadata(spacing=(50.0, 4.6, 4.6), unit="nanometer", channel=1)
    source = open_source(str(tmp_path / "a.png"), metadata=said)
    assert source.array.dtype == np.uint16
    np.testing.assert_array_equal(source.read(source.grid.box)[0], pixels[..., 1])
