"""The formats: by what each is recognised, and which module reads it.

One entry a format, as data: a module is imported when a source of its format is met, so that who
opens sources depends on this table and not on all readers. A new format is a new module and an
entry here.

The module of a format has `open_volume(location, request)`, which returns a
`parafovea.formats.source.Source`. Its `light` module imports no library of the format, since the
workflow asks it while it plans its jobs; it may have

- `files(path)`: the files that belong to a source, where they are more than the path itself; of
  a folder those that count beside it,
- `holds(path)`: whether a folder without markers and members is of the format,
- `slices(path)`: the files of such a folder,
- `why_not(path)`: what is wrong with a file of an unknown ending if it is of the format, else None,
- `grid(location, request)`: where the voxels lie, from the header, or None where it cannot tell.

A module that reads single files of a folder (`members`) has `open_plane(path, channel, labels)` for
a stack of images, and `palette_of(path)` where an image may have one; for tiles it has a class
`Content`, which is a `parafovea.formats.tiles.tile.TileContent`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")
TIFF_SUFFIXES = (".tif", ".tiff")
NPZ_SUFFIX = ".npz"

_HERE = __name__.rpartition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a format is recognised, and what reads it.

    Parameters
    ----------
    name : str
        As in `parafovea.formats.location.Location`.
    module : str
        That opens a source.
    meaning : str
        What a message offers; "" for what goes without saying.
    suffixes : tuple of str
        How the names of its files or folders end, in lower case.
    markers : tuple of str
        Names of files, any of which makes a folder one of this format.
    members : mapping of str to str
        How files end that make a folder one of this format, each with the module that reads one.
    decisive : tuple of str
        Of these endings, those that make a folder one of this format even where no bands are asked
        for; all of them by default.
    dataset : bool
        Whether a file holds several arrays, so that the name of one follows it: `file.h5:name`.
    bands : str
        Whether it gives several named bands: "never", "always", or "also".
    light : str, optional
        Module that knows more of a source without any library.
    """

    name: str
    module: str
    meaning: str = ""
    suffixes: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)
    decisive: tuple[str, ...] | None = None
    dataset: bool = False
    bands: Literal["never", "always", "also"] = "never"
    light: str | None = None

    def load(self) -> ModuleType:
        """Return the module that opens a source."""
        return importlib.import_module(self.module)

    def light_function(self, name: str) -> Callable[..., Any] | None:
        """Return a function of the light module, None where it has none of this name."""
        if self.light is None:
            return None
        found: Callable[..., Any] | None = getattr(importlib.import_module(self.light), name, None)
        return found


FORMATS = (
    Format(
        name="zarr",
        module=f"{_HERE}.zarr_nodes",
        meaning="an OME-Zarr or Zarr folder",
        suffixes=(".ome.zarr", ".zarr"),
        markers=ZARR_METADATA,
        light=f"{_HERE}.ome_zarr",
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
            **dict.fromkeys(TIFF_SUFFIXES, f"{_HERE}.geo.geotiff_tile"),
        },
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
        meaning="a DICOM series (a folder, or a .zip of it)",
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
        module=f"{_HERE}.hdf5",
        meaning="HDF5 (file.h5:dataset)",
        suffixes=(".h5", ".hdf5", ".hdf"),
        dataset=True,
    ),
    Format(
        name="mosaic",
        module=f"{_HERE}.geo.mosaic",
        suffixes=TIFF_SUFFIXES,
        bands="always",
        light=f"{_HERE}.geo.companions",
    ),
)


def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises
    ------
    KeyError
        If there is none.
    """
    for each in FORMATS:
        if each.name == name:
            return each
    raise KeyError(name)


#: How the files of a tile with its values end.
TILE_SUFFIXES = tuple(format_named("tiles").members)

#: How the images of a stack end.
SLICE_SUFFIXES = tuple(format_named("image_stack").members)


def registered_modules() -> tuple[str, ...]:
    """Return the sorted names of all modules that the formats name."""
    named = [(each.module, each.light, *each.members.values()) for each in FORMATS]
    return tuple(sorted({name for each in named for name in each if name is not None}))


def format_of_file(name: str, *, bands: bool = False) -> Format | None:
    """Return the format of a name's ending, None for an unknown one.

    Parameters
    ----------
    name : str
        Of a file or a folder; nothing needs to be there.
    bands : bool
        Whether named bands are wanted, so that a TIFF is a mosaic.
    """
    fitting = [each for each in FORMATS if name.lower().endswith(each.suffixes)]
    wanted = "always" if bands else "never"
    return next((each for each in fitting if each.bands == wanted), next(iter(fitting), None))


def member_module(format_name: str, file: str | Path) -> str:
    """Return the name of the module that reads one file of a folder.

    Parameters
    ----------
    format_name : str
        Of the folder's format.
    file : str or Path
        Ends in one of the format's `members`.
    """
    members = format_named(format_name).members
    return next(module for suffix, module in members.items() if str(file).lower().endswith(suffix))


def member_reader(format_name: str, file: str | Path) -> ModuleType:
    """Return the module that reads one file of a folder; as `member_module`."""
    return importlib.import_module(member_module(format_name, file))
