"""Status of each sample as reported by Snakemake: stages done, stale or missing."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.config import Project
from parafovea.errors import ConfigError
from parafovea.kinds.stages import step_of, steps
from parafovea.storage.layout import disk_use

#: States of an output, in order of precedence.
STATES = ("missing", "stale", "removed", "done")


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """Status of an output file or folder of the workflow.

    Parameters
    ----------
    path : str
        Path in the rules.
    rule : str
        Name of its rule.
    state : {"missing", "stale", "removed", "done"}
        stale: exists, but a run would recreate it; removed: an intermediate result.
    """

    path: str
    rule: str
    state: str


@dataclass(frozen=True, slots=True)
class SampleStatus:
    """Status of one sample.

    Parameters
    ----------
    name : str
        Name of the sample.
    steps : mapping of str to str
        Status text for each step; empty if the sample has no such step.
    bytes_used : int
        Disk usage of its folder; links are not followed.
    """

    name: str
    steps: Mapping[str, str]
    bytes_used: int


def ask_snakemake(snakefile: Path, configs: Sequence[Path] = ()) -> tuple[OutputStatus, ...]:
    """Return all outputs of the workflow with their states from `snakemake --summary`.

    Parameters
    ----------
    snakefile : Path
        The workflow's Snakefile.
    configs : sequence of Path
        Config files that override the workflow's own.

    Raises
    ------
    ConfigError
        If Snakemake cannot plan the workflow; with Snakemake's message.
    """
    if not snakefile.is_file():
        raise ConfigError(
            f"{snakefile} does not exist: run this in the root of the workflow, or give the path "
            "with --snakefile"
        )
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--summary"]
    # last, since it takes all further arguments as files
    command += ["--configfile", *map(str, configs)] if configs else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ConfigError(f"snakemake cannot plan the workflow: {done.stderr.strip()}")
    return tuple(_outputs(done.stdout.splitlines()))


def _outputs(lines: Iterable[str]) -> Iterable[OutputStatus]:
    table = (line for line in lines if "\t" in line)
    for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
        yield OutputStatus(row["output_file"], row["rule"], _state(row["status"], row["plan"]))


def _state(status: str, plan: str) -> str:
    if status == "removed temp file":
        return "missing" if plan == "update pending" else "removed"
    if status == "missing":
        return "missing"
    return "stale" if plan == "update pending" else "done"


def sample_status(project: Project, outputs: Sequence[OutputStatus]) -> tuple[SampleStatus, ...]:
    """Return the status of each sample, in the order of the sheet."""
    states: dict[str, dict[str, list[str]]] = {name: {} for name in project.samples}
    for output in outputs:
        name, _, inside = _below(output.path, project.settings.results).partition("/")
        step = step_of(inside)
        if step is not None and name in states:
            states[name].setdefault(step, []).append(output.state)
    return tuple(
        SampleStatus(
            name,
            {step: _words(found.get(step, [])) for step in steps()},
            disk_use(Path(project.folder(name))),
        )
        for name, found in states.items()
    )


def other_status(project: Project, outputs: Sequence[OutputStatus]) -> dict[str, str]:
    """Return the status of the rules without a sample, by rule."""
    states: dict[str, list[str]] = {}
    for output in outputs:
        name, _, inside = _below(output.path, project.settings.results).partition("/")
        if name not in project.samples or step_of(inside) is None:
            states.setdefault(output.rule, []).append(output.state)
    return {rule: _words(found) for rule, found in states.items()}


def _below(path: str, folder: str) -> str:
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else ""


def _words(states: Sequence[str]) -> str:
    """Return the state of several outputs as text, with the count if they differ."""
    if not states:
        return ""
    worst = min(states, key=STATES.index)
    count = states.count(worst)
    return worst if count == len(states) else f"{count}/{len(states)} {worst}"
