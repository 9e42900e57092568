"""The tiles of a folder, by the names of their files; no tile is opened here."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.registry import TILE_SUFFIXES

#: Of what is known of a tile beside its values.
SIDECAR_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class TileFile:
    """The files of one tile.

    Parameters
    ----------
    name : str
        Of the tile: its file's name without the ending.
    path : Path
        Of the file with the values.
    sidecar : Path or None
        Of the JSON file of the same name, where there is one.
    """

    name: str
    path: Path
    sidecar: Path | None


def list_tiles(folder: Path, *, pattern: str = "*") -> tuple[TileFile, ...]:
    """Return the tiles of a folder, sorted by name.

    Folders in it, hidden files and what a killed writer left (.partial) are not looked at.

    Parameters
    ----------
    folder : Path
        Of NPZ or GeoTIFF files (.npz, .tif, .tiff, in any case).
    pattern : str
        Which file names to take, with the signs * ? [ of a shell.

    Returns
    -------
    tuple of TileFile
        At least one.

    Raises
    ------
    MissingSourceError
        If there is no such folder.
    SourceError
        If it holds no tiles, two tiles of one name, a name that a table cannot hold, or a link
        that leads out of it.
    """
    if not folder.exists():
        raise MissingSourceError(
            f"{folder} does not exist: correct the path; a relative one counts from the folder in "
            "which the workflow runs"
        )
    if not folder.is_dir():
        raise SourceError(f"{folder} is a file: give the folder that holds the tiles")
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not _left_out(entry.name)]
    links = {entry.name for entry in entries if entry.is_symlink()}
    files = {entry.name for entry in entries if entry.is_file()}
    others = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    sidecars = {
        Path(name).stem: name
        for name in sorted(files, reverse=True)  # .json after .JSON: it wins
        if name.lower().endswith(SIDECAR_SUFFIX)
    }
    tiles: dict[str, TileFile] = {}
    for name in sorted(files):
        if not name.lower().endswith(TILE_SUFFIXES) or not fnmatch.fnmatchcase(name, pattern):
            continue
        sidecar = sidecars.get(Path(name).stem)
        for part in {name, sidecar} & links:
            _check_link(folder, part)
        tile = TileFile(Path(name).stem, folder / name, folder / sidecar if sidecar else None)
        _check_name(tile)
        if tile.name in tiles:
            raise SourceError(
                f"{tiles[tile.name].path} and {tile.path} are two tiles of the name "
                f"{tile.name!r}: rename or remove one"
            )
        tiles[tile.name] = tile
    if not tiles:
        chosen = "" if pattern == "*" else f" by the pattern {pattern!r}"
        raise SourceError(
            f"No NPZ tiles found in {folder}{chosen}, and none that end in .tif or .tiff: "
            f"{_content(others)}; correct the path"
        )
    return tuple(tiles[name] for name in sorted(tiles))


def _left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith(".partial")


def _check_link(folder: Path, name: str | None) -> None:
    target = (folder / (name or "")).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise SourceError(
            f"{folder / (name or '')} is a link to {target}, outside of its folder: copy the file "
            "there instead"
        )


def _check_name(tile: TileFile) -> None:
    if not tile.name.isprintable():
        raise SourceError(
            f"{str(tile.path)!r} has a name with tabs, line ends or other signs that cannot be "
            "shown: rename it"
        )


def _content(names: Iterable[str]) -> str:
    """Return what a folder holds instead: "it holds 3 .jpg files and 1 folder"."""
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
