"""Stage merge_scan: adds the counts of all blocks of a source in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parafovea.preprocess.source_statistics import load_counts, merged, save_counts
from parafovea.storage.store import replacing


def merge_scan(parts: Sequence[Path], counts: Path) -> None:
    """Write the counts of a whole source.

    Parameters
    ----------
    parts : sequence of Path
        Counts of its blocks, as `scan_block` wrote them.
    counts : Path
        .npz to write: see `save_counts`.

    Raises
    ------
    StoreError
        If a part is damaged.
    """
    by_channel = zip(*(load_counts(path) for path in parts), strict=True)
    found = [merged(tables) for tables in by_channel]
    with replacing(counts) as partial:
        save_counts(partial, found)
