"""Tiles of a folder, listed by file name; no tile is opened here."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.band_folder import band_files, band_folders
from parafovea.formats.location import files_named, gdal_hint, is_file_or_lost, is_folder
from parafovea.formats.registry import IMAGE_SUFFIXES, TILE_SUFFIXES
from parafovea.runtime.names import is_formula

#: Ending of the file with a tile's metadata.
SIDECAR_SUFFIX = ".json"

#: Ending of an image that is made of others.
VRT_SUFFIX = ".vrt"

#: Maximum bytes of a file name, in all usual file systems.
LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class TileFile:
    """The files of one tile.

    Parameters
    ----------
    name : str
        Name of the tile: its file name without the ending.
    path : Path
        Path of the file with the values, or of the folder with a file for each band.
    sidecar : Path or None
        Path of the JSON file with the same name, if there is one.
    problem : str
        Reason why the tile cannot be read, found from its name or link; "" if there is none.
    """

    name: str
    path: Path
    sidecar: Path | None
    problem: str = ""


def list_tiles(folder: Path, *, pattern: str = "*") -> tuple[TileFile, ...]:
    """Return the tiles of a folder, sorted by name.

    If the folder itself has no tile, its subfolders with one file per band are tiles. Other
    subfolders, hidden files and files left by a killed writer (.partial) are ignored. A folder, a
    pipe or a device with the ending of a tile is one with a `problem`.

    Parameters
    ----------
    folder : Path
        Folder with NPZ or GeoTIFF files (.npz, .tif, .tiff, in any case).
    pattern : str
        File names to include, with the shell wildcards * ? [.

    Returns
    -------
    tuple of TileFile
        At least one. A tile whose name cannot be used in a table or a result, or whose link leads
        out of the folder, has a `problem` and cannot be opened; the others can.

    Raises
    ------
    MissingSourceError
        If the folder does not exist.
    SourceError
        If it contains no tiles, or two tiles with the same name.
    """
    if not folder.exists():
        raise MissingSourceError(
            f"{folder} does not exist: correct the path; a relative path starts from the folder in "
            "which the workflow runs"
        )
    if not folder.is_dir():
        raise SourceError(f"{folder} is a file: give the folder that holds the tiles")
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not _left_out(entry.name)]
    links = {entry.name for entry in entries if entry.is_symlink()}
    files = {entry.name for entry in entries if is_file_or_lost(entry)}
    others = [f"{entry.name}/" if is_folder(entry) else entry.name for entry in entries]
    sidecars = {
        Path(name).stem: name
        for name in sorted(files, reverse=True)  # .json after .JSON: it wins
        if name.lower().endswith(SIDECAR_SUFFIX)
    }
    strange = sorted(entry.name for entry in entries if entry.name not in files)
    strange_sidecars = {
        Path(name).stem: name for name in strange if name.lower().endswith(SIDECAR_SUFFIX)
    }
    tiles: dict[str, TileFile] = {}
    for name in sorted(without_mosaics(files)):
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        sidecar = sidecars.get(Path(name).stem)
        parts = [part for part in (name, sidecar) if part in links]
        problems = [_name_problem(folder / name), *(_link_problem(folder, part) for part in parts)]
        if sidecar is None and Path(name).stem in strange_sidecars:
            problems.append(_kind_problem(folder / strange_sidecars[Path(name).stem]))
        tile = TileFile(
            printable(Path(name).stem),
            folder / name,
            folder / sidecar if sidecar else None,
            next(filter(None, problems), ""),
        )
        if tile.name in tiles:
            raise SourceError(
                f"{tiles[tile.name].path} and {tile.path} are two tiles named "
                f"{tile.name!r}: rename or remove one"
            )
        tiles[tile.name] = tile
    if not tiles and pattern == "*":
        tiles = _band_tiles(folder, sidecars)
    if not tiles:
        chosen = "" if pattern == "*" else f" with the pattern {pattern!r}"
        raise SourceError(
            f"No NPZ tiles found in {folder}{chosen}, and none that end in "
            f"{', '.join(IMAGE_SUFFIXES)}: {_content(others)}; correct the path{gdal_hint(others)}"
        )
    for name in _no_files(folder, strange):
        if fnmatch.fnmatchcase(name, pattern):
            own = printable(Path(name).stem)
            own = printable(name) if own in tiles else own
            problem = _name_problem(folder / name) or _kind_problem(folder / name)
            tiles[own] = TileFile(own, folder / name, None, problem)
    return tuple(tiles[name] for name in sorted(tiles))


def no_files(folder: str | Path) -> tuple[str, ...]:
    """Return the sorted names of what has the ending of a tile in a folder, but is no file."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not _left_out(e.name) and not is_file_or_lost(e)]
    return tuple(sorted(_no_files(Path(folder), names)))


def _no_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Return those of some names that are not files that have the ending of a tile.

    A folder with one file per band, or of such folders, may have any name.
    """
    return [
        name
        for name in without_mosaics(names)
        if not band_files(folder / name) and next(band_folders(folder / name), None) is None
    ]


def without_mosaics(names: Iterable[str]) -> list[str]:
    """Return the names of tile files: a VRT beside others is a mosaic of them, and no tile."""
    tiles = [name for name in names if name.lower().endswith(TILE_SUFFIXES)]
    return [name for name in tiles if not name.lower().endswith(VRT_SUFFIX)] or tiles


def left_out_mosaics(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of VRT files in a folder that are no tiles; see `without_mosaics`."""
    names = list(files_named(folder, TILE_SUFFIXES))
    return tuple(sorted(printable(name) for name in {*names} - {*without_mosaics(names)}))


def _band_tiles(folder: Path, sidecars: Mapping[str, str]) -> dict[str, TileFile]:
    """Return the tiles that are folders with one file per band, by name."""
    found: dict[str, TileFile] = {}
    for name, path in band_folders(folder):
        sidecar = sidecars.get(name)
        links = [part for part in band_files(path).values() if part.is_symlink()]
        parts = [str(part.relative_to(folder)) for part in links]
        if sidecar is not None and (folder / sidecar).is_symlink():
            parts.append(sidecar)
        problems = [
            _name_problem(path.with_name(f"{name}{SIDECAR_SUFFIX}")),
            *(_link_problem(folder, part) for part in parts),
        ]
        found[printable(name)] = TileFile(
            printable(name),
            path,
            folder / sidecar if sidecar else None,
            next(filter(None, problems), ""),
        )
    return found


def _left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith(".partial")


def unmatched_sidecars(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of JSON files in a folder that belong to no tile in it."""
    files = without_mosaics(files_named(folder, TILE_SUFFIXES))
    tiles = {Path(name).stem for name in files}
    if not tiles:
        tiles = {name for name, _ in band_folders(folder)}
    names = files_named(folder, (SIDECAR_SUFFIX,))
    return tuple(sorted(printable(name) for name in names if Path(name).stem not in tiles))


def printable(name: str) -> str:
    """Return a name unchanged, or escaped if it would not be one in a table or a spreadsheet."""
    plain = name if name.isprintable() else ascii(name)[1:-1]
    return f"'{plain}" if is_formula(plain) else plain


def _link_problem(folder: Path, name: str) -> str:
    try:
        target = (folder / name).resolve(strict=True)
    except FileNotFoundError:
        target = (folder / name).resolve()
    except (OSError, RuntimeError):  # a loop is the latter up to Python 3.12
        return f"{folder / name} is a link that cannot be followed: put the file there instead"
    if target.is_relative_to(folder.resolve()):
        return ""
    return f"{folder / name} is a link to {target}, outside its folder: copy the file there instead"


def _kind_problem(path: Path) -> str:
    kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
    return f"{path} is {kind}, not a file: put the file there, or remove it"


def _name_problem(path: Path) -> str:
    if not path.name.isprintable():
        return (
            f"{str(path)!r} has a name with tabs, line breaks or other unprintable characters: "
            "rename it"
        )
    if is_formula(path.stem):
        return f"{path} has a name that is a formula for spreadsheet programs: rename it"
    most = LONGEST_NAME - len(SIDECAR_SUFFIX)
    length = len(os.fsencode(path.stem))
    if length > most:
        return (
            f"{path} has a name of {length} bytes without its ending, but a result allows at "
            f"most {most}: rename it"
        )
    return ""


def _content(names: Iterable[str]) -> str:
    """Return a description of a folder's content: "it holds 3 .jpg files and 1 folder"."""
    counts = Counter(
        "folder" if name.endswith("/") else f"{Path(name).suffix.lower() or 'nameless'} file"
        for name in names
    )
    if not counts:
        return "it is empty"
    parts = [f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in counts.most_common(6)]
    if len(counts) > len(parts):
        parts.append("others")
    return f"it holds {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}"
