"""Stage collect_tiles: the ledger of a folder of tiles, and the list of those that are no good."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from parafovea.errors import SourceError
from parafovea.formats.tiles.ledger import COLUMNS
from parafovea.storage.store import replacing

logger = logging.getLogger(__name__)

QUARANTINED = ("name", "file", "reason")

#: Reasons that a message shows.
SHOWN = 5


def collect_tiles(
    ledgers: Sequence[Path],
    folder: Path,
    tiles: Path,
    quarantine: Path,
    *,
    strict: bool = False,
) -> None:
    """Put the ledgers of all shares of a folder together, and remove results without an input.

    Parameters
    ----------
    ledgers : sequence of Path
        As `predict_tiles` wrote them.
    folder : Path
        Of the results; what belongs to no tile of the ledgers is removed.
    tiles : Path
        Table to write: a row for each result.
    quarantine : Path
        Table to write: `name`, `file` and `reason` of each tile without one.
    strict : bool
        Let one such tile end the run.

    Raises
    ------
    SourceError
        If no tile is good, with `strict` not all are, or a result was removed since.
    """
    parts = [pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False) for path in ledgers]
    rows = pd.concat(parts, ignore_index=True).sort_values("name", kind="stable")
    bad = rows[rows["status"] == "quarantined"]
    good = rows[rows["status"] == "finished"]
    logger.info("%d tiles in, %d out, %d quarantined", len(rows), len(good), len(bad))
    for text in bad["reason"].head(SHOWN):
        logger.warning("%s", text)
    _warn_of_defaults(good)
    if len(bad) and (strict or good.empty):
        raise SourceError(_refusal(bad, len(rows), strict, ledgers))
    _require_results(folder, good["name"], ledgers)
    _remove_others(folder, set(good["name"]))
    with replacing(quarantine) as partial:
        listed = bad.rename(columns={"input": "file"})[list(QUARANTINED)]
        listed.to_csv(partial, sep="\t", index=False)
    with replacing(tiles) as partial:
        kept = [name for name in COLUMNS if name not in ("status", "reason")]
        good[kept].to_csv(partial, sep="\t", index=False)


def _warn_of_defaults(good: pd.DataFrame) -> None:
    """Say how many tiles do not state their month or their biome."""
    for name, default in (("month", "June"), ("biome", "biome 0")):
        count = int(good["assumed"].str.split("+").explode().eq(name).sum())
        if count:
            logger.warning(
                "%d of %d tiles do not say their %s, and %s was taken: write it into their JSON "
                "files",
                count,
                len(good),
                name,
                default,
            )


def _refusal(bad: pd.DataFrame, count: int, strict: bool, ledgers: Sequence[Path]) -> str:
    shown = "; ".join(bad["reason"].head(SHOWN))
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    fix = (
        "mend or remove these files, or set tiles.strict: false, which goes on with the others"
        if strict
        else "mend these files, or say in the metadata column of the sample sheet how to read them"
    )
    where = ", ".join(str(path) for path in ledgers)
    return (
        f"{len(bad)} of {count} tiles cannot be used ({where} lists them): {shown}{more}. To go "
        f"on, {fix}"
    )


def _require_results(folder: Path, names: Iterable[str], ledgers: Sequence[Path]) -> None:
    """Raise `SourceError` where a result is not there that a ledger has."""
    missing = [name for name in names if not (folder / f"{name}.npz").is_file()]
    if missing:
        shown = ", ".join(f"{name}.npz" for name in missing[:SHOWN])
        raise SourceError(
            f"{len(missing)} results are gone from {folder} that {', '.join(map(str, ledgers))} "
            f"lists, such as {shown}: remove that list and run again, which makes only these"
        )


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove results of tiles that the input does not have any more, and what killed runs left."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        left = path.name.startswith(".") and path.name.endswith(".partial")
        if left or (path.suffix in (".npz", ".json") and path.stem not in names):
            path.unlink()
            logger.info("removed %s, whose input is gone", path)
