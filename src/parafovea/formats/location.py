"""Files and format of a source string; no voxel is read here.

The workflow uses this module while planning jobs, so it imports no format library.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import MissingSourceError, ParafoveaError, SourceError
from parafovea.formats.band_folder import band_files, band_folders
from parafovea.formats.channel_files import is_several, paths_of
from parafovea.formats.registry import (
    FORMATS,
    NPZ_SUFFIX,
    REMOTE,
    SLICE_SUFFIXES,
    Format,
    format_named,
    format_of_file,
    member_module,
    remote_documents,
)
from parafovea.formats.remote.address import SCHEMES, Folder, RemoteFolder, is_address, scheme_of
from parafovea.formats.slice_names import in_order
from parafovea.formats.source import readable

#: Georeferenced image formats that GDAL converts to GeoTIFF.
GDAL_SUFFIXES = (".jp2", ".vrt", ".img", ".ecw", ".sid", ".hgt", ".safe")

#: File endings of a truth that is a table of findings.
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")

_MEANINGS = [each.meaning for each in FORMATS if each.meaning]
KNOWN = f"{', '.join(_MEANINGS[:-1])}, or {_MEANINGS[-1]}"

#: Endings that are not part of a source's name, longer ones first.
_ENDINGS = sorted(
    {ending for each in FORMATS for ending in (*each.suffixes, *each.members)} - {NPZ_SUFFIX},
    key=lambda ending: -len(ending),
)

_DATASET_ENDINGS = "|".join(
    re.escape(ending) for each in FORMATS if each.dataset for ending in each.suffixes
)
_DATASET = re.compile(rf"(?P<file>.+?(?:{_DATASET_ENDINGS}))(?::(?P<dataset>.*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Location:
    """Location of a source, on disk or at an address.

    Parameters
    ----------
    path : str
        Source string as given by the user.
    format : str
        Name of the `parafovea.formats.registry.Format` that reads it.
    files : tuple of str
        Dependencies of the source: a file, a folder with its metadata files, or the files that a
        pattern selects.
    slices : tuple of str
        For a stack of images, the sorted image files, one per plane; for a folder of a DICOM
        series, all of its files, including files that are not slices.
    dataset : str
        Name of the dataset within the file, for formats that hold several arrays; empty if not
        given.
    """

    path: str
    format: str
    files: tuple[str, ...]
    slices: tuple[str, ...] = ()
    dataset: str = ""


def locate(path: str, *, bands: bool = False) -> Location:
    """Return the format and the files of a source string.

    Parameters
    ----------
    path : str
        A path, a pattern of slices such as `raw/0[0-6].tif`, or `file.h5:dataset`.
    bands : bool
        Whether named bands are to be read: a TIFF file is then a mosaic, and a folder of TIFF
        files a folder of tiles.

    Returns
    -------
    Location
        Paths as given; relative paths remain relative.

    Raises
    ------
    MissingSourceError
        If the source does not exist.
    SourceError
        If the format is unknown or has no bands, or a folder does not contain a volume.
    """
    with readable(path):
        found = _located(path, bands)
    if bands and format_named(found.format).bands == "never":
        raise SourceError(
            f"{path} is neither a GeoTIFF nor a folder of tiles, and has no named bands: give one "
            "of these, or a model that takes one channel"
        )
    return found


def source_files(path: str, *, bands: bool = False) -> list[str]:
    """Return the files and folders on disk behind a source string.

    Parameters
    ----------
    path : str
        As for `locate`.
    bands : bool
        Whether an image is a mosaic, whose mask and world file beside it also count.

    Returns
    -------
    list of str
        The file of `file.h5:dataset`, the sorted files that a pattern selects, a header and its
        voxel file, or the folder itself; for a Zarr folder also its metadata files, whose changes
        do not update the folder's modification time. Of an address, the files in which its
        metadata are remembered with their versions. Of one source a channel, those of all.

    Raises
    ------
    MissingSourceError, SourceError
        As `locate`.
    """
    if any(map(is_address, paths_of(path))):
        remote_documents().keep()
    found = (name for each in paths_of(path) for name in _located(each, bands).files)
    return list(dict.fromkeys(found))


def read_headers(paths: Iterable[str]) -> None:
    """Read the metadata of all sources at addresses side by side, each of which waits for a server.

    Parameters
    ----------
    paths : iterable of str
        Source strings; only addresses are read. An error is raised when its source is located.
    """
    every = (each for path in paths for each in paths_of(path))
    addresses = [path for path in dict.fromkeys(every) if is_address(path)]
    if not addresses:
        return
    remote_documents().keep()
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for reading in [pool.submit(_located, path, False) for path in addresses]:
            with contextlib.suppress(ParafoveaError):
                reading.result()


#: Most sources whose metadata are asked for at once.
_SIDE_BY_SIDE = 16


def truth_files(path: str, *, bands: bool = False) -> list[str]:
    """Return the files behind the truth of a detection task: a table of findings, or a source.

    Parameters
    ----------
    path : str
        A table (.csv, .tsv, .txt), or a source as for `locate`.
    bands : bool
        As for `source_files`.

    Raises
    ------
    MissingSourceError, SourceError
        As `locate`.
    """
    if not path.lower().endswith(TABLE_SUFFIXES):
        return source_files(path, bands=bands)
    _check_scheme(path)
    if is_address(path):
        raise SourceError(_download(path, "a table"))
    _check_there(path)
    return [path]


def format_modules(path: str | None, *, bands: bool = False) -> tuple[str, ...]:
    """Return the modules that read a source; their imports are the code of its format.

    Parameters
    ----------
    path : str or None
        A source or a truth; None if there is none. The format of a path that does not exist yet,
        such as a phantom or the result of another sample, is taken from its ending; without an
        ending it is a folder of NPZ tiles. Folders are listed, but no voxel is read.
    bands : bool
        As for `locate`; also true for tile folders of any task.

    Returns
    -------
    tuple of str
        Sorted dotted names; empty for None, tables of findings and unknown formats.
    """
    if path is None or path.lower().endswith(TABLE_SUFFIXES):
        return ()
    if is_several(path):
        found_modules = (format_modules(each, bands=bands) for each in paths_of(path))
        return tuple(sorted({name for each in found_modules for name in each}))
    place = Path(path)
    if not is_address(path) and not place.is_dir() and not _is_pattern(path):
        found = _format_by_name(path, bands)
        if found is not None:
            return _modules(found)
        if place.is_file():
            return _modules_of_file(path)
        is_result = not place.exists() and "." not in place.name
        return _modules(format_named("tiles"), "tile.npz") if is_result else ()
    try:
        with readable(path):
            location = _located(path, bands)
    except SourceError:
        return ()
    found = format_named(location.format)
    if location.format == "tiles":
        names = tuple(_names(place, tuple(found.members)))
        inner = () if names or found.folders is None else (found.folders,)
        return tuple(sorted({*_modules(found, *names), *inner}))
    modules = _modules(found, *(location.slices if found.members else ()))
    return tuple(sorted({*modules, *REMOTE.values()})) if is_address(path) else modules


def _modules_of_file(path: str) -> tuple[str, ...]:
    """Return the modules that read a file whose ending names no format."""
    try:
        with readable(path):
            return _modules(format_named(_located(path, bands=False).format))
    except SourceError:
        return ()


def _modules(found: Format, *members: str) -> tuple[str, ...]:
    light = () if found.light is None else (found.light,)
    endings = tuple(found.members)
    read = {member_module(found.name, each) for each in members if each.lower().endswith(endings)}
    return tuple(sorted({found.module, *light, *read}))


def stem(path: str) -> str:
    """Return a source's name without folders and known endings: `a` for `scans/a.nii.gz`.

    Parameters
    ----------
    path : str
        As for `locate`, of one source a channel the first; need not exist. Other dots are kept,
        since UIDs contain many.
    """
    path = paths_of(path)[0]
    named = _DATASET.fullmatch(path)
    name = Path(path if named is None else named["file"]).name
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def holds_bands(path: str) -> bool:
    """Return whether a path is a folder with one file per band of an image, judged by names."""
    return bool(band_files(path))


def holds_tiles(path: str, *, images: bool = False) -> bool:
    """Return whether a path is a folder that contains tiles, judged by its file names.

    Parameters
    ----------
    path : str
        Any path; need not exist.
    images : bool
        Whether TIFF files also count as tiles; otherwise they are slices of a volume.
    """
    folder = Path(path)
    if not folder.is_dir() or _marked(folder) is not None:
        return False
    return _has_members(path, format_named("tiles"), bands=images)


def gdal_hint(names: Iterable[str], *, bands: bool = True) -> str:
    """Return how to convert the contents of a folder to GeoTIFF with GDAL, or "" if not possible.

    Parameters
    ----------
    names : iterable of str
        Names of files, and of folders with a trailing slash.
    bands : bool
        Whether named bands are wanted, which may be stored in one file each.
    """
    names = list(names)
    image = next((each for each in names if each.lower().endswith(GDAL_SUFFIXES)), None)
    if image is not None:
        return f". GDAL converts it: gdal_translate {image} {Path(image).stem}.tif"
    if bands and names and all(each.endswith("/") for each in names):
        return (
            ". Tiles lie in the folder itself, or, with one file per band such as B02.tif, in "
            "folders of their own; GDAL stacks other files of one band each: gdalbuildvrt "
            "-separate all.vrt B02.tif B03.tif B04.tif B08.tif, then gdal_translate all.vrt "
            "NAME.tif, and bands=B02,B03,B04,B08 in the metadata column. Of a product of "
            "Sentinel-2 (.SAFE), give the folder GRANULE/…/IMG_DATA, with R10m if there is one"
        )
    return ""


def files_named(folder: str | Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of a folder's files with these endings, unordered, without hidden files.

    A link to nothing is a file that is missing, not one that was never there.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if (
                entry.name.lower().endswith(suffixes)
                and not entry.name.startswith(".")
                and is_file_or_lost(entry)
            ):
                yield entry.name


def no_files_named(folder: str | Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of folders, pipes and devices in a folder that have these endings."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            named = name.lower().endswith(suffixes) and not name.startswith(".")
            if named and not is_file_or_lost(entry):
                yield name


def is_file_or_lost(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a file, or a link to nothing that can be read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # a link to itself, or into a folder that the user may not enter
        return True


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a folder that can be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _names(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield one file name for each of the endings that occurs in a folder."""
    left = {*suffixes}
    for name in files_named(folder, suffixes):
        ending = next(suffix for suffix in suffixes if name.lower().endswith(suffix))
        if ending in left:
            left.remove(ending)
            yield name
        if not left:
            return


