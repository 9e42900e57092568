"""Counting the tiles of a folder by their headers, and telling whether any has changed."""

import os
import shutil

import numpy as np
import pytest
import tifffile

from parafovea.formats.tiles.census import tile_census
from parafovea.formats.tiles.npz import write_tile


def values(height, width, seed=0):
    return np.random.default_rng(seed).random((4, height, width), np.float32)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three tiles of two sizes."""
    for number, (height, width) in enumerate([(32, 48), (64, 64), (32, 48)]):
        arrays = {"opt_v1": values(height, width, number)}
        write_tile(tmp_path, f"tile_{number}", arrays, {"month": number + 1})
    return tmp_path


def test_tiles_are_counted_by_height_and_width_the_largest_first(folder):
    census = tile_census(folder)
    assert list(census.sizes.items()) == [((64, 64), 1), ((32, 48), 2)]
    assert (census.count, census.unread) == (3, 0)


def test_deflated_tiles_and_numpys_own_files_are_counted_alike(folder):
    np.savez_compressed(folder / "deflated.npz", month=np.int64(6), opt_v1=values(32, 48))
    np.savez(folder / "plain.NPZ", extra=np.zeros((8, 9)), opt_v2=values(16, 32))
    census = tile_census(folder)
    assert census.sizes == {(64, 64): 1, (32, 48): 3, (16, 32): 1}


def test_geotiff_tiles_are_counted(folder):
    tifffile.imwrite(
        folder / "a.tif", values(20, 30), photometric="minisblack", planarconfig="separate"
    )
    tifffile.imwrite(folder / "b.TIFF", values(20, 30)[0], photometric="minisblack")
    assert tile_census(folder).sizes[20, 30] == 2


def test_tiles_that_cannot_be_read_are_counted_apart(folder):
    whole = (folder / "tile_0.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.tif").write_text("no image")
    np.savez(folder / "objects.npz", opt_v1=np.array([{"a": 1}], dtype=object))
    np.savez(folder / "flat.npz", opt_v1=np.zeros(5))
    tifffile.imwrite(folder / "several.tif", values(20, 30)[0], photometric="minisblack")
    with tifffile.TiffFile(folder / "several.tif", mode="r+") as file:
        # two heights
        file.pages.first.tags["ImageLength"].overwrite((20, 20), dtype="H")
    census = tile_census(folder)
    assert census.unread == 6
    assert sum(census.sizes.values()) == 3


def test_other_files_hidden_ones_and_folders_are_not_looked_at(folder):
    before = tile_census(folder)
    (folder / "notes.txt").write_text("not a tile")
    shutil.copy(folder / "tile_0.npz", folder / ".tile_9.npz.partial")
    shutil.copy(folder / "tile_0.npz", folder / ".tile_9.npz")
    (folder / "more").mkdir()
    assert tile_census(folder) == before


def test_a_touch_and_a_tile_written_anew_with_the_same_values_change_nothing(folder):
    before = tile_census(folder).digest
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    write_tile(folder, "tile_1", {"opt_v1": values(64, 64, 1)}, {"month": 2})
    assert tile_census(folder).digest == before


def change_a_value(folder):
    changed = values(64, 64, 1)
    changed[3, 9, 9] += 1e-6
    write_tile(folder, "tile_1", {"opt_v1": changed})


CHANGES = {
    "a value": change_a_value,
    "a month": lambda folder: (folder / "tile_0.json").write_text('{"month": 7}'),
    "a name": lambda folder: (folder / "tile_0.npz").rename(folder / "tile_5.npz"),
    "one less": lambda folder: (folder / "tile_0.npz").unlink(),
    "one more": lambda folder: shutil.copy(folder / "tile_0.npz", folder / "tile_7.npz"),
    "cut": lambda folder: (folder / "tile_0.npz").write_bytes(b"PK"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_result_depends_on_changes_the_digest(folder, what):
    before = tile_census(folder).digest
    CHANGES[what](folder)
    assert tile_census(folder).digest != before


def test_a_changed_pixel_of_a_geotiff_changes_the_digest(folder):
    image = values(20, 30)
    tifffile.imwrite(folder / "a.tif", image, photometric="minisblack", planarconfig="separate")
    before = tile_census(folder).digest
    image[0, 0, 0] += 0.5
    tifffile.imwrite(folder / "a.tif", image, photometric="minisblack", planarconfig="separate")
    assert tile_census(folder).digest != before


def test_a_name_that_is_not_utf_8_is_counted_and_stops_no_other(folder):
    bad, worse = (folder / os.fsdecode(name) for name in (b"bad\xff.npz", b"bad\xfe.npz"))
    shutil.copy(folder / "tile_0.npz", bad)
    before = tile_census(folder)
    assert before.count == 4
    bad.rename(worse)
    assert tile_census(folder).digest != before.digest
