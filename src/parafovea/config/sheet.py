"""The sample sheet: one line per sample, with tab-separated columns."""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parafovea.chain.division import MOST_BLOCKS
from parafovea.config.messages import MOST_PROBLEMS, suggestion
from parafovea.errors import ConfigError, quoted
from parafovea.formats.channel_files import with_paths
from parafovea.runtime.documents import read_bytes
from parafovea.runtime.names import folder_problem, hidden_character
from parafovea.settings.inference import MOST_SHARDS

REQUIRED = ("sample", "task", "source")
OPTIONAL = ("truth", "metadata", "shards", "blocks")
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

#: First bytes of .xlsx and .ods, and of .xls.
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

#: A number of shards or of blocks in the sheet.
NUMBER = re.compile(r"0*[1-9][0-9]{0,6}")

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
        Path of the volume, or a glob pattern, or `file.h5:dataset`; several with `;` between them
        for a volume of one file a channel.
    truth : str or None
        Path of the truth, such as class indices.
    metadata : str
        Metadata missing from the source: `key=value` words, or the path of a sidecar.
    shards : int or None
        Number of jobs that share the sample's windows; None for the task's setting.
    line : int
        Line number in the sheet, counted from 1.
    blocks : int or None
        Number of blocks of the sample's arrays; None for the task's setting.
    """

    name: str
    task: str
    source: str
    truth: str | None
    metadata: str
    shards: int | None
    line: int
    blocks: int | None = None


def read_sheet(path: Path) -> tuple[Sample, ...]:
    """Read a sample sheet.

    A byte-order mark, UTF-16, Windows line endings, cells in double quotes, columns without a name
    and a value, blank lines and lines starting with # are accepted, as spreadsheets write them.

    Parameters
    ----------
    path : Path
        Tab-separated file with a header of `sample`, `task`, `source` and any of `truth`,
        `metadata`, `shards`, `blocks`; columns at the end of a line may be missing.

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
    rows = list(_rows(path))
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


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that holds anything."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = next(csv.reader([line], delimiter="\t", strict=True))
        except csv.Error as error:
            raise ConfigError(
                f"{path}:{number}: a double quote at the start of a cell is not closed at its end "
                f"({error}): a cell is in double quotes as a whole or not at all, in one line"
            ) from error
        cells = [cell.strip() for cell in cells]
        if any(cells) and not cells[0].startswith("#"):
            yield number, cells


def _text(path: Path) -> str:
    """Return the text of a sheet, its lines ending in line feeds."""
    as_what = "save it as tab-separated text in UTF-8"
    try:
        data = read_bytes(path, "a sample sheet")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: create the sample sheet, or set another path in `samples`"
        ) from error
    if data.startswith(WORKBOOKS):
        raise ConfigError(f"{path} is a workbook of a spreadsheet program: {as_what}")
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not {encoding.removesuffix('-sig').upper()} text (byte {error.start}): "
            f"{as_what}"
        ) from error
    if "\0" in text:
        raise ConfigError(f"{path} is not text, it holds bytes of value 0: {as_what}")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MOST_LINES:
        raise ConfigError(f"{path} has more than {MOST_LINES} lines: split it into several sheets")
    return text


def _checked_header(path: Path, number: int, cells: list[str]) -> list[str]:
    """Return the names of the columns; those at the end that have none are left out."""
    place = f"{path}:{number}"
    header = list(cells)
    while not header[-1]:
        header.pop()
    if len(header) == 1:
        for name, sign in (("commas", ","), ("semicolons", ";"), ("spaces", None)):
            if len(header[0].split(sign)) > 1:
                raise ConfigError(
                    f"{place}: columns are separated by {name}, but have to be by tabs: save the "
                    'sheet as tab-separated text (in Excel "Text (Tab delimited)" or "Unicode '
                    'Text")'
                )
    known = [name for name in header if name]
    unknown = [name for name in known if name not in COLUMNS]
    if unknown:
        raise ConfigError(
            f"{place}: column {quoted(unknown[0])} is not known"
            f"{suggestion(unknown[0], COLUMNS) or ':'} the first line names the columns, which are "
            f"{', '.join(COLUMNS)}"
        )
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise ConfigError(
            f"{place}: column {missing[0]!r} is missing: the first line names the columns "
            f"{', '.join(COLUMNS)}, separated by tabs"
        )
    if len(set(known)) != len(known):
        raise ConfigError(f"{place}: duplicate column in {', '.join(known)}: keep one")
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
    unnamed = [cell for name, cell in zip(header, cells, strict=False) if cell and not name]
    if unnamed:
        return None, [
            f"{quoted(unnamed[0])} is in a column without a name: name it in the header "
            f"({', '.join(COLUMNS)}), or remove the column"
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
    for name, most in (("shards", MOST_SHARDS), ("blocks", MOST_BLOCKS)):
        if row[name] and not (NUMBER.fullmatch(row[name]) and int(row[name]) <= most):
            wrong.append(
                f"{name} {quoted(row[name])} must be a whole number from 1 to {most}, or empty"
            )
    if wrong:
        return None, wrong
    return Sample(
        name=row["sample"],
        task=row["task"],
        source=_plain(row["source"]),
        truth=_plain(row["truth"]) or None,
        metadata=row["metadata"],
        shards=int(row["shards"]) if row["shards"] else None,
        line=number,
        blocks=int(row["blocks"]) if row["blocks"] else None,
    ), []


def _plain(path: str) -> str:
    """Return a path in the spelling that Snakemake looks for: without ./ before and / behind."""
    return with_paths(path, lambda each: re.sub(r"^(?:\./+)+", "", each).rstrip("/") or each)
