"""The command line: `python -m benchmarks.real_tiles prepare`, then snakemake, then `tables`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.real_tiles.prepare import prepare
from benchmarks.real_tiles.tables import write_tables
from parafovea.errors import ParafoveaError, describe

logger = logging.getLogger("benchmarks")

VARIABLE = "PARAFOVEA_REAL_DATA"

#: As config/real_tiles.yaml and its sheet say.
DATA, RESULTS = Path("data/real_tiles"), Path("results/real_tiles")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the tiles, or write the tables and the figure of what was made of them.

    Returns
    -------
    int
        2 where the real data are not here or a result is missing, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_tiles", description=__doc__)
    parser.add_argument("step", choices=["prepare", "tables"])
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logger.setLevel(logging.INFO)
    root = os.environ.get(VARIABLE)
    if given.step == "prepare" and root is None:
        logger.error(
            "Skipped: %s does not say where the real data are; docs/real_tiles.md says where they "
            "come from",
            VARIABLE,
        )
        return 2
    try:
        if root is not None and given.step == "prepare":
            prepare(Path(root), DATA)
        else:
            write_tables(DATA, RESULTS)
    except ParafoveaError as error:
        logger.error(describe(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