def _located(path: str, bands: bool) -> Location:
    place = Path(path)
    if not path.strip():
        raise MissingSourceError(f"the source is empty: give {KNOWN}")
    if is_several(path):
        raise SourceError(
            f"{path} names {len(paths_of(path))} files, one a channel, which a model of as many "
            "`bands` takes: give one file, or another model"
        )
    _check_scheme(path)
    if is_address(path):
        return _locate_address(path)
    if place.is_dir():
        return _locate_folder(path, bands)
    if _is_pattern(path):
        return _locate_pattern(path)
    named = _DATASET.fullmatch(path)
    if named is not None:
        file, dataset = named["file"], (named["dataset"] or "").strip("/")
        _check_there(file)
        found = format_of_file(file)
        assert found is not None  # noqa: S101  (the pattern is built from its endings)
        files = found.light_function("files")
        inner = (file,) if files is None else tuple(files(file, dataset))
        return Location(path, found.name, inner, dataset=dataset)
    _check_there(path)
    found = format_of_file(place.name, bands=bands)
    if found is not None:
        files = found.light_function("files")
        return Location(path, found.name, (path,) if files is None else tuple(files(path)))
    for each in FORMATS:
        holds_volume = each.light_function("holds_volume")
        if holds_volume is not None and holds_volume(path):
            return Location(path, each.name, (path,))
    for each in FORMATS:
        why_not = each.light_function("why_not")
        reason = None if why_not is None else why_not(path)
        if reason is not None:
            raise SourceError(reason)
    raise SourceError(f"{path} is in an unknown format: give {KNOWN}{gdal_hint([place.name])}")


