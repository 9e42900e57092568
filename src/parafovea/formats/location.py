"""Which files are behind a source string, and of which format; no voxel is read here.

The workflow asks this while it plans its jobs, so only the standard library is imported.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.dicom.contents import SUFFIXES as DICOM_SUFFIXES
from parafovea.formats.dicom.contents import folder_files, holds_dicom, is_dicom
from parafovea.formats.raw_voxels import data_file

Format = Literal["zarr", "hdf5", "nifti", "tiff", "slices", "dicom", "nrrd", "metaimage"]

ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")
TIFF_SUFFIXES = (".tif", ".tiff")
SLICE_SUFFIXES = (*TIFF_SUFFIXES, ".png")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
METAIMAGE_SUFFIXES = (".mha", ".mhd")
#: Of a truth that is a table of findings.
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
KNOWN = (
    "an OME-Zarr or Zarr folder, a TIFF stack (.tif, .tiff), a folder or a pattern of TIFF or PNG "
    "slices, NIfTI (.nii, .nii.gz), a DICOM series (a folder, or a .zip of it), NRRD (.nrrd, "
    ".nhdr), MetaImage (.mha, .mhd), or HDF5 (file.h5:dataset)"
)

#: What a name may end with that is not part of what it names.
_ENDINGS = (
    *(".ome" + end for end in (".zarr", *TIFF_SUFFIXES)),
    *(".zarr", *SLICE_SUFFIXES, *NIFTI_SUFFIXES, *NRRD_SUFFIXES, *METAIMAGE_SUFFIXES),
    *(".h5", ".hdf5", ".hdf", ".zip", *DICOM_SUFFIXES),
)

_HDF5 = re.compile(r"(?P<file>.+?\.(?:h5|hdf5|hdf))(?::(?P<dataset>.*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a source lies on disk.

    Parameters
    ----------
    format : str
        Which reader opens it.
    files : tuple of str
        What the source depends on: a file, a folder, or the files that a pattern selects.
    slices : tuple of str
        One image file a plane, sorted, for the format "slices"; for a folder of the format "dicom"
        all of its files, also those that are no slice.
    dataset : str
        Name within the file; only for the format "hdf5", and empty where nobody gave one.
    """

    format: Format
    files: tuple[str, ...]
    slices: tuple[str, ...] = ()
    dataset: str = ""


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key that counts numbers as numbers: slice9 comes before slice10."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def locate(path: str) -> Location:
    """Return the format and the files of a source string.

    Parameters
    ----------
    path : str
        A path, a pattern of slices such as `raw/0[0-6].tif`, or `file.h5:dataset`.

    Returns
    -------
    Location
        Paths as they were given, relative ones stay relative.

    Raises
    ------
    MissingSourceError
        If nothing is there.
    SourceError
        If the format is not known, or a folder holds no volume.
    """
    place = Path(path)
    if not path.strip():
        raise MissingSourceError(f"the source is empty: give {KNOWN}")
    if place.is_dir():
        return _locate_folder(path)
    if any(sign in path for sign in "*?[") and not place.exists():
        return _locate_pattern(path)
    hdf5 = _HDF5.fullmatch(path)
    if hdf5 is not None:
        _check_there(hdf5["file"])
        return Location("hdf5", (hdf5["file"],), dataset=(hdf5["dataset"] or "").strip("/"))
    _check_there(path)
    name = place.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return Location("nifti", (path,))
    if name.endswith(NRRD_SUFFIXES):
        return Location("nrrd", _with_data(path))
    if name.endswith(METAIMAGE_SUFFIXES):
        return Location("metaimage", _with_data(path))
    if name.endswith(".zip"):
        return Location("dicom", (path,))
    if name.endswith(TIFF_SUFFIXES):
        return Location("tiff", (path,))
    if name.endswith(SLICE_SUFFIXES):
        return Location("slices", (path,), slices=(path,))
    if is_dicom(path):
        raise SourceError(
            f"{path} is one DICOM file: give the folder of its series, {place.parent}"
        )
    raise SourceError(f"{path} is of a format that is not known: give {KNOWN}")


