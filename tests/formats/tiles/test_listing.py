"""Which tiles are in a folder."""

import os
import socket

import numpy as np
import pytest
from tile_files import field, write_npz, write_tif

from parafovea.errors import MissingSourceError, SourceError, TileError
from parafovea.formats.location import locate
from parafovea.formats.tiles.census import tile_census
from parafovea.formats.tiles.npz import write_tile
from parafovea.formats.tiles.reading import read_tile
from parafovea.formats.tiles.tile_folder import list_tiles, unmatched_sidecars


def test_tiles_of_both_formats_are_listed_by_name_with_their_sidecars(tmp_path):
    write_npz(tmp_path, "b", {"month": 3}, opt_v1=field())
    write_tif(tmp_path, field(), "a")
    (tmp_path / "c.NPZ").write_bytes(b"not opened here")
    found = list_tiles(tmp_path)
    assert [(tile.name, tile.path.name) for tile in found] == [
        ("a", "a.tif"),
        ("b", "b.npz"),
        ("c", "c.NPZ"),
    ]
    assert [tile.sidecar for tile in found] == [None, tmp_path / "b.json", None]


def test_a_name_with_dots_keeps_them(tmp_path):
    write_npz(tmp_path, "S2A_31.5_v1.0", {"month": 3}, opt_v1=field())
    (tile,) = list_tiles(tmp_path)
    assert tile.name == "S2A_31.5_v1.0"
    assert tile.sidecar == tmp_path / "S2A_31.5_v1.0.json"


def test_hidden_and_unfinished_files_are_no_tiles(tmp_path):
    write_npz(tmp_path, "a", opt_v1=field())
    write_npz(tmp_path, ".b", opt_v1=field())
    (tmp_path / ".c.npz.partial").write_bytes(b"")
    (tmp_path / "d.npz.partial").write_bytes(b"")
    (tmp_path / "e").mkdir()
    assert [tile.name for tile in list_tiles(tmp_path)] == ["a"]


def test_what_has_the_ending_of_a_tile_but_is_no_file_is_an_invalid_tile(tmp_path):
    write_npz(tmp_path, "a", opt_v1=field())
    write_npz(tmp_path, "b", opt_v1=field())
    write_npz(tmp_path, "g", {"month": 3}, opt_v1=field())
    for name in ("b.json", "a.tif", "d.npz", "f.NPZ"):
        (tmp_path / name).mkdir()
    for name in ("e.npz", "e.json", "g.JSON"):
        os.mkfifo(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "h.tif"))
    for name in ("B02.tif", "B03.tif", "B04.tif"):
        write_tif(tmp_path / "d.npz", field()[:1], name.removesuffix(".tif"), descriptions=("x",))
    found = {tile.name: tile.problem for tile in list_tiles(tmp_path)}
    # a folder with a file for each band is a folder as any other beside files
    assert list(found) == ["a", "a.tif", "b", "e", "f", "g", "h"]
    assert {name for name in found if not found[name]} == {"a", "g"}
    assert (
        found["b"] == f"{tmp_path}/b.json is a folder, not a file: put the file there, or remove it"
    )
    assert found["a.tif"].startswith(f"{tmp_path}/a.tif is a folder, not a file")
    for name in ("e.npz", "h.tif"):
        said = found[name.partition(".")[0]]
        assert said.startswith(f"{tmp_path}/{name} is a pipe, a socket or a device, not a file")
    with pytest.raises(TileError, match=r"e\.npz is a pipe"):
        read_tile(next(tile for tile in list_tiles(tmp_path) if tile.name == "e"))
    census = tile_census(tmp_path)
    assert (census.count, census.unread) == (len(found), 4)
    (tmp_path / "f.NPZ").rmdir()
    assert tile_census(tmp_path).digest != census.digest


