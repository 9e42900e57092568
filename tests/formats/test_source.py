import itertools
import lzma
import tokenize
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.errors import BytesLengthException

from parafovea.errors import (
    ConfigError,
    GridError,
    SourceError,
    SpacingError,
    TileError,
    VoxelError,
    describe,
)
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source, VolumeView, pick_channel, readable, voxel_dtype
from parafovea.formats.source_placement import Stated, place, stated_by_attributes
from parafovea.formats.tiles.tile import readable_tile
from parafovea.geometry.grid import Box, Grid

SPAN = st.tuples(st.integers(-7, 9), st.integers(-7, 9)).map(lambda ends: slice(*ends))


@settings(max_examples=30)
@given(
    st.sampled_from(list(itertools.permutations(range(4), 3))),
    st.tuples(SPAN, SPAN, SPAN),
    st.integers(0, 1),
)
def test_a_view_is_the_transposed_array(axes, index, chosen):
    stored = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    (other,) = {0, 1, 2, 3} - set(axes)
    view = VolumeView(stored, "a", axes=axes, fixed={other: chosen})
    expected = np.moveaxis(stored, [other, *axes], [0, 1, 2, 3])[chosen][index]
    np.testing.assert_array_equal(view[index], expected)


@pytest.mark.parametrize("axes", [(None, 0, 1), (None, 1, 0), (0, None, 1), (1, 0, None)])
def test_an_axis_that_is_missing_has_length_one(axes):
    stored = np.arange(12).reshape(3, 4)
    view = VolumeView(stored, "a", axes=axes)
    order = [a for a in axes if a is not None]
    expected = np.expand_dims(stored.transpose(order), axes.index(None))
    np.testing.assert_array_equal(view[:, :, :], expected)
    assert view.shape == expected.shape
    gone = [slice(None)] * 3
    gone[axes.index(None)] = slice(1, None)
    assert view[tuple(gone)].size == 0


def test_voxels_are_native_and_booleans_numbers():
    big = np.arange(8, dtype=">u2").reshape(2, 2, 2)
    view = VolumeView(big, "a", axes=(0, 1, 2))
    assert view.dtype.isnative
    assert view[0:1, :, :].dtype == np.uint16
    mask = VolumeView(big > 3, "a", axes=(0, 1, 2))
    assert mask[:, :, :].dtype == np.uint8
    assert mask[:, :, :].sum() == 4


@pytest.mark.parametrize("dtype", ["c8", "U3", "S2", "O", "M8[s]", [("r", "u1"), ("g", "u1")]])
def test_what_is_no_number_is_refused(dtype):
    with pytest.raises(SourceError, match="instead of numbers"):
        voxel_dtype(np.dtype(dtype), "a.zarr")


def test_a_box_outside_is_refused_rather_than_wrapped():
    stored = np.zeros((2, 3, 4))
    source = Source("a", VolumeView(stored, "a", axes=(0, 1, 2)), Grid((2, 3, 4), (1, 1, 1)))
    assert source.read(Box((0, 1, 1), (2, 3, 2))).shape == (2, 2, 1)
    for box in (Box((-1, 0, 0), (1, 1, 1)), Box((0, 0, 0), (2, 3, 5))):
        with pytest.raises(GridError, match="reaches outside a"):
            source.read(box)


def test_steps_are_refused():
    view = VolumeView(np.zeros((2, 3, 4)), "a", axes=(0, 1, 2))
    with pytest.raises(GridError, match="step"):
        view[::2, :, :]


class PanicException(BaseException):
    """What a library in Rust raises, which is no Exception."""


RAISED = (
    *(OSError("gone"), EOFError(), KeyError("a"), SyntaxError("png"), OverflowError("large")),
    *(SystemError("null"), lzma.LZMAError("corrupt"), tokenize.TokenError("EOF"), zlib.error("-3")),
    *(MemoryError(), RecursionError(), BytesLengthException("odd"), PanicException("index")),
)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_a_library_raises_becomes_one_readable_line(error):
    with pytest.raises(SourceError, match=r"^a\.tif cannot be read .*\(.+\)"), readable("a.tif"):
        raise error
    with pytest.raises(TileError, match=r"^a\.tif cannot be read"), readable_tile(Path("a.tif")):
        raise error


def test_a_request_to_stop_is_no_damage():
    with pytest.raises(KeyboardInterrupt), readable("a.tif"):
        raise KeyboardInterrupt


def test_an_error_that_does_not_name_the_file_gets_a_note_about_it():
    with pytest.raises(GridError) as caught, readable("a.tif"):
        raise GridError("spacing 0 is not above 0")
    assert describe(caught.value) == "spacing 0 is not above 0\n  in a.tif"
    with pytest.raises(SourceError) as named, readable("a.tif"):
        raise SourceError("a.tif is empty")
    assert describe(named.value) == "a.tif is empty"


