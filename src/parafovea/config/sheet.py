"""The sample sheet: one line per sample, with tab-separated columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from parafovea.config.messages import MOST_PROBLEMS, suggestion
from parafovea.errors import ConfigError, quoted
from parafovea.runtime.documents import read_text
from parafovea.runtime.names import folder_problem, hidden_character
from parafovea.settings.inference import MOST_SHARDS

REQUIRED = ("sample", "task", "source")
OPTIONAL = ("truth", "metadata", "shards")
COLUMNS = REQUIRED + OPTIONAL

#: Folders and files in the results folder that are not samples.
RESERVED = (
    "benchmarks",
    "cohort",
    "figures",
    "logs",
    "phantoms",
    "report",
    "report.html",
    "snakemake.html",
    "study",
    "training",
)

#: A number of shards in the sheet.
SHARDS = re.compile(r"0*[1-9][0-9]{0,6}")

#: Most lines of a sheet: a job graph of more samples cannot be planned.
MOST_LINES = 200_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the sheet.

    Parameters
    ----------
    name : str
        Name of the sample and of its results folder.
    task : str
        Key of the task in the config.
    source : str
        Path of the volume, or a glob pattern, or `file.h5:dataset`.
    truth : str or None
        Path of the truth, such as class indices.
    metadata : str
        Metadata missing from the source: `key=value` words, or the path of a sidecar.
    shards : int or None
        Number of jobs that share the sample's windows; None for the task's setting.
    line : int
        Line number in the sheet, counted from 1.
    """

    name: str
    task: str
    source: str
    truth: str | None
    metadata: str
    shards: int | None
    line: int


def read_sheet(path: Path) -> tuple[Sample, ...]:
    """Read a sample sheet.

    A byte-order mark, Windows line endings, blank lines and lines starting with # are accepted.

    Parameters
    ----------
    path : Path
        Tab-separated file with a header of `sample`, `task`, `source` and any of `truth`,
        `metadata`, `shards`; columns at the end of a line may be missing.

    Returns
    -------
    tuple of Sample
        In the order of the lines.

    Raises
    ------
    ConfigError
        If the sheet or a column or value is missing, or a name is invalid or not unique. The
        message lists all problems with their lines.
    """
    try:
        text = read_text(path, "a sample sheet")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: create the sample sheet, or set another path in `samples`"
        ) from error
    if text.count("\n") > MOST_LINES:
        raise ConfigError(f"{path} has more than {MOST_LINES} lines: split it into several sheets")
    rows = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        raise ConfigError(f"{path} is empty: start with a header line of {', '.join(COLUMNS)}")
    header = _checked_header(path, *rows[0])
    found: list[str] = []
    samples: dict[str, Sample] = {}
    folders: dict[str, str] = {}
    for number, cells in rows[1:]:
        sample, wrong = _sample(header, cells, number)
        if sample is not None and sample.name in samples:
            wrong.append(
                f"sample {sample.name!r} is already on line {samples[sample.name].line}: "
                "sample names must be unique"
            )
        elif sample is not None and sample.name.lower() in folders:
            other = folders[sample.name.lower()]
            wrong.append(
                f"sample {sample.name!r} differs from {other!r} on line {samples[other].line} in "
                "upper and lower case alone, and would share its folder on some disks: rename one"
            )
        found += [f"{path}:{number}: {text}" for text in wrong]
        if sample is not None and not wrong:
            samples[sample.name] = sample
            folders[sample.name.lower()] = sample.name
    if found:
        more = len(found) - MOST_PROBLEMS
        found[MOST_PROBLEMS:] = [f"… and {more} more"] if more > 0 else []
        raise ConfigError("\n  ".join(found))
    if not samples:
        raise ConfigError(f"{path} has a header but no samples: add a line for each")
    return tuple(samples.values())


def _checked_header(path: Path, number: int, header: list[str]) -> list[str]:
    place = f"{path}:{number}"
    if len(header) == 1 and len(header[0].split()) > 1:
        raise ConfigError(f"{place}: columns are separated by tabs, not by spaces or commas")
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise ConfigError(
            f"{place}: column {quoted(unknown[0])} is not known"
            f"{suggestion(unknown[0], COLUMNS) or ':'} columns are {', '.join(COLUMNS)}"
        )
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise ConfigError(
            f"{place}: column {missing[0]!r} is missing: the first line names the columns "
            f"{', '.join(COLUMNS)}, separated by tabs"
        )
    if len(set(header)) != len(header):
        raise ConfigError(f"{place}: duplicate column in {', '.join(header)}: keep one")
    return header


def _sample(header: list[str], cells: list[str], number: int) -> tuple[Sample | None, list[str]]:
    """Return the sample of a line (None if its columns do not fit) and its problems."""
    while len(cells) > len(header) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(header):
        return None, [
            f"{len(cells)} columns, but the header names {len(header)} ({', '.join(header)}): "
            "remove a tab, or add the column to the header"
        ]
    row = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=False))
    wrong = [
        f"{name} is empty: every sample needs {', '.join(REQUIRED)}, separated by tabs"
        for name in REQUIRED
        if not row[name]
    ]
    problem = folder_problem(row["sample"]) if row["sample"] else None
    if problem is not None:
        wrong.append(f"sample {problem}")
    if row["sample"].lower() in RESERVED:
        wrong.append(
            f"sample {row['sample']!r} is a reserved name ({', '.join(RESERVED)}): use another one"
        )
    for name in COLUMNS:
        hidden = hidden_character(row[name])
        if hidden is not None:
            wrong.append(
                f"{name} {quoted(row[name])} contains the control character {hidden}: remove it"
            )
    if row["shards"] and not (
        SHARDS.fullmatch(row["shards"]) and int(row["shards"]) <= MOST_SHARDS
    ):
        wrong.append(
            f"shards {quoted(row['shards'])} must be a whole number from 1 to {MOST_SHARDS}, or "
            "empty"
        )
    if wrong:
        return None, wrong
    return Sample(
        name=row["sample"],
        task=row["task"],
        source=row["source"],
        truth=row["truth"] or None,
        metadata=row["metadata"],
        shards=int(row["shards"]) if row["shards"] else None,
        line=number,
    ), []