def _format_by_name(path: str, bands: bool) -> Format | None:
    named = _DATASET.fullmatch(path)
    return format_of_file(Path(path if named is None else named["file"]).name, bands=bands)


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[") and not Path(path).exists()


def _check_there(path: str) -> None:
    place = Path(path)
    if place.is_file() or place.is_dir():
        return
    if place.exists():
        # to open a pipe waits until somebody writes to it
        raise SourceError(f"{path} is a pipe, a socket or a device: give the path of a file")
    fix = "correct the path"
    if place.is_symlink():
        fix = f"it is a link to {place.readlink()}, which is not there"
    elif path.startswith(("~", "$")):
        fix = f"{path.partition('/')[0]} is not replaced in paths: write the whole path"
    elif not place.is_absolute():
        fix += "; a relative path starts from the folder in which the workflow runs"
    raise MissingSourceError(f"{path} does not exist: {fix}")


def _check_scheme(path: str) -> None:
    scheme = scheme_of(path)
    if scheme is None or scheme in SCHEMES:
        return
    if scheme == "file":
        raise SourceError(f"{path} is an address: give the path alone, without file://")
    raise SourceError(
        f"{path} is an address that cannot be read: those of {', '.join(SCHEMES)} can; download "
        "it, or mount it (for example with rclone mount), and give its path here"
    )


def _locate_address(path: str) -> Location:
    """Return the format of what is at an address, by its files of metadata."""
    folder = RemoteFolder.of(path)
    named = _DATASET.fullmatch(path)
    if any(sign in path for sign in "*["):
        raise SourceError(f"{path} is an address with a pattern, which selects local files alone")
    if path.lower().endswith(TABLE_SUFFIXES):
        raise SourceError(_download(path, "a table"))
    file = format_of_file(RemoteFolder.of(named["file"] if named else path).name)
    if file is not None and not file.markers:
        raise SourceError(
            _download(named["file"] if named else path, f"a file of the format {file.name}")
        )
    known = [each for each in FORMATS if each.markers]
    # what the name says first, for fewer requests
    known.sort(key=lambda each: not any(map(folder.name.lower().endswith, each.suffixes)))
    for each in known:
        if _has_marker(folder, each):
            inner = each.light_function("metadata_files")
            found = [] if inner is None else inner(folder)
            documents = remote_documents()
            census = documents.census(folder)
            files = [*map(documents.file, found), *([] if census is None else [census])]
            return Location(path, each.name, tuple(map(str, files)))
    markers = ", ".join(name for each in known for name in each.markers)
    raise MissingSourceError(
        f"{path} is no volume that can be read from an address: none of {markers} is there; give "
        "the address of the folder of an OME-Zarr image or an array, or correct it"
    )


def _download(path: str, what: str) -> str:
    """Return how to get a file of a format that is only read from disk."""
    scheme, name = scheme_of(path), RemoteFolder.of(path).name
    command = {
        "s3": f"aws s3 cp {path} data/{name}",
        "gs": f"gcloud storage cp {path} data/{name}",
    }.get(scheme or "", f"curl --fail --location --create-dirs --output data/{name} '{path}'")
    return (
        f"{path} is an address of {what}, which is read from disk alone: download it "
        f"({command}), and give data/{name} here"
    )


def _locate_folder(path: str, bands: bool) -> Location:
    folder = Path(path)
    marked = _marked(folder)
    if marked is not None:
        # a folder's modification time does not change when its metadata files do
        files = marked.light_function("files")
        inner = () if files is None else tuple(files(path))
        return Location(path, marked.name, (path, *inner))
    if bands and band_files(path):
        files = format_named("mosaic").light_function("files")
        return Location(path, "mosaic", (path,) if files is None else tuple(files(path)))
    named = next((each for each in FORMATS if each.markers and _is_within(folder, each)), None)
    if named is not None:
        raise SourceError(
            f"{path} is a folder without the metadata of its format ({', '.join(named.markers)}): "
            "copy it again, hidden files included, or give the folder of the array or image"
        )
    if _has_members(path, format_named("tiles"), bands=bands) or (
        bands and next(band_folders(path), None) is not None
    ):
        return Location(path, "tiles", (path,))
    # the names alone, before any file is opened
    held = [
        each
        for each in FORMATS
        if each.members and each.name != "tiles" and _has_members(path, each, bands=bands)
    ]
    if len(held) > 1:
        counts = Counter(_label(each, name) for each in held for name in _members(path, each))
        raise SourceError(
            f"{path} holds {_counted(counts)} files: move those of one format to another folder"
        )
    found = held[0] if held else next(filter(lambda each: _holds(each, path), FORMATS), None)
    if found is None:
        inside = sorted(folder.iterdir())
        names = [f"{each.name}/" if each.is_dir() else each.name for each in inside]
        raise SourceError(
            f"{path} is a folder without a volume"
            f"{'' if inside else ', it is empty'}: give {KNOWN}"
            f"{gdal_hint(names, bands=bands)}"
        )
    if found.name != "image_stack":
        listed = found.light_function("slices")
        inner = () if listed is None else tuple(listed(path))
        return Location(path, found.name, (path,), slices=inner)
    slices = [str(folder / name) for name in _members(path, found)]
    for name in no_files_named(path, tuple(found.members)):
        raise SourceError(
            f"{folder / name} is no file, although it is named like the slices beside it: put the "
            "slice there, or remove it"
        )
    counts = Counter(_label(found, name) for name in slices)
    if len(counts) > 1:
        raise SourceError(
            f"{path} holds {_counted(counts)} files: choose the slices with a pattern, such as "
            f"{folder / '*.tif'}"
        )
    return Location(path, found.name, (path,), slices=tuple(in_order(slices, path)))


def _marked(folder: Path) -> Format | None:
    return next((each for each in FORMATS if _has_marker(folder, each)), None)


def _has_marker(folder: Folder, found: Format) -> bool:
    if not any((folder / name).is_file() for name in found.markers):
        return False
    marks = found.light_function("marks") if found.markers else None
    return marks is None or bool(marks(folder))


def _is_within(folder: Path, found: Format) -> bool:
    """Return whether a folder has a name of this format, or lies within such a folder."""
    return any(part.lower().endswith(found.suffixes) for part in folder.parts)


def _holds(found: Format, path: str) -> bool:
    holds = found.light_function("holds")
    return holds is not None and bool(holds(path))


def _has_members(path: str, found: Format, *, bands: bool) -> bool:
    every = tuple(found.members)
    endings = every if bands or found.decisive is None else found.decisive
    return next(files_named(path, endings), None) is not None


def _members(path: str, found: Format) -> Iterator[str]:
    return files_named(path, tuple(found.members))


def _label(folder: Format, name: str) -> str:
    """Return the format name, such as TIFF, that messages use for a file in a folder."""
    return (format_of_file(name) or folder).name.upper()


def _counted(counts: Counter[str]) -> str:
    return " and ".join(f"{count} {name}" for name, count in sorted(counts.items(), reverse=True))


def _locate_pattern(path: str) -> Location:
    # Path.glob does not accept absolute patterns.
    files = tuple(sorted(glob.glob(path)))  # noqa: PTH207
    if not files:
        raise MissingSourceError(f"the pattern {path} matches no file: correct it")
    for file in files:
        if not file.lower().endswith(SLICE_SUFFIXES) or not Path(file).is_file():
            raise SourceError(
                f"the pattern {path} selects {file}, which is not a slice: a pattern selects only "
                f"files that end in {', '.join(SLICE_SUFFIXES)}"
            )
    files = tuple(in_order(files, path))
    return Location(path, "image_stack", files, slices=files)
