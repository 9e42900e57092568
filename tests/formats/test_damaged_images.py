"""Images of TIFF, PNG and DICOM are whole, and no larger than the file around them says."""

import logging
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from parafovea.errors import SourceError
from parafovea.formats.codestreams import check_codestream, image_size
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.metadata import SourceMetadata, TileOptions
from parafovea.formats.opening import open_source
from parafovea.runtime.library_logs import quiet_libraries

NM = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer")
VALUES = (np.add.outer(np.arange(64), 3 * np.arange(64)) % 251).astype(np.uint8)

ENCODE = {
    "JPEG": imagecodecs.jpeg_encode,
    "JPEG-LS": imagecodecs.jpegls_encode,
    "lossless JPEG": imagecodecs.ljpeg_encode,
    "JPEG 2000": imagecodecs.jpeg2k_encode,
    "PNG": imagecodecs.png_encode,
}


def _read(path):
    source = open_source(str(path), metadata=NM)
    return source.read(source.grid.box)


@pytest.mark.parametrize("name", ENCODE)
def test_the_size_of_a_compressed_image_is_known_before_it_is_decoded(name):
    data = ENCODE[name](np.ascontiguousarray(VALUES[:40]))
    assert image_size(data) == (40, 64)
    check_codestream(data, 40, 64)
    check_codestream(data + b"\0", 40, 64)
    assert image_size(data[:8]) is None


@pytest.mark.parametrize(("at", "name"), [(b"\xff\xc0", "JPEG"), (b"\xff\xf7", "JPEG-LS")])
def test_an_image_far_larger_than_stated_is_refused(at, name):
    data = bytearray(ENCODE[name](VALUES))
    struct.pack_into(">HH", data, data.index(at) + 5, 50_000, 50_000)
    with pytest.raises(ValueError, match="is 50000 x 50000, but 64 x 64 are stated"):
        check_codestream(bytes(data), 64, 64)