def test_a_folder_of_nothing_but_folders_that_are_named_like_tiles_holds_none(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(SourceError, match="it holds 1 folder"):
        list_tiles(tmp_path)
    for name in ("B02.tif", "B03.tif", "B04.tif"):
        (tmp_path / "b.tif").mkdir(exist_ok=True)
        write_tif(tmp_path / "b.tif", field()[:1], name.removesuffix(".tif"), descriptions=("x",))
    assert {tile.name: bool(tile.problem) for tile in list_tiles(tmp_path)} == {
        "a": True,
        "b.tif": False,
    }


def test_a_pattern_chooses_among_the_files(tmp_path):
    for name in ("north_1", "north_2", "south_1"):
        write_npz(tmp_path, name, opt_v1=field())
    assert [t.name for t in list_tiles(tmp_path, pattern="north_*")] == ["north_1", "north_2"]
    with pytest.raises(SourceError, match=r"with the pattern 'west_\*'.* it holds 3 \.npz files"):
        list_tiles(tmp_path, pattern="west_*")


def test_a_folder_without_tiles_says_what_it_holds_instead(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.json", "b.json", "x.JPG", "README"):
        (tmp_path / name).write_text("")
    with pytest.raises(SourceError, match=r"^No NPZ tiles found in .*none that end in \.tif") as e:
        list_tiles(tmp_path)
    for part in ("2 .json files", "1 .jpg file", "1 nameless file", "1 folder"):
        assert part in str(e.value)
    assert str(tmp_path) in str(e.value)


def test_an_empty_a_missing_and_no_folder_are_told_apart(tmp_path):
    with pytest.raises(SourceError, match="it is empty"):
        list_tiles(tmp_path)
    with pytest.raises(MissingSourceError, match="nowhere does not exist"):
        list_tiles(tmp_path / "nowhere")
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(SourceError, match="is a file"):
        list_tiles(tmp_path / "a.npz")


@pytest.mark.parametrize("other", ["a.tif", "a.NPZ", "a.tiff"])
def test_two_tiles_of_one_name_are_refused_with_both_files(tmp_path, other):
    (tmp_path / "a.npz").write_bytes(b"")
    (tmp_path / other).write_bytes(b"")
    with pytest.raises(SourceError, match="two tiles named 'a'") as caught:
        list_tiles(tmp_path)
    assert str(tmp_path / "a.npz") in str(caught.value)
    assert str(tmp_path / other) in str(caught.value)
    assert not isinstance(caught.value, TileError), "this concerns the whole sample"


def test_links_within_the_folder_are_followed_and_links_out_of_it_refused(tmp_path):
    folder, outside = tmp_path / "tiles", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    write_npz(folder, "a", opt_v1=field())
    (folder / "b.npz").symlink_to("a.npz")
    assert [tile.name for tile in list_tiles(folder)] == ["a", "b"]
    (tmp_path / "link").symlink_to(folder)
    assert len(list_tiles(tmp_path / "link")) == 2, "the folder itself may be a link"
    (outside / "secret.json").write_text("{}")
    (folder / "a.json").symlink_to(outside / "secret.json")
    tile, other = list_tiles(folder)
    assert not other.problem
    with pytest.raises(TileError, match=r"a\.json is a link to .*secret\.json, outside"):
        read_tile(tile)


@pytest.mark.parametrize(
    ("name", "listed"), [("a\tb", r"a\tb"), ("a\nb", r"a\nb"), ("a\udcffb", r"a\udcffb")]
)
def test_a_name_that_would_break_a_table_sets_that_tile_aside_alone(tmp_path, name, listed):
    np.savez(tmp_path / f"{name}.npz", opt_v1=field())
    write_npz(tmp_path, "b", opt_v1=field())
    tiles = {tile.name: tile for tile in list_tiles(tmp_path)}
    assert set(tiles) == {listed, "b"}
    assert read_tile(tiles["b"]).name == "b"
    with pytest.raises(TileError, match="unprintable characters") as caught:
        read_tile(tiles[listed])
    assert str(caught.value).isprintable()


def test_a_name_that_a_result_cannot_take_sets_that_tile_aside_alone(tmp_path):
    fits, long = "x" * 250, "y" * 251
    for name in (fits, long):
        np.savez(tmp_path / f"{name}.npz", opt_v1=field())
    write_tile(tmp_path / "results", fits, {"opt_v2": field()}, {"month": 6})
    one, other = list_tiles(tmp_path)
    assert read_tile(one).values.shape == (4, 20, 24)
    with pytest.raises(TileError, match=r"name of 251 bytes .* at most 250: rename"):
        read_tile(other)


def test_json_files_that_belong_to_no_tile_are_named(tmp_path):
    write_npz(tmp_path, "a", {"month": 3}, opt_v1=field())
    write_tif(tmp_path, field(), "b")
    for name in ("b.JSON", "a.tif.json", "dataset.json", ".hidden.json"):
        (tmp_path / name).write_text("{}")
    assert unmatched_sidecars(tmp_path) == ("a.tif.json", "dataset.json")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["x.img"], "GDAL converts it: gdal_translate x.img x.tif"),
        (["all.ecw"], "gdal_translate all.ecw all.tif"),
        (["0001/B2.tif", "0002/B2.tif"], "gdalbuildvrt -separate all.vrt"),
    ],
)
def test_what_gdal_has_to_convert_is_named_with_its_command(tmp_path, names, says):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceError, match=says):
        list_tiles(tmp_path)
    with pytest.raises(SourceError, match=says):
        locate(str(tmp_path), bands=True)


def test_one_file_a_band_is_refused_with_the_command_that_stacks_them(tmp_path):
    file = write_tif(tmp_path, field(bands=1), "T33_B02", descriptions=())
    with pytest.raises(TileError, match=r"has one band.*gdalbuildvrt -separate"):
        read_tile(file)


def test_a_link_to_nothing_is_an_invalid_tile_and_not_an_absent_one(tmp_path):
    write_npz(tmp_path, "a", {"month": 3}, opt_v1=field())
    (tmp_path / "b.npz").symlink_to("elsewhere.npz")
    write_npz(tmp_path, "c", opt_v1=field())
    (tmp_path / "c.json").symlink_to("elsewhere.json")
    a, b, c = list_tiles(tmp_path)
    assert read_tile(a).month == 3
    for tile, name in ((b, r"b\.npz"), (c, r"c\.json")):
        with pytest.raises(TileError, match=name):
            read_tile(tile)


def test_a_link_that_cannot_be_followed_is_an_invalid_tile(tmp_path):
    write_npz(tmp_path, "a", {"month": 3}, opt_v1=field())
    (tmp_path / "b.npz").symlink_to("b.npz")
    a, b = list_tiles(tmp_path)
    assert read_tile(a).month == 3
    with pytest.raises(TileError, match=r"b\.npz is a link that cannot be followed"):
        read_tile(b)
