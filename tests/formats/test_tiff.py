from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box, Grid

NM = SourceMetadata(spacing=(50.0, 4.6, 4.6), unit="nanometer")
VALUES = np.random.default_rng(3).integers(0, 2**16, (5, 40, 48), dtype=np.uint16)
LAYOUTS = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "without metadata": {"metadata": None},
    "bigtiff, strips": {"bigtiff": True, "compression": "zlib", "rowsperstrip": 7},
    "big-endian, strips": {"byteorder": ">", "compression": "zlib", "rowsperstrip": 7},
    "tiles": {"compression": "zlib", "tile": (16, 32), "predictor": True},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "lzw, without metadata": {"compression": "lzw", "metadata": None},
}


def _write(path, values=VALUES, **layout):
    tifffile.imwrite(path, values, **layout)
    return str(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_voxels(tmp_path, layout):
    source = open_source(_write(tmp_path / "a.tif", **LAYOUTS[layout]), metadata=NM)
    assert source.grid == Grid((5, 40, 48), (50, 4.6, 4.6))
    assert source.array.dtype == np.uint16
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiles_of_several_planes_give_the_same_voxels(tmp_path, depth, compression):
    words = {"tile": (depth, 16, 32), "volumetric": True, "compression": compression}
    source = open_source(_write(tmp_path / "a.tif", **words), metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    box = Box((1, 7, 20), (4, 33, 47))
    np.testing.assert_array_equal(source.read(box), VALUES[box.slices])


@pytest.fixture(scope="module", params=["strips", "tiles", "plain"])
def stack(request, tmp_path_factory):
    layouts = {"strips": LAYOUTS["bigtiff, strips"], "tiles": LAYOUTS["tiles"], "plain": {}}
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    return open_source(_write(path, **layouts[request.param]), metadata=NM)


@settings(max_examples=20)
@given(st.data())
def test_any_box_is_the_same_part_of_the_whole(stack, data):
    pairs = [
        sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in VALUES.shape
    ]
    box = Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    np.testing.assert_array_equal(stack.read(box), VALUES[box.slices])


def test_only_the_tiles_in_need_are_read(tmp_path):
    path = Path(_write(tmp_path / "a.tif", compression="zlib", tile=(16, 16)))
    source = open_source(str(path), metadata=NM)
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[2].dataoffsets[0]
    raw = bytearray(path.read_bytes())
    raw[first : first + 40] = bytes(40)
    path.write_bytes(raw)
    box = Box((2, 16, 16), (3, 40, 48))
    np.testing.assert_array_equal(source.read(box), VALUES[box.slices])
    with pytest.raises(SourceError, match=r"a\.tif cannot be read"):
        source.read(Box((2, 0, 0), (3, 1, 1)))


def test_imagej_and_ome_state_the_spacing(tmp_path):
    imagej = _write(
        tmp_path / "imagej.tif", imagej=True, resolution=(1 / 4, 1 / 5),
        metadata={"axes": "ZYX", "spacing": 50.0, "unit": "nm"},
    )  # fmt: skip
    assert open_source(imagej).grid == Grid((5, 40, 48), (50, 5, 4), unit="nanometer")
    sizes = {"PhysicalSizeZ": 0.05, "PhysicalSizeY": 0.005, "PhysicalSizeX": 0.004}
    ome = _write(tmp_path / "a.ome.tif", metadata={"axes": "ZYX", **sizes})
    assert open_source(ome).grid == Grid((5, 40, 48), (0.05, 0.005, 0.004), unit="micrometer")
    assert open_source(ome, metadata=NM).grid == Grid((5, 40, 48), (50, 4.6, 4.6))


@pytest.mark.parametrize(
    ("layout", "advice"),
    [
        ({}, "`spacing=50,4.6,4.6 unit=nanometer`"),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, "`spacing=50,4.6,4.6"),
        (
            {
                "imagej": True,
                "resolution": (0.25, 0.25),
                "metadata": {"unit": "degree", "spacing": 2.0, "axes": "ZYX"},
            },
            "the unit of length 'degree', which is not known",
        ),
    ],
)
def test_an_incomplete_spacing_is_asked_for(tmp_path, layout, advice):
    with pytest.raises(SpacingError) as caught:
        open_source(_write(tmp_path / "a.tif", **layout))
    assert advice in str(caught.value)


def test_channels_are_chosen(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (5, 2, 20, 24), dtype=np.uint8)
    path = _write(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(SourceError, match="2 channels: write channel=0"):
        open_source(path, metadata=NM)
    source = open_source(path, metadata=SourceMetadata(spacing=(1, 1, 1), unit="meter", channel=1))
    np.testing.assert_array_equal(source.read(source.grid.box), values[:, 1])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_are_channels(tmp_path, planar, compression):
    shape = (5, 20, 24, 3) if planar == "contig" else (5, 3, 20, 24)
    values = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    path = _write(
        tmp_path / "a.tif", values, photometric="rgb", planarconfig=planar, compression=compression
    )
    source = open_source(path, metadata=SourceMetadata(spacing=(1, 1, 1), unit="meter", channel=2))
    expected = values[..., 2] if planar == "contig" else values[:, 2]
    box = Box((1, 2, 3), (4, 18, 20))
    np.testing.assert_array_equal(source.read(box), expected[box.slices])


def test_one_page_is_one_plane(tmp_path):
    source = open_source(_write(tmp_path / "a.tif", VALUES[0]), metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES[:1])


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_pages_of_one_bit_are_zero_and_one_as_they_were_written(tmp_path, photometric):
    # tifffile writes masks as "miniswhite", so that viewers show them inverted.
    values = VALUES % 3 == 0
    path = _write(tmp_path / "a.tif", values, photometric=photometric)
    source = open_source(path, metadata=NM)
    read = source.read(source.grid.box)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_found_when_it_is_opened(tmp_path, layout, kept):
    path = Path(_write(tmp_path / "a.tif", **LAYOUTS[layout]))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(SourceError, match=r"a\.tif .*truncated"):
        open_source(str(path), metadata=NM)


@pytest.mark.parametrize("layout", ["plain", "tiles", "bigtiff, strips"])
def test_a_file_that_is_cut_after_opening_is_found_when_a_slab_is_read(tmp_path, layout):
    path = Path(_write(tmp_path / "a.tif", **LAYOUTS[layout]))
    source = open_source(str(path), metadata=NM)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.tif cannot be read"):
        source.read(Box((4, 0, 0), (5, 40, 48)))


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not an image at all"])
def test_what_is_no_tiff_is_named(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.tif cannot be read"):
        open_source(str(tmp_path / "a.tif"), metadata=NM)


def test_images_of_different_shapes_are_no_volume(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(VALUES[0], metadata=None)
        writer.write(VALUES[0, :20], metadata=None)
    with pytest.raises(SourceError, match="2 images of different shapes"):
        open_source(str(tmp_path / "a.tif"), metadata=NM)


def test_a_stack_that_imagej_takes_for_channels_asks_for_its_axes(tmp_path):
    path = _write(tmp_path / "a.tif", imagej=True)
    with pytest.raises(SourceError, match=r"5 channels of one plane.*axes ZYX"):
        open_source(path, metadata=NM)


def test_a_time_series_of_stacks_is_refused(tmp_path):
    values = np.zeros((3, 4, 20, 24), np.uint8)
    path = _write(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(SourceError, match="more than z, y, x and channels"):
        open_source(path, metadata=NM)


def test_complex_numbers_are_refused(tmp_path):
    path = _write(tmp_path / "a.tif", np.zeros((5, 4, 6), np.complex64))
    with pytest.raises(SourceError, match="complex numbers"):
        open_source(path, metadata=NM)


#: What is compressed by what; the codecs of pictures take 8 bits, and some of them three samples.
CODECS = {
    "lzw": ("uint8", "uint16", "float32"),
    "adobe_deflate": ("uint8", "uint16", "float32"),
    "packbits": ("uint8", "uint16"),
    "lzma": ("uint8", "uint16"),
    "zstd": ("uint8", "float32"),
    "jpeg": ("uint8", "uint16"),
    "jpeg2000": ("uint8", "uint16"),
    "png": ("uint8", "uint16"),
    "webp": ("uint8",),
    "jpegxl": ("uint8", "uint16"),
    "jpegxr": ("uint8", "uint16"),
    "lerc": ("uint8", "float32"),
}
PIECES = {"one strip a page": {}, "strips": {"rowsperstrip": 16}, "tiles": {"tile": (16, 32)}}


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("codec", CODECS)
def test_every_compression_gives_what_tifffile_gives(tmp_path, codec, pieces):
    ramp = np.add.outer(np.add.outer(np.arange(3), np.arange(50)), np.arange(70))
    path, tried = tmp_path / "a.tif", 0
    for dtype in CODECS[codec]:
        for pages in (1, 3):
            for samples in (1, 3):
                values = ramp[:pages].astype(dtype)
                words = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}
                if samples == 3:
                    values = np.stack([values, values + 1, values + 2], axis=-1)
                    words = {"photometric": "rgb", "metadata": {"axes": "ZYXS"}}
                elif codec == "webp":  # has no gray
                    continue
                _write(path, values, compression=codec, **words, **PIECES[pieces])
                expected = tifffile.imread(path).reshape(values.shape)
                source = open_source(str(path), metadata=NM.model_copy(update={"channel": 0}))
                box = Box((0, 7, 9), (pages, 45, 60))
                if samples == 3:
                    expected = expected[..., 0]
                np.testing.assert_array_equal(source.read(source.grid.box), expected)
                np.testing.assert_array_equal(source.read(box), expected[box.slices])
                tried += 1
    assert tried >= 2


GRAYS = np.array([200, 7, 90, 255], np.uint16)


def _palette(tmp_path, colours):
    indices = VALUES.astype(np.uint8) % 4
    table = np.zeros((3, 256), np.uint16)
    table[:, :4] = colours
    return indices, _write(tmp_path / "a.tif", indices, photometric="palette", colormap=table)


@pytest.mark.parametrize("step", [257, 256])
def test_a_gray_palette_gives_its_grays_and_a_truth_its_indices(tmp_path, step):
    indices, path = _palette(tmp_path, [GRAYS * step] * 3)
    source = open_source(path, metadata=NM)
    assert source.array.dtype == np.uint8
    np.testing.assert_array_equal(source.read(source.grid.box), GRAYS[indices])
    with Image.open(path) as image:
        shown = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(source.read(source.grid.box)[0], shown)
    labels = open_source(path, metadata=NM, labels=True)
    np.testing.assert_array_equal(labels.read(labels.grid.box), indices)


def test_a_palette_of_colours_is_for_a_truth_alone(tmp_path):
    indices, path = _palette(tmp_path, [GRAYS * 257, GRAYS[::-1] * 257, GRAYS * 257])
    with pytest.raises(SourceError, match=r"colour palette.*save the measured volume"):
        open_source(path, metadata=NM)
    labels = open_source(path, metadata=NM, labels=True)
    np.testing.assert_array_equal(labels.read(labels.grid.box), indices)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_zero_that_is_white_is_turned_into_black(tmp_path, dtype):
    values = VALUES.astype(dtype)
    path = _write(tmp_path / "a.tif", values, photometric="miniswhite")
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), np.iinfo(dtype).max - values)
    labels = open_source(path, metadata=NM, labels=True)
    np.testing.assert_array_equal(labels.read(labels.grid.box), values)


def test_zero_that_is_white_means_nothing_for_floats(tmp_path):
    path = _write(tmp_path / "a.tif", VALUES.astype(np.float32), photometric="miniswhite")
    with pytest.raises(SourceError, match="states that 0 is white"):
        open_source(path, metadata=NM)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1.0, -32768.0, np.int16), (0.5, 3.0, np.float32), (2.0, 1.0, np.uint32)],
)
def test_values_that_imagej_has_calibrated_are_those_that_it_shows(
    tmp_path, slope, intercept, dtype
):
    words = {"axes": "ZYX", "cf": 0, "c0": intercept, "c1": slope, "vunit": "Gray Value"}
    path = _write(tmp_path / "a.tif", imagej=True, metadata=words)
    expected = (VALUES * slope + intercept).astype(dtype)
    for labels in (False, True):
        source = open_source(path, metadata=NM, labels=labels)
        assert source.array.dtype == dtype
        np.testing.assert_array_equal(source.read(source.grid.box), expected)