@pytest.mark.parametrize("name", ["JPEG", "JPEG-LS", "lossless JPEG"])
def test_a_jpeg_without_its_end_is_cut_short(name):
    data = ENCODE[name](VALUES)
    for kept in (len(data) // 2, len(data) - 2):
        with pytest.raises(ValueError, match="cut short"):
            check_codestream(data[:kept], 64, 64)


def _set_tags(path, **values):
    """Overwrite the first value of tags of a TIFF file."""
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for name, value in values.items():
            tag = tiff.pages.first.tags[name]
            form = {3: "H", 4: "I"}[int(tag.dtype)]
            struct.pack_into(tiff.byteorder + form, raw, tag.valueoffset, value)
    path.write_bytes(raw)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png", "zlib", "zstd", "lzw"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_a_strip_or_tile_cut_short_is_refused(tmp_path, compression, tile):
    path = tmp_path / "a.tif"
    options = {} if tile else {"rowsperstrip": 32}
    tifffile.imwrite(
        path, VALUES, compression=compression, tile=tile, photometric="minisblack", **options
    )
    assert _read(path).shape == (1, 64, 64)
    with tifffile.TiffFile(path) as tiff:
        count = tiff.pages.first.databytecounts[0]
    _set_tags(path, **{"TileByteCounts" if tile else "StripByteCounts": count // 2})
    with pytest.raises(SourceError, match=r"a\.tif"):
        _read(path)


def test_a_tile_of_a_tiff_larger_than_the_limit_is_refused_when_it_is_opened(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression="zlib", tile=(64, 64))
    _set_tags(tmp_path / "a.tif", TileWidth=50_000, TileLength=50_000)
    with pytest.raises(SourceError, match="strip or tile unpacks to 2500000000 bytes"):
        open_source(str(tmp_path / "a.tif"), metadata=NM)


def test_a_block_of_a_mosaic_larger_than_the_limit_is_refused_when_it_is_opened(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression="zlib", tile=(64, 64))
    _set_tags(tmp_path / "a.tif", TileWidth=49_984, TileLength=49_984)
    with pytest.raises(SourceError, match=r"a\.tif: a strip or tile unpacks to 2498400256 bytes"):
        open_raster(str(tmp_path / "a.tif"), bands=("B02",), options=TileOptions(bands=("B02",)))


@pytest.mark.parametrize("quiet", [False, True])
def test_a_jpeg_block_of_a_mosaic_that_is_cut_short_is_refused(tmp_path, monkeypatch, quiet):
    if quiet:
        # as in every job
        monkeypatch.setattr(logging.getLogger("rasterio"), "propagate", True)
        quiet_libraries()
    tifffile.imwrite(
        tmp_path / "a.tif", VALUES, compression="jpeg", tile=(64, 64), photometric="minisblack"
    )
    options = TileOptions(bands=("B02",), scale=1 / 255)
    raster = open_raster(str(tmp_path / "a.tif"), bands=("B02",), options=options)
    assert raster.read(slice(0, 64), slice(0, 64)).shape == (1, 64, 64)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        count = tiff.pages.first.databytecounts[0]
    _set_tags(tmp_path / "a.tif", TileByteCounts=count - 20)
    raster = open_raster(str(tmp_path / "a.tif"), bands=("B02",), options=options)
    with pytest.raises(SourceError, match=r"(?i)a\.tif is damaged or truncated .*premature end"):
        raster.read(slice(0, 64), slice(0, 64))


def test_what_tifffile_says_about_absent_pages_is_an_error(tmp_path):
    volume = np.stack([VALUES] * 5)
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, metadata={"axes": "ZYX"}, contiguous=False)
    raw = (tmp_path / "a.ome.tif").read_bytes()
    assert raw.count(b'SizeZ="5"') == 1
    np.testing.assert_array_equal(_read(tmp_path / "a.ome.tif"), volume)
    (tmp_path / "a.ome.tif").write_bytes(raw.replace(b'SizeZ="5"', b'SizeZ="7"'))
    with pytest.raises(SourceError, match=r"a\.ome\.tif"):
        open_source(str(tmp_path / "a.ome.tif"), metadata=NM)


def test_other_threads_and_other_messages_are_no_errors(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", VALUES)
    opened = tifffile.TiffFile

    def logging_file(*arguments):
        logging.getLogger("tifffile").warning("<TiffTag 42113> raised an error")
        return opened(*arguments)

    monkeypatch.setattr(tifffile, "TiffFile", logging_file)
    np.testing.assert_array_equal(_read(tmp_path / "a.tif")[0], VALUES)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_samples_of_a_pixel_are_read_tile_by_tile(tmp_path, photometric, tile):
    samples = 3 if photometric == "rgb" else 1
    values = np.random.default_rng(0).integers(0, 250, (2, 70, 50, samples), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", values if samples > 1 else values[..., 0], compression="zlib",
        tile=tile, photometric=photometric, metadata=None,
    )  # fmt: skip
    for channel in range(samples):
        metadata = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer", channel=channel)
        source = open_source(str(tmp_path / "a.tif"), metadata=metadata)
        np.testing.assert_array_equal(source.read(source.grid.box), values[..., channel])
        part = (slice(1, 2), slice(20, 60), slice(10, 45))
        np.testing.assert_array_equal(source.array[part], values[..., channel][part])


def _png(height, width, content):
    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")


def test_a_png_larger_than_the_limit_is_refused_when_it_is_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(50_000, 50_000, bytes(1000)))
    with pytest.raises(SourceError, match=r"a\.png: the image unpacks to 2500000000 bytes"):
        open_source(str(tmp_path / "a.png"), metadata=NM)


def test_a_png_with_fewer_pixels_than_it_states_is_refused(tmp_path):
    rows = b"".join(b"\0" + row.tobytes() for row in VALUES)
    (tmp_path / "a.png").write_bytes(_png(64, 64, rows))
    np.testing.assert_array_equal(_read(tmp_path / "a.png")[0], VALUES)
    (tmp_path / "a.png").write_bytes(_png(64, 64, rows[:2000]))
    with pytest.raises(SourceError, match=r"a\.png cannot be read"):
        _read(tmp_path / "a.png")
    Image.fromarray(VALUES).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    for kept in (20, len(whole) // 2, len(whole) - 30):
        (tmp_path / "b.png").write_bytes(whole[:kept])
        with pytest.raises(SourceError, match=r"b\.png cannot be read"):
            _read(tmp_path / "b.png")
