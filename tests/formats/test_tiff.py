from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.metadata import SourceMetadata
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


@pytest.fixture(scope="module", params=["strips", "tiles", "plain"])
def stack(request, tmp_path_factory):
    layouts = {"strips": LAYOUTS["bigtiff, strips"], "tiles": LAYOUTS["tiles"], "plain": {}}
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    return open_source(_write(path, **layouts[request.param]), metadata=NM)


@settings(deadline=None, max_examples=20)
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
            {"imagej": True, "resolution": (0.25, 0.25), "metadata": {"unit": "nm", "axes": "ZYX"}},
            "`spacing=Z,4,4 unit=nanometer`",
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
