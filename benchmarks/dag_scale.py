"""Rows `dag`: how long snakemake plans a cohort, against a bare Snakefile of as many jobs."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tifffile
import yaml

from benchmarks.samples import Bench, Sized
from benchmarks.table import Limit, Row, ratio_row
from parafovea.errors import ParafoveaError

logger = logging.getLogger(__name__)

NAME = "dag"

ROOT = Path(__file__).parents[1]

#: Samples of each cohort, and the rounds that it is planned.
SIZE = Sized(full={100: 3, 1_000: 3, 10_000: 1}, quick={20: 1})

#: Cohorts of at least this many samples are judged: below, a second of start counts most.
JUDGED = 1_000

SHARDS = 2

#: The workflow, and what it is compared to.
OURS, PLAIN, FILES = "workflow", "constants", "files"
OTHERS = {
    PLAIN: "a Snakefile of the same jobs and directives, with constants for values",
    FILES: "a Snakefile of the same jobs, with files and empty commands alone",
}


@dataclass(frozen=True)
class BareRule:
    """A rule with nothing behind its files.

    Parameters
    ----------
    name : str
        As in the workflow.
    inputs, outputs : tuple of str
        Patterns below `results/{sample}/`; stores are folders.
    arguments : int
        How many values the rule's one param holds in the workflow.
    gpu : bool
        Whether its jobs ask for a GPU.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: int
    gpu: bool = False


VOLUME, PREDICTION = "volume.ome.zarr", "prediction.ome.zarr"
FEATURES, CONTEXT = "features.zarr", "context.zarr"
LABELS = ("classes.ome.zarr", "objects.ome.zarr")
FIGURES = ("overlays", "probabilities", "sizes")

RULES = (
    BareRule("extract_features", (VOLUME,), (FEATURES,), 7, gpu=True),
    BareRule("extract_context", (VOLUME,), (CONTEXT,), 7, gpu=True),
    BareRule("infer_shard", (VOLUME, FEATURES, CONTEXT), ("shards/{shard}.zarr",), 6, gpu=True),
    BareRule("segment_objects", (PREDICTION,), (*LABELS, "objects.tsv"), 5),
    BareRule("measure_quality", (PREDICTION, *LABELS), ("quality.json", "quality.tsv"), 5),
    BareRule(
        "render_report",
        (VOLUME, PREDICTION, *LABELS, "objects.tsv", "quality.json", "quality.tsv"),
        ("report.html", *(f"figures/{name}.png" for name in FIGURES)),
        6,
    ),
)

HEAD = """\
SAMPLES = open("samples.txt").read().split()

rule all:
    default_target: True
    input:
        "results/report.html",
        expand("results/{sample}/report.html", sample=SAMPLES),
        expand("results/{sample}/quality.json", sample=SAMPLES),
        expand("results/{sample}/objects.tsv", sample=SAMPLES),
"""

SHARD_FILES = (
    f'expand("results/{{{{sample}}}}/shards/{{shard}}.zarr", shard=range(1, {SHARDS} + 1))'
)


def bare_snakefile(*, directives: bool) -> str:
    """Return a Snakefile of the workflow's rules with nothing behind them.

    Parameters
    ----------
    directives : bool
        Whether rules have the workflow's directives (log, benchmark, conda, resources, params,
        message, script), with constants for values; else they have files and an empty command.
    """
    blocks = [HEAD]
    blocks.append(
        _rule("resample_volume", ['"data/{sample}.tif"'], [VOLUME], 10, False, directives)
    )
    for rule in RULES:
        inputs = [f'"results/{{sample}}/{name}"' for name in rule.inputs]
        blocks.append(_rule(rule.name, inputs, rule.outputs, rule.arguments, rule.gpu, directives))
    blocks.append(_rule("blend_shards", [SHARD_FILES], [PREDICTION], 3, False, directives))
    blocks.append(
        "rule summarize_cohort:\n"
        '    input: expand("results/{sample}/quality.json", sample=SAMPLES)\n'
        '    output: "results/report.html"\n'
        '    shell: "true"\n'
    )
    return "\n".join(blocks)


def _rule(
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    arguments: int,
    gpu: bool,
    directives: bool,
) -> str:
    """Return one rule; its outputs are patterns below a sample's results."""
    lines = [f"rule {name}:", "    input:"]
    lines += [f"        {text}," for text in inputs]
    lines.append("    output:")
    for output in outputs:
        path = f'"results/{{sample}}/{output}"'
        is_folder = output.endswith(".zarr") or "." not in output
        lines.append(f"        {f'directory({path})' if is_folder else path},")
    if not directives:
        return "\n".join([*lines, '    shell: "true"', ""])
    place = f"{{sample}}/{name}" + (".{shard}" if "{shard}" in outputs[0] else "")
    lines.append(f'    log: "results/logs/{place}.log"')
    if name not in ("extract_features", "extract_context"):
        lines.append(f'    benchmark: "results/benchmarks/{place}.tsv"')
    lines += ['    conda: "envs/parafovea.yaml"', "    resources:"]
    lines += [f"        {text}," for text in ["mem_mb=1000", "runtime=10", *["gpu=1"] * gpu]]
    lines += ["    params:", "        arguments=dict("]
    lines += [f'            setting_{number}="constant",' for number in range(arguments)]
    lines.append("        ),")
    lines.append(f'    message: "{{wildcards.sample}}: {name}"')
    # the context's features come from the script of the local ones
    script = name.replace("extract_context", "extract_features")
    lines += [f'    script: "scripts/{script}.py"', ""]
    return "\n".join(lines)


