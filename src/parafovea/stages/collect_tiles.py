"""Stage collect_tiles: writes the ledger of a folder of tiles, and the list of invalid tiles."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from parafovea.errors import SourceError
from parafovea.formats.reflectance import MANY
from parafovea.formats.tiles.ledger import (
    FILE_COLUMNS,
    NOTES_JOINT,
    read_shares,
    write_ledger,
    write_quarantine,
)
from parafovea.storage.layout import SampleResults

logger = logging.getLogger(__name__)

#: Maximum number of reasons in a message.
SHOWN = 5


Rows = Sequence[dict[str, str]]


def collect_tiles(
    ledgers: Sequence[Path], tiles: Path, quarantine: Path, *, strict: bool = False
) -> None:
    """Join the ledgers of all shards of a folder, and remove results without an input.

    Parameters
    ----------
    ledgers : sequence of Path
        Ledgers written by `predict_tiles`.
    tiles : Path
        Table to write: a row for each result. The results are in the folder `tiles` next to it,
        from which files that belong to no tile in the ledgers are removed.
    quarantine : Path
        Table to write: `name`, `file` and `reason` of each invalid tile.
    strict : bool
        Whether to fail if any tile is invalid.

    Raises
    ------
    SourceError
        If no tile is valid, with `strict` if any is invalid, or if a result has been removed.
    StoreError
        If a ledger is missing or damaged.
    """
    folder = SampleResults(tiles.parent).tiles
    rows = read_shares(ledgers)
    bad = [row for row in rows if row["status"] == "quarantined"]
    good = [row for row in rows if row["status"] == "finished"]
    logger.info("%d tiles in, %d out, %d quarantined", len(rows), len(good), len(bad))
    for row in bad[:SHOWN]:
        logger.warning("%s", row["reason"])
    _warn_of_defaults(good)
    _warn_of_clipped(good)
    _warn_of_notes(good)
    if bad and (strict or not good):
        raise SourceError(_refusal(bad, len(rows), strict, ledgers))
    names = [row["name"] for row in good]
    _require_results(folder, names, ledgers)
    _remove_others(folder, set(names))
    write_quarantine(quarantine, bad)
    write_ledger(tiles, good, FILE_COLUMNS)


def _warn_of_defaults(good: Rows) -> None:
    """Log the number of tiles without month or biome in their metadata."""
    for name, default in (("month", "June"), ("biome", "biome 0")):
        count = sum(name in row["assumed"].split("+") for row in good)
        if count:
            logger.warning(
                "%d of %d tiles have no %s, and %s was assumed: add it to their JSON files",
                count,
                len(good),
                name,
                default,
            )


def _warn_of_clipped(good: Rows) -> None:
    """Log the number of tiles with many values that their scale puts outside [0, 1]."""
    counts = [(int(row["clipped"] or 0), int(row["measured"] or 0), row["name"]) for row in good]
    many = [each for each in counts if each[0] and each[0] >= MANY * each[1]]
    if not many:
        return
    clipped, measured, worst = max(many, key=lambda each: each[0] / each[1])
    logger.warning(
        "%d of %d tiles have 1 %% or more of their values outside [0, 1], which were clipped; most "
        "in %s, %d of %d: check baseline=, scale= and offset= in the metadata column; an offset "
        "may have been subtracted before",
        len(many),
        len(good),
        worst,
        clipped,
        measured,
    )


def _warn_of_notes(good: Rows) -> None:
    """Log each note with the number of tiles that have it."""
    named: dict[str, list[str]] = {}
    for row in good:
        for note in filter(None, (row["notes"] or "").split(NOTES_JOINT)):
            named.setdefault(note, []).append(row["name"])
    for note, names in named.items():
        logger.warning("%d of %d tiles, such as %s: %s", len(names), len(good), names[0], note)


def _refusal(bad: Rows, count: int, strict: bool, ledgers: Sequence[Path]) -> str:
    shown = "; ".join(row["reason"] for row in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    fix = (
        "correct or remove these files, or set tiles.strict: false, which continues with the others"
        if strict
        else "correct these files, or state in the metadata column of the sample sheet how to read "
        "them"
    )
    where = ", ".join(str(path) for path in ledgers)
    return (
        f"{len(bad)} of {count} tiles cannot be used ({where} lists them): {shown}{more}. To "
        f"continue, {fix}"
    )


def _require_results(folder: Path, names: Iterable[str], ledgers: Sequence[Path]) -> None:
    """Raise `SourceError` if a result listed in a ledger is missing."""
    missing = [name for name in names if not (folder / f"{name}.npz").is_file()]
    if missing:
        shown = ", ".join(f"{name}.npz" for name in missing[:SHOWN])
        raise SourceError(
            f"{len(missing)} results that {', '.join(map(str, ledgers))} lists are missing from "
            f"{folder}, such as {shown}: remove that list and run again, which makes only these"
        )


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove results of tiles that are no longer in the input, and files left by killed runs."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        left = path.name.startswith(".") and path.name.endswith(".partial")
        if left or (path.suffix in (".npz", ".json") and path.stem not in names):
            path.unlink()
            logger.info("removed %s, whose input is gone", path)
