"""What a source names is read only within the folder of the source."""

import json
import os

import h5py
import numpy as np
import pytest
import zarr

from parafovea.errors import SourceError
from parafovea.formats.location import source_files
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid

NM = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer")
VALUES = np.random.default_rng(2).integers(1, 250, (4, 6, 8), dtype=np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Return the folder of the source, and one beside it with a file of every kind."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    for folder in (inner, outer):
        (folder / "a.raw").write_bytes(VALUES.tobytes())
        with h5py.File(folder / "part.h5", "w") as file:
            file["raw"] = VALUES
    return inner, outer


def _read(path):
    source = open_source(str(path), metadata=NM)
    return source.read(source.grid.box)


def _external(file, name):
    with h5py.File(file, "w") as opened:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_external(os.fsencode(name), 0, VALUES.nbytes)
        space = h5py.h5s.create_simple(VALUES.shape)
        h5py.h5d.create(opened.id, b"raw", h5py.h5t.NATIVE_UINT8, space, plist)


def _virtual(file, name):
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    layout[:] = h5py.VirtualSource(name, "raw", VALUES.shape)
    with h5py.File(file, "w") as opened:
        opened.create_virtual_dataset("raw", layout)


def _link(file, name):
    with h5py.File(file, "w") as opened:
        opened["raw"] = h5py.ExternalLink(name, "/raw")


def _link_of_a_group(file, name):
    with h5py.File(file, "w") as opened:
        opened["group"] = h5py.ExternalLink(name, "/")
        opened["raw"] = h5py.SoftLink("/group/raw")


MAKE = {
    "external storage": (_external, "a.raw"),
    "a virtual dataset": (_virtual, "part.h5"),
    "an external link": (_link, "part.h5"),
    "a link to a group, through another": (_link_of_a_group, "part.h5"),
}


@pytest.mark.parametrize("kind", MAKE)
def test_parts_of_hdf5_in_the_same_folder_are_read(folders, kind, monkeypatch):
    inner, outer = folders
    make, name = MAKE[kind]
    # wherever the program runs, and however its file was named
    monkeypatch.chdir(outer)
    (outer / name).unlink()
    for stated in (name, f"./{name}", str(inner / name)):
        make(inner / "all.h5", stated)
        np.testing.assert_array_equal(_read(f"{inner}/all.h5:raw"), VALUES)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("way", ["relative", "absolute", "a link"])
def test_parts_of_hdf5_outside_of_the_folder_are_refused_by_name(folders, kind, way):
    inner, outer = folders
    make, name = MAKE[kind]
    stated = {"relative": f"../outer/{name}", "absolute": str(outer / name), "a link": "linked"}[
        way
    ]
    (inner / "linked").symlink_to(outer / name)
    make(inner / "all.h5", stated)
    with pytest.raises(SourceError, match=f"voxels in '{stated}', outside of the folder"):
        open_source(f"{inner}/all.h5:raw", metadata=NM)


@pytest.mark.parametrize("kind", MAKE)
def test_parts_are_not_looked_up_where_the_program_runs(folders, kind, monkeypatch):
    inner, outer = folders
    make, name = MAKE[kind]
    (inner / name).unlink()
    monkeypatch.chdir(outer)
    make(inner / "all.h5", name)
    with pytest.raises(SourceError, match="missing"):
        open_source(f"{inner}/all.h5:raw", metadata=NM)


@pytest.mark.parametrize("kind", MAKE)
def test_parts_of_parts_are_not_outside_either(folders, kind):
    inner, _ = folders
    make, name = MAKE[kind]
    make(inner / "second.h5", f"../outer/{name}")
    for first in (_virtual, _link):
        first(inner / "first.h5", "second.h5")
        with pytest.raises(SourceError, match="outside of the folder"):
            open_source(f"{inner}/first.h5:raw", metadata=NM)


def test_links_in_a_circle_are_refused(folders):
    inner, _ = folders
    with h5py.File(inner / "all.h5", "w") as opened:
        opened["raw"] = h5py.SoftLink("/other")
        opened["other"] = h5py.SoftLink("/raw")
    with pytest.raises(SourceError, match="more than 16 links"):
        open_source(f"{inner}/all.h5:raw", metadata=NM)


@pytest.fixture
def image(tmp_path):
    """Return an OME-Zarr image, beside which is an array of the same name."""
    folder = tmp_path / "a.zarr"
    zarr.create_group(folder, zarr_format=3)
    for place in (folder / "0", tmp_path / "b.zarr"):
        array = zarr.create_array(place, shape=VALUES.shape, chunks=VALUES.shape, dtype="u1")
        array[...] = VALUES
    return folder


def _name_level(image, path):
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [8.0, 4.0, 4.0]}]
    datasets = [{"path": path, "coordinateTransformations": scale}]
    facts = json.loads((image / "zarr.json").read_text())
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    (image / "zarr.json").write_text(json.dumps({**facts, "attributes": {"ome": ome}}))


@pytest.mark.parametrize("path", ["../b.zarr", "0/../../b.zarr", "{}/b.zarr", "linked"])
def test_a_level_outside_of_its_image_is_refused_by_name(image, path):
    (image / "linked").symlink_to(image.parent / "b.zarr")
    stated = path.format(image.parent)
    _name_level(image, stated)
    for reads in (open_source, source_grid):
        with pytest.raises(SourceError, match=f"level 0 in '{stated}', outside of its folder"):
            reads(str(image))
    assert not any("b.zarr" in file for file in source_files(str(image)))


@pytest.mark.parametrize("path", ["0", "./0", "other/../0"])
def test_a_level_within_its_image_is_read(image, path):
    (image / "other").mkdir()
    _name_level(image, path)
    np.testing.assert_array_equal(_read(image), VALUES)
