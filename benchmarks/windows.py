"""Time, quality and seams of a prediction by its windows: `python -m benchmarks.windows`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from parafovea.config import read_project
from parafovea.config.project import Project
from parafovea.drivers.open_jobs import open_jobs
from parafovea.drivers.stage_call import stage_call
from parafovea.errors import ParafoveaError, StoreError, describe
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import planned_layout
from parafovea.planning.staleness import Staleness
from parafovea.report.sample_results import read_quality
from parafovea.report.window_figure import PREFIX
from parafovea.settings.inference import InferenceSettings
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import replacing

logger = logging.getLogger("benchmarks")

#: The default config, and what differs from it.
CONFIG = (Path("config/config.yaml"), Path("config/windows.yaml"))

#: Stages whose processor time counts.
TIMED = ("infer_shard", "blend_shards")

#: Stages that the table does not need.
LEFT_OUT = ("render_report",)


def predict(project: Project, sample: str) -> float:
    """Make the results of a sample, and return the processor time of its prediction in seconds.

    Raises
    ------
    StoreError
        If it has a prediction already, whose time is not known.
    """
    staleness = Staleness(project)
    spent = dict.fromkeys(TIMED, 0.0)
    timed = set()
    for job in open_jobs(staleness, sample).needs:
        if job.stage.name in LEFT_OUT:
            continue
        wildcards = dict(job.wildcards)
        call = stage_call(
            project, job.stage, wildcards, order=staleness.order(job.stage, wildcards)
        )
        started = time.process_time()
        call.run(staleness.contents)
        if job.stage.name in spent:
            spent[job.stage.name] += time.process_time() - started
            timed.add(job.stage.name)
    if timed != {*TIMED}:
        raise StoreError(
            f"{project.folder(sample)} has a prediction already, whose time is not known: remove "
            f"{project.settings.results} and run this again"
        )
    return sum(spent.values())


def shared(layout: Layout, settings: InferenceSettings) -> str:
    """Return what neighbouring windows share, as set: a share of a window, or voxels."""
    if isinstance(settings.overlap, float):
        return f"{100 * settings.overlap:g} %"
    if settings.stride is not None:
        return f"{layout.window[0] - settings.stride[0]} voxels"
    # the last window of an axis ends with it, and may share more
    steps = [
        side - int(np.diff(starts).max())
        for side, starts in zip(layout.window, layout.starts, strict=True)
        if len(starts) > 1
    ]
    return f"{min(steps, default=0)} voxels"


def row(project: Project, samples: Mapping[str, float]) -> dict[str, float | str]:
    """Return the row of a task: its windows, and what the samples have to say.

    Parameters
    ----------
    project : Project
        The project.
    samples : mapping of str to float
        Seconds of processor time by sample of the task.
    """
    first = next(iter(samples))
    settings = project.inference(first)
    shape = project.grid(first).shape
    layout = planned_layout(shape, project.recipe(first), settings)
    window = layout.window
    sides = f"{window[0]}³" if len({*window}) == 1 else " × ".join(map(str, window))
    found: dict[str, float | str] = {
        "window": f"{sides} (auto)" if settings.window == "auto" else sides,
        "overlap": shared(layout, settings),
        "computed": round(layout.lattice.size * float(np.prod(window)) / float(np.prod(shape)), 1),
        "seconds": round(float(np.mean([*samples.values()])), 1),
    }
    seams = []
    for sample in samples:
        metrics = read_quality(SampleResults(Path(project.folder(sample))).quality)["metrics"]
        overlaps = [v for k, v in metrics["iou"].items() if k not in ("overall", "background")]
        found[f"{PREFIX}phantom {sample.rpartition('_')[2]}"] = round(float(np.mean(overlaps)), 3)
        seams += [metrics["seam_energy"]["overall"]]
    known = [value for value in seams if value is not None] or [1.0]
    return {**found, "seam_low": round(min(known), 1), "seam_high": round(max(known), 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict all samples and write `windows.tsv` to their results.

    Returns
    -------
    int
        2 where a sample fails or has been predicted before, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__)
    words = "Config file over config/windows.yaml; may be repeated."
    parser.add_argument("--config", type=Path, action="append", default=[], help=words)
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        project = read_project(*CONFIG, *given.config)
        rows = []
        for task in project.settings.tasks:
            own = [name for name, sample in project.samples.items() if sample.task == task]
            if own:
                rows.append(row(project, {name: predict(project, name) for name in own}))
                logger.info("%s", rows[-1])
        table = Path(project.settings.results) / "windows.tsv"
        with replacing(table) as partial:
            pd.DataFrame(rows).to_csv(partial, sep="\t", index=False, lineterminator="\n")
    except ParafoveaError as error:
        logger.error(describe(error))
        return 2
    logger.info("%s is the table of docs/figures/windows.tsv", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
