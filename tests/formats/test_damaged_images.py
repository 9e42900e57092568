"""Images of TIFF, PNG and DICOM are whole, and no larger than the file around them says."""

import logging
import struct
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from tile_files import UTM, write_tif

from parafovea.errors import SourceError, describe
from parafovea.formats import jpegxr
from parafovea.formats.codestreams import (
    ImageHeader,
    check_codestream,
    image_header,
    unwrapped_lerc,
)
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.jpegxr import decode_jpegxr
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.opening import open_source
from parafovea.formats.tiles.reading import read_tile
from parafovea.runtime.library_logs import quiet_libraries

NM = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer")
VALUES = (np.add.outer(np.arange(64), 3 * np.arange(64)) % 251).astype(np.uint8)

ENCODE = {
    "JPEG": imagecodecs.jpeg_encode,
    "JPEG-LS": imagecodecs.jpegls_encode,
    "lossless JPEG": imagecodecs.ljpeg_encode,
    "JPEG 2000": imagecodecs.jpeg2k_encode,
    "JPEG XL": imagecodecs.jpegxl_encode,
    "JPEG XR": imagecodecs.jpegxr_encode,
    "LERC": imagecodecs.lerc_encode,
    "PNG": imagecodecs.png_encode,
    "WebP": lambda image: imagecodecs.webp_encode(np.stack([image] * 3, -1), lossless=True),
    "lossy WebP": lambda image: imagecodecs.webp_encode(np.stack([image] * 3, -1)),
}


def _read(path):
    source = open_source(str(path), metadata=NM)
    return source.read(source.grid.box)


@pytest.mark.parametrize("name", ENCODE)
def test_the_size_of_a_compressed_image_is_known_before_it_is_decoded(name):
    data = ENCODE[name](np.ascontiguousarray(VALUES[:40]))
    header = image_header(data)
    assert (header.height, header.width) == (40, 64)
    assert check_codestream(data, 40, 64) == check_codestream(data + b"\0", 40, 64) == header
    if name in ("JPEG XL", "JPEG XR"):
        with pytest.raises(ValueError, match="cut short"):
            image_header(data[:4])
    else:
        assert image_header(data[:4]) is None