def test_every_lazy_read_is_behind_the_boundary(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint8), photometric="minisblack")
    source = open_source(path, metadata="spacing=1,1,1 unit=nanometer")

    def fail(self, index):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(VolumeView, "__getitem__", fail)
    with pytest.raises(SourceError, match=r"a\.tif cannot be read \(index out of bounds\)"):
        source.read(source.grid.box)


def test_channels_are_asked_for_only_where_there_are_several():
    assert pick_channel("a", 1, None) == 0
    assert pick_channel("a", 3, 2) == 2
    with pytest.raises(SourceError, match="3 channels: write channel=0"):
        pick_channel("a", 3, None)
    with pytest.raises(SourceError, match="no channel 3"):
        pick_channel("a", 3, 3)


def test_the_user_wins_over_the_file():
    stated = Stated((4.0, 2.0, 2.0), "um", (40.0, 0.0, 2.0))
    assert place("a", (1, 2, 3), stated, SourceMetadata()) == Grid(
        (1, 2, 3), (4.0, 2.0, 2.0), (40.0, 0.0, 2.0), "micrometer"
    )
    # The origin keeps its place in voxels: ten planes up, one column in.
    user = SourceMetadata(spacing=(50.0, 5.0, 5.0), unit="nm")
    assert place("a", (1, 2, 3), stated, user) == Grid(
        (1, 2, 3), (50.0, 5.0, 5.0), (500.0, 0.0, 5.0), "nanometer"
    )
    moved = SourceMetadata(origin=(1.0, 2.0, 3.0))
    assert place("a", (1, 2, 3), stated, moved).origin == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("stated", "metadata", "advice"),
    [
        (Stated(), SourceMetadata(), "`spacing=50,4.6,4.6 unit=nanometer`"),
        (Stated((None, 4.0, 4.0), "um"), SourceMetadata(), "`spacing=Z,4,4 unit=micrometer`"),
        (Stated((8.0, 4.0, 4.0)), SourceMetadata(), "`spacing=8,4,4 unit=nanometer`"),
        (Stated(), SourceMetadata(spacing=(8.0, 4.0, 2.0)), "`spacing=8,4,2 unit=nanometer`"),
        (Stated((8.0, 4.0, 4.0), "degree"), SourceMetadata(), "'degree', which is not known"),
        (Stated((0.0, 4.0, 4.0), "mm"), SourceMetadata(), "`spacing=Z,4,4 unit=millimeter`"),
    ],
)
def test_no_spacing_shows_the_text_for_the_sheet(stated, metadata, advice):
    with pytest.raises(SpacingError, match=r"metadata column") as caught:
        place("a.tif", (1, 1, 1), stated, metadata)
    assert advice in str(caught.value)
    assert str(caught.value).startswith("a.tif ")


def test_a_volume_without_voxels_names_the_axis():
    with pytest.raises(VoxelError, match=r"a\.tif has the shape \(3, 0, 2\).*along y"):
        place("a.tif", (3, 0, 2), Stated(), SourceMetadata())


def test_attributes_of_other_tools_are_understood():
    def read(**attributes):
        return stated_by_attributes(attributes, dimensions=3, path="a")

    assert read(resolution=[8, 4, 4], units=["nm"] * 3, offset=[80, 0, 4]) == Stated(
        (8.0, 4.0, 4.0), "nm", (80.0, 0.0, 4.0)
    )
    assert read(element_size_um=np.array([0.03, 0.004, 0.004])) == Stated(
        (0.03, 0.004, 0.004), "micrometer"
    )
    assert read(voxel_size=np.array([2.0, 1.0, 1.0]), unit=b"mm").unit == "mm"
    assert stated_by_attributes({"spacing": [4, 2]}, dimensions=2, path="a").spacing == (
        None,
        4.0,
        2.0,
    )
    assert read() == Stated()


@pytest.mark.parametrize(
    "attributes",
    [{"resolution": [1, 2]}, {"resolution": "fine"}, {"offset": 3}, {"units": ["nm", "um"]}],
)
def test_attributes_that_make_no_sense_are_named(attributes):
    with pytest.raises(SourceError, match=r"a\.zarr has the (attribute|units)"):
        stated_by_attributes(attributes, dimensions=3, path="a.zarr")


def test_each_axis_may_have_its_unit():
    attributes = {"resolution": [0.05, 4, 4], "units": ["um", "nm", "nm"], "offset": [0.1, 0, 8]}
    stated = stated_by_attributes(attributes, dimensions=3, path="a.zarr")
    assert stated == Stated((50.0, 4.0, 4.0), "nm", (100.0, 0.0, 8.0))


def test_a_unit_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'furlong' is not known"):
        open_source(str(tmp_path), finer_than=(1, 1, 1), unit="furlong")