@dataclass(frozen=True)
class DryRun:
    """What planning took.

    Parameters
    ----------
    seconds : float
        Of processor time, which other work on the machine hardly changes.
    peak_bytes : int
        Its largest resident memory.
    jobs : int
        Jobs that it would run.
    """

    seconds: float
    peak_bytes: int
    jobs: int


def write_cohort(folder: Path, model: Path, samples: int) -> None:
    """Write a project that this workflow runs: a sheet, and a small source for each sample."""
    (folder / "data").mkdir(parents=True)
    (folder / "config").mkdir()
    (folder / "Snakefile").symlink_to(ROOT / "Snakefile")
    for name in ("workflow", "scripts", "envs"):
        (folder / name).symlink_to(ROOT / name)
    names = [f"sample_{number:05d}" for number in range(samples)]
    first = folder / "data" / f"{names[0]}.tif"
    tifffile.imwrite(first, np.zeros((8, 16, 16), np.uint8), photometric="minisblack")
    for name in names[1:]:
        shutil.copyfile(first, folder / "data" / f"{name}.tif")
    config = {
        "samples": "config/samples.tsv",
        "tasks": {"cell": {"model": str(model.resolve()), "inference": {"shards": SHARDS}}},
    }
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    lines = ["sample\ttask\tsource\tmetadata"]
    lines += [f"{name}\tcell\tdata/{name}.tif\tspacing=16,16,16 unit=nanometer" for name in names]
    (folder / "config/samples.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_bare(folder: Path, cohort: Path, *, directives: bool) -> None:
    """Write a bare workflow over the sources of a cohort."""
    folder.mkdir()
    for name in ("data", "scripts", "envs"):
        (folder / name).symlink_to(cohort / name)
    names = sorted(file.stem for file in (cohort / "data").iterdir())
    (folder / "samples.txt").write_text("\n".join(names), encoding="utf-8")
    text = bare_snakefile(directives=directives)
    (folder / "Snakefile").write_text(text, encoding="utf-8")


def dry_run(folder: Path) -> DryRun:
    """Plan a workflow with `snakemake --dry-run`, in a fresh process.

    Raises
    ------
    ParafoveaError
        If snakemake fails; its message is passed on.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "2"]
    log = folder / "dry_run.log"
    peak = 0
    with log.open("w", encoding="utf-8") as output:
        process = psutil.Popen(command, cwd=folder, stdout=output, stderr=output)
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss)
                used = process.cpu_times()
            time.sleep(0.05)
    text = log.read_text(encoding="utf-8")
    found = re.search(r"^total\s+(\d+)", text, re.MULTILINE)
    if process.returncode != 0 or found is None:
        raise ParafoveaError(f"snakemake cannot plan {folder}: {text[-2000:]}")
    return DryRun(used.user + used.system, peak, int(found[1]))


def _rows(samples: int, runs: Mapping[str, Sequence[DryRun]]) -> list[Row]:
    """Return the rows of one cohort, from the runs of each workflow."""
    jobs = {run.jobs for each in runs.values() for run in each}
    if len(jobs) != 1:
        raise ParafoveaError(f"the workflows have different numbers of jobs: {jobs}")
    seconds = {name: [run.seconds for run in each] for name, each in runs.items()}
    peaks = {name: max(run.peak_bytes for run in each) / 1e6 for name, each in runs.items()}
    facts = "; ".join(f"{name} {min(seconds[name]):.1f} s, {peaks[name]:,.0f} MB" for name in runs)
    note = f"{samples:,} samples, {jobs.pop():,} jobs: {facts}"
    rows = [
        ratio_row(
            NAME,
            f"dry run of {samples:,} samples over that of {OTHERS[other]}",
            seconds,
            (OURS, other),
            limit=Limit("at most", 1.3) if other == PLAIN and samples >= JUDGED else None,
            note=note,
        )
        for other in OTHERS
    ]
    if samples == 1_000:
        rows.append(
            Row(
                NAME,
                "processor time of the dry run of 1,000 samples",
                min(seconds[OURS]),
                unit="s",
                limit=Limit("at most", 20),
                note=note,
            )
        )
    return rows


def run(bench: Bench) -> list[Row]:
    """Plan cohorts of several sizes and return their rows."""
    rows: list[Row] = []
    for samples, rounds in bench.of(SIZE).items():
        folder = bench.scratch / str(samples)
        write_cohort(folder / OURS, bench.model, samples)
        write_bare(folder / PLAIN, folder / OURS, directives=True)
        write_bare(folder / FILES, folder / OURS, directives=False)
        runs: dict[str, list[DryRun]] = {OURS: [], PLAIN: [], FILES: []}
        for _ in range(rounds):
            for name, each in runs.items():
                each.append(dry_run(folder / name))
                logger.info("  %d samples, %s: %s", samples, name, each[-1])
        rows += _rows(samples, runs)
    return rows
