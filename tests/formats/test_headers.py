"""The grid of a source from its header alone is the one that reading it gives."""

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from dicom_slices import write_series

from parafovea.errors import SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.geometry.grid import Grid
from parafovea.storage.store import create

SPACING = SourceMetadata(spacing=(16.0, 16.0, 16.0), unit="nanometer")


def _pyramid(path, version):
    """Write a pyramid of two levels with a channel axis, of OME-Zarr 0.4 or 0.5."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    for level, size in enumerate((8, 4)):
        group.create_array(str(level), data=np.ones((1, size, size, size), "u2"))
    levels = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [1, s, s, s]}],
        }
        for level, s in enumerate((8, 16))
    ]
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    image = {"multiscales": [{"axes": axes, "datasets": levels}]}
    group.attrs.update(image if version == "0.4" else {"ome": {"version": version, **image}})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("finer_than", [None, (16.0, 16.0, 16.0), (10.0, 16.0, 16.0)])
def test_the_level_of_a_pyramid(tmp_path, version, finer_than):
    path = str(tmp_path / "image.zarr")
    _pyramid(path, version)
    wanted = {"metadata": SourceMetadata(), "finer_than": finer_than, "unit": "nanometer"}
    assert source_grid(path, **wanted) == open_source(path, **wanted).grid


def test_other_formats_are_opened(tmp_path):
    stack, array = str(tmp_path / "a.tif"), str(tmp_path / "a.zarr")
    tifffile.imwrite(stack, np.zeros((3, 4, 5), np.uint8), photometric="minisblack")
    zarr.create_array(array, data=np.ones((3, 4, 5), np.uint8))
    for path in (stack, array):
        assert source_grid(path, metadata=SPACING) == Grid((3, 4, 5), (16, 16, 16))


@pytest.mark.parametrize("damage", ["{", "[]", '{"attributes": {"ome": {"multiscales": [{}]}}}'])
def test_damaged_metadata_are_one_readable_error(tmp_path, damage):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_text(damage)
    with pytest.raises(SourceError, match=r"a\.zarr"):
        source_grid(str(folder), metadata=SPACING)


def test_an_image_is_known_without_zarr(tmp_path):
    grid = Grid((4, 5, 6), (16, 16, 16))
    with create(tmp_path / "a.ome.zarr", grid, dtype=np.uint8, attributes={}):
        pass
    code = (
        "import sys; from parafovea.formats.opening import source_grid;"
        "from parafovea.formats import SourceMetadata;"
        "grid = source_grid(sys.argv[1], metadata=SourceMetadata());"
        "sys.exit('zarr' in sys.modules or grid.shape != (4, 5, 6))"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.ome.zarr"]
    assert subprocess.run(command).returncode == 0


def test_scans_are_planned_without_torch_and_zarr(tmp_path):
    write_series(tmp_path / "scan", np.zeros((3, 4, 5), np.int16))
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    paths = [tmp_path / "scan", tmp_path / "a.mha", tmp_path / "a.nrrd"]
    for path in paths[1:]:
        SimpleITK.WriteImage(image, path)
    code = (
        "import sys; from parafovea.formats.opening import source_grid;"
        "from parafovea.formats import SourceMetadata;"
        "grids = [source_grid(path, metadata=SourceMetadata()) for path in sys.argv[1:]];"
        "assert all(grid.shape == (3, 4, 5) for grid in grids);"
        "sys.exit(', '.join({'torch', 'zarr', 'scipy', 'SimpleITK'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_axis_without_end_is_an_error_before_windows_are_listed(tmp_path):
    path = tmp_path / "long.zarr"
    zarr.create_array(path, shape=(10**13, 8, 8), chunks=(8, 8, 8), dtype="u1")[:8] = 1
    with pytest.raises(SourceError, match=r"long\.zarr has .* 10000000000000 voxels along z"):
        source_grid(str(path), metadata=SPACING)
