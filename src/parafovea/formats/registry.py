"""Registry of formats: how each is recognised, and which module reads it.

One entry per format, as data: a module is imported only when a source of its format is opened, so
that code that opens sources depends on this table and not on all readers. A new format needs a
module and an entry here.

The module of a format has `open_volume(location, request)`, which returns a
`parafovea.formats.source.Source`. Its `light` module imports no library of the format, since the
workflow calls it while planning its jobs; it may have

- `files(path)`: the files that belong to a source, if there are others than the path itself; for
  a folder, those that count besides it; for a file of several arrays `files(path, dataset)`,
- `holds(path)`: whether a folder without markers and members is of this format,
- `slices(path)`: the files of such a folder,
- `holds_volume(path)`: whether a file of unknown ending is a volume of this format,
- `why_not(path)`: what is wrong with a file of unknown ending if it is of this format, or None,
- `grid(location, request)`: the grid, from the header, or None if the header does not state it.

A module that reads single files of a folder (`members`) has `open_plane(path, channel, labels)` for
image stacks, and `palette_of(path)` if images may have a palette; for tiles it has a class
`Content`, which is a `parafovea.formats.tiles.tile.TileContent`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from parafovea.runtime.optional_packages import extras_named

ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")
TIFF_SUFFIXES = (".tif", ".tiff")
NPZ_SUFFIX = ".npz"

#: Endings of images with bands.
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".jp2", ".vrt")

_HERE = __name__.rpartition(".")[0]

#: Modules that read what is at addresses; they are imported for these sources alone.
REMOTE = {
    "documents": f"{_HERE}.remote.documents",
    "objects": f"{_HERE}.remote.objects",
    "store": f"{_HERE}.zarr.remote_store",
}

#: Extras of parafovea with the libraries of formats, by the beginning of their modules' names.
EXTRAS = {
    f"{_HERE}.dicom.": "dicom",
    f"{_HERE}.geo.": "optical",
    f"{_HERE}.remote.": "remote",
}


@dataclass(frozen=True, kw_only=True)
class Format:
    """Recognition and reader module of a format.

    Parameters
    ----------
    name : str
        Name used in `parafovea.formats.location.Location`.
    module : str
        Module that opens a source.
    meaning : str
        Description offered in messages; "" if not needed.
    suffixes : tuple of str
        Endings of its files or folders, in lower case.
    markers : tuple of str
        File names, any of which marks a folder as this format.
    members : mapping of str to str
        Endings of files that mark a folder as this format, each with the module that reads such a
        file.
    folders : str, optional
        Module that reads a folder with one file per band as such a member.
    decisive : tuple of str
        Those of `members` that mark a folder as this format even if no bands are requested;
        all of them by default.
    dataset : bool
        Whether a file holds several arrays, and an array is selected as `file.h5:name`.
    bands : str
        Whether it has several named bands: "never", "always", or "also".
    levels : bool
        Whether it has several levels of resolution, of which one is chosen.
    light : str, optional
        Module with further functions about a source that import no library.
    """

    name: str
    module: str
    meaning: str = ""
    suffixes: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)
    folders: str | None = None
    decisive: tuple[str, ...] | None = None
    dataset: bool = False
    bands: Literal["never", "always", "also"] = "never"
    levels: bool = False
    light: str | None = None

    def load(self) -> ModuleType:
        """Return the module that opens a source; of an extra that is missing, raise its error."""
        return _imported(self.module)

    def light_function(self, name: str) -> Callable[..., Any] | None:
        """Return a function of the light module, or None if it has none of this name."""
        if self.light is None:
            return None
        found: Callable[..., Any] | None = getattr(_imported(self.light), name, None)
        return found


def _imported(module: str) -> ModuleType:
    with extras_named():
        return importlib.import_module(module)


FORMATS = (
    Format(
        name="zarr",
        module=f"{_HERE}.zarr.arrays",
        meaning="an OME-Zarr or Zarr folder",
        suffixes=(".ome.zarr", ".zarr"),
        markers=ZARR_METADATA,
        levels=True,
        light=f"{_HERE}.zarr.ome_zarr",
    ),
    Format(
        name="n5",
        module=f"{_HERE}.n5.blocks",
        meaning="an N5 dataset or group",
        suffixes=(".n5",),
        markers=("attributes.json", "s0/attributes.json"),
        levels=True,
        light=f"{_HERE}.n5.attributes",
    ),
    Format(
        name="precomputed",
        module=f"{_HERE}.precomputed.chunks",
        meaning="a Neuroglancer precomputed volume",
        suffixes=(".precomputed",),
        markers=("info",),
        levels=True,
        light=f"{_HERE}.precomputed.info",
    ),
    Format(
        name="tiff",
        module=f"{_HERE}.tiff",
        meaning="a TIFF stack (.tif, .tiff)",
        suffixes=(".ome.tif", ".ome.tiff", *TIFF_SUFFIXES),
    ),
    Format(
        name="tiles",
        module=f"{_HERE}.tiles.stack",
        members={
            NPZ_SUFFIX: f"{_HERE}.tiles.npz",
            **dict.fromkeys(IMAGE_SUFFIXES, f"{_HERE}.geo.geotiff_tile"),
        },
        folders=f"{_HERE}.geo.geotiff_tile",
        decisive=(NPZ_SUFFIX,),
        bands="also",
    ),
    Format(
        name="image_stack",
        module=f"{_HERE}.image_stacks",
        meaning="a folder or a pattern of TIFF or PNG slices",
        members={**dict.fromkeys(TIFF_SUFFIXES, f"{_HERE}.tiff"), ".png": f"{_HERE}.png"},
    ),
    Format(name="png", module=f"{_HERE}.png", suffixes=(".png",)),
    Format(
        name="nifti",
        module=f"{_HERE}.nifti",
        meaning="NIfTI (.nii, .nii.gz)",
        suffixes=(".nii.gz", ".nii"),
    ),
    Format(
        name="dicom",
        module=f"{_HERE}.dicom.series",
        meaning="a DICOM series (a folder, or a .zip of it) or enhanced image",
        suffixes=(".zip",),
        members=dict.fromkeys((".dcm", ".dicom", ".ima"), f"{_HERE}.dicom.series"),
        light=f"{_HERE}.dicom.contents",
    ),
    Format(
        name="nrrd",
        module=f"{_HERE}.nrrd",
        meaning="NRRD (.nrrd, .nhdr)",
        suffixes=(".nrrd", ".nhdr"),
        light=f"{_HERE}.raw_voxels",
    ),
    Format(
        name="metaimage",
        module=f"{_HERE}.metaimage",
        meaning="MetaImage (.mha, .mhd)",
        suffixes=(".mha", ".mhd"),
        light=f"{_HERE}.raw_voxels",
    ),
    Format(
        name="hdf5",
        module=f"{_HERE}.hdf5.datasets",
        meaning="HDF5 (file.h5:dataset)",
        suffixes=(".h5", ".hdf5", ".hdf", ".ims", ".nc"),
        dataset=True,
        light=f"{_HERE}.hdf5.dataset_files",
    ),
    Format(
        name="mosaic",
        module=f"{_HERE}.geo.mosaic",
        suffixes=IMAGE_SUFFIXES,
        bands="always",
        light=f"{_HERE}.geo.companions",
    ),
)


def extra_of(module: str) -> str | None:
    """Return the extra of parafovea that a module of a format needs, None if it needs none."""
    return next((extra for begin, extra in EXTRAS.items() if module.startswith(begin)), None)


def remote_module(name: str) -> ModuleType:
    """Return a module that reads what is at addresses, by its key in `REMOTE`."""
    return _imported(REMOTE[name])


def remote_documents() -> Any:
    """Return the metadata at addresses of this process; see `formats.remote.documents`."""
    return remote_module("documents").DOCUMENTS


def format_named(name: str) -> Format:
    """Return the format with a name.

    Raises
    ------
    KeyError
        If there is no such format.
    """
    for each in FORMATS:
        if each.name == name:
            return each
    raise KeyError(name)


#: Endings of tile files that contain the values.
TILE_SUFFIXES = tuple(format_named("tiles").members)

#: Endings of images in a stack.
SLICE_SUFFIXES = tuple(format_named("image_stack").members)


def registered_modules() -> tuple[str, ...]:
    """Return the sorted names of all modules in the registry."""
    named = [(each.module, each.light, *each.members.values()) for each in FORMATS]
    return tuple(sorted({name for each in named for name in each if name is not None}))


def format_of_file(name: str, *, bands: bool = False) -> Format | None:
    """Return the format for the ending of a name, or None if it is unknown.

    Parameters
    ----------
    name : str
        Name of a file or folder, which need not exist.
    bands : bool
        Whether named bands are wanted, in which case a TIFF is a mosaic.
    """
    fitting = [
        each
        for each in FORMATS
        if name.lower().endswith(each.suffixes) and (bands or each.bands != "always")
    ]
    wanted = "always" if bands else "never"
    return next((each for each in fitting if each.bands == wanted), next(iter(fitting), None))


def member_module(format_name: str, file: str | Path) -> str:
    """Return the name of the module that reads one file of a folder.

    Parameters
    ----------
    format_name : str
        Format of the folder.
    file : str or Path
        File with one of the endings in the format's `members`, or a folder as a member.
    """
    found = format_named(format_name)
    name = str(file).lower()
    read = (module for suffix, module in found.members.items() if name.endswith(suffix))
    module = next(read, found.folders)
    if module is None:
        raise KeyError(f"{format_name} has no member {file}")
    return module


def member_reader(format_name: str, file: str | Path) -> ModuleType:
    """Return the module that reads one file of a folder; see `member_module`."""
    return _imported(member_module(format_name, file))