@pytest.mark.parametrize("shape", [(1, 700), (700, 1), (72, 128), (40, 80), (333, 5000)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("name", ["jpegxl", "jpegxr", "lerc"])
def test_headers_hold_for_all_shapes_and_types(name, samples, dtype, shape):
    image = (np.random.default_rng(0).random((*shape, samples)) * 250).astype(dtype)
    image = image[..., 0] if samples == 1 else image
    data = getattr(imagecodecs, f"{name}_encode")(image)
    header = image_header(data)
    assert (header.height, header.width) == shape
    assert header == check_codestream(data, *shape)


def test_a_moving_image_or_one_of_many_channels_is_refused():
    moving = imagecodecs.jpegxl_encode(np.stack([VALUES] * 5))
    with pytest.raises(ValueError, match="a preview or is an animation"):
        check_codestream(moving, 64, 64)
    deep = imagecodecs.lerc_encode(np.zeros((64, 64, 300), np.uint8))
    assert image_header(deep) == ImageHeader(64, 64, 300)
    with pytest.raises(ValueError, match="300 samples a pixel, but 3 are stated"):
        check_codestream(deep, 64, 64, samples=3)
    check_codestream(deep, 64, 64, samples=300)


def test_a_lerc_image_that_unpacks_to_more_than_its_pixels_is_refused():
    blob = imagecodecs.lerc_encode(VALUES)
    for wrapped in (blob, zlib.compress(blob), imagecodecs.zstd_encode(blob)):
        assert unwrapped_lerc(wrapped, VALUES.size) == blob
    for wrap in (zlib.compress, imagecodecs.zstd_encode):
        with pytest.raises(ValueError, match="to more than"):
            unwrapped_lerc(wrap(bytes(10_000_000)), VALUES.size)


@pytest.mark.parametrize("name", ["jpegxl", "jpegxr", "lerc", "webp"])
def test_a_tile_of_a_tiff_that_states_a_huge_image_is_refused(tmp_path, name):
    compression = {"jpegxl": 50002, "lerc": 34887, "webp": 50001, "jpegxr": 22610}[name]
    huge = np.zeros((9000, 9000) + (3,) * (name == "webp"), np.uint8)
    data = getattr(imagecodecs, f"{name}_encode")(huge)
    tifffile.imwrite(
        tmp_path / "a.tif", iter([data]), shape=(64, 64, *huge.shape[2:]), dtype=np.uint8,
        tile=(64, 64), compression=compression,
        photometric="rgb" if huge.ndim > 2 else "minisblack",
    )  # fmt: skip
    source = open_source(str(tmp_path / "a.tif"), metadata=NM.model_copy(update={"channel": 0}))
    with pytest.raises(SourceError, match=r"a\.tif .*9000 x 9000, but 64 x 64 are stated"):
        source.read(source.grid.box)


def test_pixels_without_a_value_are_not_read_as_0(tmp_path):
    # tifffile decodes them to 0, rasterio to NaN
    values = VALUES.astype(np.float32)
    with rasterio_writing(tmp_path / "a.tif", compress="LERC", max_z_error=0) as file:
        file.write(values, 1)
    np.testing.assert_array_equal(_read(tmp_path / "a.tif")[0], values)
    values[7] = np.nan
    with rasterio_writing(tmp_path / "a.tif", compress="LERC", max_z_error=0) as file:
        file.write(values, 1)
    with pytest.raises(SourceError, match="64 of the 64 x 64 pixels of its LERC image have no val"):
        _read(tmp_path / "a.tif")


def rasterio_writing(path, **words):
    words |= {"height": 64, "width": 64, "count": 1, "dtype": np.float32, "driver": "GTiff"}
    words |= {"blockysize": 64, "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
    return rasterio.open(path, "w", **words)


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


@pytest.mark.parametrize(
    "compression",
    [*("jpeg", "jpeg2000", "jpegxl", "jpegxr", "lerc", "png", "zlib", "zstd", "lzw", "lzma")],
)
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


@pytest.mark.parametrize("deep", [False, True])
def test_a_png_whose_checksum_does_not_match_is_refused(tmp_path, deep):
    values = VALUES.astype(np.uint16) * 200 if deep else VALUES
    Image.fromarray(values).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    np.testing.assert_array_equal(_read(tmp_path / "a.png")[0], values)
    # what is cut off holds no pixels, but their checksum
    pixels = whole.index(b"IDAT") + 4
    changed = bytearray(whole)
    changed[pixels + 20] ^= 1
    for damaged in (changed, changed[:-16], whole[:-12], whole[:-16], whole[:-1]):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(SourceError, match=r"a\.png cannot be read"):
            _read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(whole + b"more")
    np.testing.assert_array_equal(_read(tmp_path / "a.png")[0], values)


def test_a_page_larger_than_the_others_is_not_decoded(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.stack([VALUES] * 3), compression="lzw", tile=(32, 32), photometric="minisblack"
    )
    assert _read(path).shape == (3, 64, 64)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages[2].aspage().tags[name].overwrite(30_000)
    tracemalloc.start()
    with pytest.raises(SourceError, match=r"a\.tif"):
        _read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_damaged_jpeg_xr_image_ends_its_decoder_alone(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression="jpegxr", photometric="minisblack")
    expected = imagecodecs.jpegxr_decode(imagecodecs.jpegxr_encode(VALUES))
    whole = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(_read(tmp_path / "a.tif")[0], expected)
    random = np.random.default_rng(0)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        start, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    refused = []
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(start + 90, start + count, 3):
            damaged[at] = random.integers(256)
        (tmp_path / "a.tif").write_bytes(damaged)
        try:
            assert _read(tmp_path / "a.tif").shape == (1, 64, 64)
        except SourceError as error:
            refused.append(describe(error))
    assert refused
    assert all("a.tif" in text for text in refused)
    (tmp_path / "a.tif").write_bytes(whole)
    np.testing.assert_array_equal(_read(tmp_path / "a.tif")[0], expected)


def test_the_decoder_of_jpeg_xr_starts_anew_after_it_was_ended(monkeypatch):
    data = imagecodecs.jpegxr_encode(VALUES)
    expected = imagecodecs.jpegxr_decode(data)
    np.testing.assert_array_equal(decode_jpegxr(data), expected)
    jpegxr._DECODER._process.kill()
    with pytest.raises(ValueError, match="the decoder ended with -9"):
        decode_jpegxr(data)
    np.testing.assert_array_equal(decode_jpegxr(data), expected)
    with pytest.raises(ValueError, match="its JPEG XR image is damaged"):
        decode_jpegxr(b"no image")
    np.testing.assert_array_equal(decode_jpegxr(data), expected)


@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_the_checksum_of_lzma_in_a_tiff_is_compared(tmp_path, tile):
    tifffile.imwrite(
        tmp_path / "a.tif", VALUES, compression="lzma", tile=tile, photometric="minisblack"
    )
    np.testing.assert_array_equal(_read(tmp_path / "a.tif")[0], VALUES)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page = tiff.pages.first
        start, count = page.dataoffsets[0], page.databytecounts[0]
    whole = (tmp_path / "a.tif").read_bytes()
    for at in range(start, start + count, 5):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        (tmp_path / "a.tif").write_bytes(damaged)
        with pytest.raises(SourceError, match=r"a\.tif cannot be read"):
            _read(tmp_path / "a.tif")


def _as_downloaded(whole, first, last):
    """Return bytes of which some have not come yet."""
    return whole[:first] + bytes(last - first) + whole[last:]


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("form", ["mosaic", "tile"])
def test_the_checksum_of_a_deflated_block_is_compared(tmp_path, form, interleave):
    values = np.random.default_rng(0).integers(200, 4000, (4, 64, 64), np.uint16)
    words = {"compress": "deflate", "tiled": True, "blockxsize": 32, "blockysize": 32}
    tile = write_tif(tmp_path, values, interleave=interleave, **words)
    path, options = tile.path, TileOptions(baseline="0300")

    def read():
        if form == "tile":
            return read_tile(tile, options=options).values
        raster = open_raster(str(path), options=options)
        return raster.read(slice(0, 64), slice(0, 64))

    np.testing.assert_allclose(np.squeeze(read()), values / 1e4, atol=1e-6)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        place, size = page.dataoffsets[-1], page.databytecounts[-1]
    for first, last in ((size // 2, size), (size // 3, size // 3 + 40), (size - 3, size)):
        path.write_bytes(_as_downloaded(whole, place + first, place + last))
        with pytest.raises(SourceError, match=r"a\.tif"):
            read()


def test_a_jp2_file_without_the_end_of_its_image_is_refused(tmp_path):
    values = np.random.default_rng(0).integers(200, 4000, (1, 64, 64), np.uint16)
    words = {"height": 64, "width": 64, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    words |= {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "transform": UTM}
    path = tmp_path / "a.jp2"
    with rasterio.open(path, "w", **words) as file:
        file.write(values)
    whole = path.read_bytes()
    for damaged in (_as_downloaded(whole, len(whole) // 2, len(whole)), whole[:-2]):
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match=r"a\.jp2: its JPEG 2000 image has no end"):
            open_raster(str(path), options=TileOptions(bands=("B08",)), bands=("B08",))
    path.write_bytes(whole + bytes(100))
    raster = open_raster(str(path), options=TileOptions(bands=("B08",), scale=1e-4), bands=("B08",))
    found = raster.read(slice(0, 64), slice(0, 64))
    np.testing.assert_allclose(found, values / 1e4, atol=1e-6)


def test_a_moving_png_is_refused(tmp_path):
    frames = [Image.fromarray(VALUES), Image.fromarray(VALUES[::-1].copy())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(SourceError, match="several frames"):
        _read(tmp_path / "a.png")
