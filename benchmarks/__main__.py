"""The command line: `python -m benchmarks [names] [--quick] [--json FILE] [--model FOLDER] …`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import (
    context_cost,
    dag_scale,
    detection_speed,
    engine_cost,
    engine_speed,
    feature_reuse,
    large_volume,
    machine,
    memory_growth,
    peer_comparison,
    tile_speed,
)
from benchmarks.samples import TILE_MODEL, Bench, read_fused_spec
from benchmarks.table import Row, render, write_json
from parafovea.errors import ParafoveaError, describe
from parafovea.runtime.devices import DEVICE_VARIABLE

logger = logging.getLogger("benchmarks")

BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    module.NAME: module.run
    for module in (
        engine_cost,
        engine_speed,
        peer_comparison,
        memory_growth,
        context_cost,
        feature_reuse,
        dag_scale,
        large_volume,
        detection_speed,
        tile_speed,
    )
}

RESULTS = Path("benchmarks/results")

#: Characters of a line of the table where the output is not a terminal.
WIDTH = 120


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"which: {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small volumes, for trying out; limits do not count"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help=f"where to write the table (default: {RESULTS}/bench.json, or quick.json)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        default=Path("resources/models/cell"),
        help="model folder (default: %(default)s)",
    )
    parser.add_argument(
        "--tile-model",
        type=Path,
        metavar="FOLDER",
        default=TILE_MODEL,
        help="model folder for tiles (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown:
        parser.error(
            f"benchmark {', '.join(map(repr, unknown))} is not known: "
            f"use one of {', '.join(BENCHMARKS)}"
        )
    given.json = given.json or RESULTS / ("quick.json" if given.quick else "bench.json")
    return given


def measured(
    names: Sequence[str], model: Path, *, quick: bool, tile_model: Path = TILE_MODEL
) -> list[Row]:
    """Run benchmarks one after the other and return all their rows."""
    rows: list[Row] = []
    for name in names:
        logger.info(
            "%s: %s", name, (sys.modules[BENCHMARKS[name].__module__].__doc__ or "").strip()
        )
        with tempfile.TemporaryDirectory(prefix=f"parafovea-bench-{name}-") as scratch:
            rows += BENCHMARKS[name](Bench(model, Path(scratch), quick, tile_model))
    return rows


def main() -> int:
    """Run the benchmarks, print the table and write it as JSON.

    Returns
    -------
    int
        1 where a limit was not kept, unless `--quick`; 2 after a user's mistake; else 0.
    """
    given = parse()
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logger.setLevel(logging.INFO)
    # Both sides of every ratio compute on the same processor.
    os.environ[DEVICE_VARIABLE] = "cpu"
    facts = machine.facts()
    names = [name for name in BENCHMARKS if name in given.names or not given.names]
    try:
        spec = read_fused_spec(given.model)
        rows = measured(names, given.model, quick=given.quick, tile_model=given.tile_model)
    except ParafoveaError as error:
        logger.error(describe(error))
        return 2
    settings = {
        "quick": given.quick,
        "benchmarks": names,
        "model": {"name": spec.name, "sha256": spec.weights_sha256},
    }
    write_json(given.json, rows, machine=facts, settings=settings)
    title = (
        f"{facts['cpu']}, {facts['cores']} cores, torch {facts['torch']}, "
        f"bfloat16 {'native' if facts['bfloat16'] else 'not native'}, load {facts['load']}"
        f"{' (quick: limits do not count)' if given.quick else ''}"
    )
    console = Console()
    # A pipe or a log file has no width of its own.
    console.width = console.width if console.is_terminal else WIDTH
    console.print(render(rows, title=title))
    logger.info("written to %s", given.json)
    failed = any(row.passed is False for row in rows)
    return int(failed and not given.quick)


if __name__ == "__main__":
    sys.exit(main())