def test_a_calibration_that_is_no_line_is_refused(tmp_path):
    words = {"axes": "ZYX", "cf": 1, "c0": 1.0, "c1": 2.0, "c2": 3.0}
    path = _write(tmp_path / "a.tif", imagej=True, metadata=words)
    with pytest.raises(SourceError, match="ImageJ calibration that is not a straight line"):
        open_source(path, metadata=NM)


def test_a_look_up_table_of_imagej_leaves_the_numbers_alone(tmp_path):
    values = VALUES.astype(np.uint8)
    green = np.zeros((3, 256), np.uint8)
    green[1] = np.arange(256)
    path = _write(
        tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZYX", "LUTs": [green]}
    )
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), values)


def test_a_scale_for_gdal_is_refused(tmp_path):
    xml = '<GDALMetadata><Item name="SCALE" sample="0" role="scale">0.5</Item></GDALMetadata>'
    path = _write(tmp_path / "a.tif", extratags=[(42112, 2, 0, xml, True)])
    with pytest.raises(SourceError, match=r"a scale of 0\.5 for GDAL: apply it"):
        open_source(path, metadata=NM)


def test_an_image_that_lies_on_its_side_is_refused(tmp_path):
    path = _write(tmp_path / "a.tif", extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(SourceError, match=r"orientation 6.*save it upright"):
        open_source(path, metadata=NM)


@pytest.mark.parametrize(
    ("words", "spacing"),
    [
        ({"unit": "nm", "zunit": "micron", "spacing": 0.05}, (50, 5, 4)),
        ({"unit": "nm", "yunit": "micron", "spacing": 50.0}, (50, 5000, 4)),
        ({"unit": "nm"}, (1, 5, 4)),
    ],
)
def test_each_axis_of_imagej_has_its_unit(tmp_path, words, spacing):
    path = _write(
        tmp_path / "a.tif", imagej=True, resolution=(1 / 4, 1 / 5),
        metadata={"axes": "ZYX", **words},
    )  # fmt: skip
    grid = open_source(path).grid
    assert grid.unit == "nanometer"
    np.testing.assert_allclose(grid.spacing, spacing)


def test_a_distance_of_planes_that_imagej_leaves_out_is_said(tmp_path, caplog):
    path = _write(
        tmp_path / "a.tif", imagej=True, resolution=(4, 5),
        metadata={"axes": "ZYX", "unit": "micron"},
    )  # fmt: skip
    assert open_source(path).grid.spacing == (1, 0.2, 0.25)
    assert "taken as 1 micron" in caplog.text


def test_each_axis_of_ome_has_its_unit(tmp_path):
    words = {"PhysicalSizeZ": 0.05, "PhysicalSizeY": 5.0, "PhysicalSizeX": 4.0}
    units = {"PhysicalSizeZUnit": "µm", "PhysicalSizeYUnit": "nm", "PhysicalSizeXUnit": "nm"}
    path = _write(tmp_path / "a.ome.tif", ome=True, metadata={"axes": "ZYX", **words, **units})
    assert open_source(path).grid == Grid((5, 40, 48), (50, 5, 4), unit="nanometer")


def test_the_origin_of_imagej_is_a_place(tmp_path):
    words = {"unit": "nm", "spacing": 50.0, "xorigin": 2.0, "zorigin": -1.0}
    path = _write(
        tmp_path / "a.tif", imagej=True, resolution=(1 / 4, 1 / 5),
        metadata={"axes": "ZYX", **words},
    )  # fmt: skip
    assert open_source(path).grid.origin == (50, 0, -8)


@pytest.mark.parametrize("planes", [1, 3, 4.5])
def test_a_stack_of_which_imagej_lists_one_plane_is_read_in_full_or_refused(tmp_path, planes):
    path = Path(_write(tmp_path / "a.tif", imagej=True, metadata={"axes": "ZYX"}))
    with tifffile.TiffFile(path) as tiff:
        offset, entry, order = tiff.pages[0].dataoffsets[0], tiff.pages[0].offset, tiff.byteorder
    raw = bytearray(path.read_bytes())
    count = int.from_bytes(raw[entry : entry + 2], "little" if order == "<" else "big")
    raw[entry + 2 + 12 * count : entry + 6 + 12 * count] = bytes(4)  # no next page
    path.write_bytes(raw[: offset + VALUES.nbytes])
    source = open_source(str(path), metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    path.write_bytes(raw[: offset + int(VALUES[0].nbytes * planes)])
    with pytest.raises(SourceError, match="truncated"):
        open_source(str(path), metadata=NM)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("back", [0, 1, 2])
def test_pages_in_a_circle_are_refused_at_once(tmp_path, back, big):
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), bigtiff=big, photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        pages = [page.offset for page in tiff.pages]
        last = pages[-1] + tiff.tiff.tagnosize + len(tiff.pages[-1].tags) * tiff.tiff.tagsize
        width = tiff.tiff.offsetsize
    raw = bytearray(path.read_bytes())
    assert raw[last : last + width] == bytes(width)
    raw[last : last + width] = pages[back].to_bytes(width, "little")
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=r"circle\.tif is damaged: the page after page 2"):
        open_source(path, metadata=NM)


@pytest.mark.parametrize("labels", [False, True])
def test_a_later_page_that_lies_on_its_side_is_refused(tmp_path, labels):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number in range(4):
            file.write(
                np.full((12, 14), number, np.uint8),
                photometric="minisblack",
                contiguous=False,
                metadata=None,
                extratags=[(274, 3, 1, 3 if number == 2 else 1, True)],
            )
    with pytest.raises(SourceError, match=r"orientation 3 on page 2.*save it upright"):
        open_source(str(tmp_path / "a.tif"), metadata=NM, labels=labels)
