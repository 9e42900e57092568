"""The command line: `python -m benchmarks [names] [--quick] [--json FILE] [--model FOLDER] …`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from benchmarks import (
    block_cost,
    context_cost,
    convolution_rate,
    dag_scale,
    detection_speed,
    engine_cost,
    engine_speed,
    feature_reuse,
    large_volume,
    machine,
    memory_growth,
    peer_comparison,
    ray_cost,
    tile_speed,
)
from benchmarks.samples import TILE_MODEL, Bench, Sized, read_fused_spec
from benchmarks.table import Row, render, write_json
from parafovea.errors import MissingExtraError, ParafoveaError, describe
from parafovea.runtime.devices import DEVICE_VARIABLE

logger = logging.getLogger("benchmarks")


class Benchmark(Protocol):
    """A module of this package: one or more rows of the table."""

    NAME: str
    SIZE: Sized[Any]

    def run(self, bench: Bench) -> list[Row]:
        """Measure at the size of `bench.of(SIZE)`; return the rows."""
        ...


BENCHMARKS: Mapping[str, Benchmark] = {
    module.NAME: module
    for module in (
        engine_cost,
        engine_speed,
        convolution_rate,
        peer_comparison,
        memory_growth,
        context_cost,
        feature_reuse,
        dag_scale,
        large_volume,
        block_cost,
        detection_speed,
        tile_speed,
        ray_cost,
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
        "--quick", action="store_true", help="as little work as possible; limits do not count"
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


def selected(names: Sequence[str]) -> list[str]:
    """Return the benchmarks that were named, in the order of the table; all where none was."""
    return [name for name in BENCHMARKS if name in names or not names]


def measured(
    names: Sequence[str], model: Path, *, quick: bool, tile_model: Path = TILE_MODEL
) -> list[Row]:
    """Run benchmarks one after the other and return all their rows.

    One that ends in an error is a row that failed, one that lacks an optional package a row that
    was not run; the others go on. In a quick run, rows have no limits.
    """
    rows: list[Row] = []
    for name in names:
        benchmark = BENCHMARKS[name]
        logger.info("%s: %s", name, (benchmark.__doc__ or "").strip())
        with tempfile.TemporaryDirectory(prefix=f"parafovea-bench-{name}-") as scratch:
            start = time.perf_counter()
            try:
                rows += benchmark.run(Bench(model, Path(scratch), quick, tile_model))
            except MissingExtraError as error:
                logger.warning("  not run: %s", describe(error))
                rows.append(Row(name, "all of it", None, note=f"not run: {describe(error)}"))
            except Exception as error:
                # The other benchmarks can still be measured; the exit status is 1.
                known = isinstance(error, ParafoveaError)
                logger.error("  failed: %s", describe(error), exc_info=not known)
                note = f"{type(error).__name__}: {describe(error)}"
                rows.append(Row(name, "ended in an error", None, note=note, failed=True))
            logger.info("  %s took %.0f s", name, time.perf_counter() - start)
    return [replace(row, limit=None) for row in rows] if quick else rows


def main() -> int:
    """Run the benchmarks, print the table and write it as JSON.

    Returns
    -------
    int
        1 where a benchmark failed or a limit was not kept, which a quick run has none of; 2 after
        a user's mistake; else 0.
    """
    given = parse()
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logger.setLevel(logging.INFO)
    # Both sides of every ratio compute on the same processor.
    os.environ[DEVICE_VARIABLE] = "cpu"
    facts = machine.facts()
    names = selected(given.names)
    try:
        spec = read_fused_spec(given.model)
    except ParafoveaError as error:
        logger.error(describe(error))
        return 2
    rows = measured(names, given.model, quick=given.quick, tile_model=given.tile_model)
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
    return int(any(row.passed is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