def source_files(path: str) -> list[str]:
    """Return the files and folders on disk behind a source string.

    Parameters
    ----------
    path : str
        As for `locate`.

    Returns
    -------
    list of str
        The file of `file.h5:dataset`, the sorted files that a pattern selects, a header and the
        file of its voxels, a folder itself.

    Raises
    ------
    MissingSourceError, SourceError
        As `locate`.
    """
    return list(locate(path).files)


def truth_files(path: str) -> list[str]:
    """Return the files behind the truth of a detection: a table of findings, or as a source.

    Parameters
    ----------
    path : str
        A table (.csv, .tsv, .txt), or as for `locate`.

    Raises
    ------
    MissingSourceError, SourceError
        As `locate`.
    """
    if not path.lower().endswith(TABLE_SUFFIXES):
        return source_files(path)
    _check_there(path)
    return [path]


def stem(path: str) -> str:
    """Return the name of a source without folders and known endings: `a` of `scans/a.nii.gz`.

    Parameters
    ----------
    path : str
        As for `locate`; nothing needs to be there. Other dots stay, since UIDs have many.
    """
    hdf5 = _HDF5.fullmatch(path)
    name = Path(path if hdf5 is None else hdf5["file"]).name
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _with_data(path: str) -> tuple[str, ...]:
    data = data_file(path)
    if data is None:
        return (path,)
    if not Path(data).is_file():
        raise MissingSourceError(
            f"{data}, which holds the voxels of {path}, does not exist: put both into one folder"
        )
    return (path, data)


def _check_there(path: str) -> None:
    if not Path(path).exists():
        raise MissingSourceError(
            f"{path} does not exist: correct the path; a relative one counts from the folder in "
            "which the workflow runs"
        )


def _locate_folder(path: str) -> Location:
    folder = Path(path)
    if any((folder / name).is_file() for name in ZARR_METADATA):
        return Location("zarr", (path,))
    if any(part.lower().endswith(".zarr") for part in folder.parts):
        raise SourceError(
            f"{path} is a folder without Zarr metadata ({', '.join(ZARR_METADATA)}): "
            "copy it again, hidden files included, or give the folder of the array or image"
        )
    slices = [
        str(file)
        for file in folder.iterdir()
        if file.name.lower().endswith(SLICE_SUFFIXES)
        and not file.name.startswith(".")
        and file.is_file()
    ]
    if not slices and holds_dicom(path):
        return Location("dicom", (path,), slices=tuple(sorted(folder_files(path))))
    if not slices:
        raise SourceError(
            f"{path} is a folder with neither Zarr metadata nor TIFF, PNG or DICOM slices"
            f"{'' if any(folder.iterdir()) else ', and empty'}: give {KNOWN}"
        )
    if any(file.name.lower().endswith(DICOM_SUFFIXES) for file in folder.iterdir()):
        raise SourceError(
            f"{path} holds DICOM files beside {len(slices)} TIFF or PNG images: move one kind to "
            "another folder"
        )
    png = sum(name.lower().endswith(".png") for name in slices)
    if 0 < png < len(slices):
        raise SourceError(
            f"{path} holds {len(slices) - png} TIFF and {png} PNG files: say which are the slices "
            f"with a pattern, such as {folder / '*.tif'}"
        )
    return Location("slices", (path,), slices=tuple(sorted(slices, key=natural_key)))


def _locate_pattern(path: str) -> Location:
    # Path.glob takes no absolute pattern.
    files = tuple(sorted(glob.glob(path), key=natural_key))  # noqa: PTH207
    if not files:
        raise MissingSourceError(f"the pattern {path} selects no file: correct it")
    for file in files:
        if not file.lower().endswith(SLICE_SUFFIXES) or not Path(file).is_file():
            raise SourceError(
                f"the pattern {path} selects {file}, which is no slice: a pattern selects "
                f"files that end in {', '.join(SLICE_SUFFIXES)}"
            )
    return Location("slices", files, slices=files)
