"""Tables of candidates, findings, series and scores from other software: comma or tab separated."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from parafovea.errors import TableError
from parafovea.runtime import documents
from parafovea.runtime.names import name_problem

#: Alternative column names; case and underscores are ignored.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "seriesuid": ("seriesuid", "scanid"),
    "coordX": ("coordx",),
    "coordY": ("coordy",),
    "coordZ": ("coordz",),
    "diameter_mm": ("diametermm",),
    "probability": ("probability", "confidence"),
    "label": ("label",),
    "outcome": ("outcome",),
}

#: Label of a candidate by its outcome; None counts neither way.
OUTCOME_LABELS: Mapping[str, int | None] = {
    "hit": 1,
    "double": None,
    "excluded": None,
    "false positive": 0,
    "beyond limit": None,
}

_MOST_PROBLEMS = 10

#: Most bytes of a table.
TABLE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: dict[str, str]


def read_numbers(
    path: Path, names: Sequence[str], *, series: bool = True, blank: bool = False
) -> pd.DataFrame:
    """Read columns of finite numbers.

    Parameters
    ----------
    path : Path
        Comma or tab separated, whichever its header contains more often. A byte-order mark, any
        line endings, blank lines, quotes and empty columns at the end of a line are accepted.
    names : sequence of str
        Columns, from `ALIASES`; others are ignored.
    series : bool
        Also read the column seriesuid, as text.
    blank : bool
        Accept lines with a series and no value in any column of `names`, which become NaN.

    Returns
    -------
    DataFrame
        seriesuid (if requested), the columns of `names`, line (in the file, from 1).

    Raises
    ------
    TableError
        If the file is missing, empty or not such a table; lists up to ten invalid lines.
    """
    wanted = (("seriesuid",) if series else ()) + tuple(names)
    lines = list(_lines(path, wanted))
    problems: list[str] = []
    columns: dict[str, list[float]] = {name: [] for name in names}
    for line in lines:
        place = f"{path}:{line.number}"
        if series and not line.cells["seriesuid"]:
            problems.append(f"{place}: seriesuid is empty: name the scan")
        elif series and (wrong := name_problem(line.cells["seriesuid"])) is not None:
            problems.append(f"{place}: seriesuid: {wrong}")
        if blank and not any(line.cells[name] for name in names):
            for column in columns.values():
                column.append(math.nan)
            continue
        for name in names:
            text = line.cells[name]
            value = _number(text)
            if value is None or not math.isfinite(value):
                problems.append(f"{place}: {name} {_complaint(text, value)}")
            columns[name].append(math.nan if value is None else value)
    refuse(problems)
    data: dict[str, object] = {}
    if series:
        data["seriesuid"] = pd.Series([line.cells["seriesuid"] for line in lines], dtype=object)
    data |= {name: pd.Series(values, dtype=float) for name, values in columns.items()}
    data["line"] = pd.Series([line.number for line in lines], dtype=int)
    return pd.DataFrame(data)


def _number(text: str) -> float | None:
    try:
        # Python reads 1_000 as a number, which is not intended in tables.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _complaint(text: str, value: float | None) -> str:
    if not text:
        return "is empty: give a number"
    if value is None:
        return f"is {text[:40]!r}, which is not a number: write it with a decimal point"
    return f"is {text[:40]}, which is not finite: give a number"


def _lines(path: Path, wanted: Sequence[str]) -> Iterator[_Line]:
    """Yield the lines of a table below its header, with the cells of the wanted columns."""
    text = read_text(path)
    rows = rows_of(path, text, delimiter_of(text))
    number, header = next(rows)
    places = _places(f"{path}:{number}", header, wanted)
    problems = []
    for number, cells in rows:
        while len(cells) > len(header) and not cells[-1].strip():
            cells = cells[:-1]
        if len(cells) != len(header):
            problems.append(
                f"{path}:{number}: {len(cells)} columns, but the header names {len(header)}: "
                "the line may be cut off, or a comma may stand for a decimal point"
            )
        else:
            yield _Line(number, {name: cells[place].strip() for name, place in places.items()})
    refuse(problems)


def read_text(path: Path) -> str:
    """Return the text of a table, or raise `TableError` if there is none."""
    try:
        text = documents.read_text(path, "a table", most=TABLE_BYTES, error=TableError)
    except FileNotFoundError as error:
        raise TableError(f"{path} does not exist: give the path of a table") from error
    if not text.strip():
        raise TableError(f"{path} is empty: the first line names the columns")
    return text


def delimiter_of(text: str) -> str:
    """Return the column separator of a table, comma or tab, based on its first line."""
    head = next(line for line in text.splitlines() if line.strip())
    return "\t" if head.count("\t") > head.count(",") else ","


def rows_of(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with its line number."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise TableError(
            f"{path}:{reader.line_num}: the line cannot be read ({error}): check its quotes"
        ) from error


def plain_name(name: str) -> str:
    """Return a column name in normalized form, without case and underscores."""
    return name.strip().lower().replace("_", "")


def _places(place: str, header: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Return the index of each wanted column in the header."""
    plain = [plain_name(cell) for cell in header]
    places = {}
    missing = []
    for name in wanted:
        found = [index for index, cell in enumerate(plain) if cell in ALIASES[name]]
        if len(found) > 1:
            names = " and ".join(header[index].strip() for index in found)
            raise TableError(f"{place}: {names} both stand for {name}: keep one column")
        if found:
            places[name] = found[0]
        else:
            missing.append(name)
    if missing:
        cells = ", ".join(cell.strip()[:40] for cell in header[:12])
        raise TableError(
            f"{place}: the header lacks {', '.join(missing)}: the first line must name "
            f"{', '.join(wanted)}, separated by comma or tab; it has: {cells}"
        )
    return places


def refuse(problems: Sequence[str]) -> None:
    """Raise `TableError` with the first problems, if there are any."""
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        tail = [f"and {more} more like these"] if more > 0 else []
        raise TableError("\n  ".join([*problems[:_MOST_PROBLEMS], *tail]))


#: World millimetres in the DICOM patient system (LPS), named as LUNA16 does.
COORDINATES = ("coordX", "coordY", "coordZ")

#: Header lines of a list of series, which are not series themselves.
_SERIES_HEADERS = frozenset(
    {"seriesuid", "seriesinstanceuid", "series", "scanid", "scan", "uid", "id"}
)


def read_candidates(path: Path) -> pd.DataFrame:
    """Read candidates: the marks of a detector.

    Parameters
    ----------
    path : Path
        Columns seriesuid (or scan_id), coordX, coordY, coordZ (or coord_x …) in millimetres, LPS,
        and probability (or confidence), any finite number; others are ignored. A header without
        lines means that the detector found nothing.

    Returns
    -------
    DataFrame
        seriesuid, coordX, coordY, coordZ, probability, line (in the file, from 1).

    Raises
    ------
    TableError
        If the file is missing, empty or not such a table; lists up to ten invalid lines.
    """
    return read_numbers(path, (*COORDINATES, "probability"))


def read_findings(
    path: Path, *, unknown_diameter: bool = False, blank: bool = False
) -> pd.DataFrame:
    """Read findings: the truth.

    Parameters
    ----------
    path : Path
        Columns seriesuid, coordX, coordY, coordZ, diameter_mm, as for `read_candidates`.
    unknown_diameter : bool
        Accept negative diameters, which mean "unknown" in LUNA16's excluded findings.
    blank : bool
        Accept lines with only a series, which mean that the scan has no findings; values are NaN.

    Returns
    -------
    DataFrame
        seriesuid, coordX, coordY, coordZ, diameter_mm, line.

    Raises
    ------
    TableError
        As `read_candidates`; also if a diameter is not positive, or if a finding of known
        diameter is listed twice.
    """
    table = read_numbers(path, (*COORDINATES, "diameter_mm"), blank=blank)
    size = table["diameter_mm"]
    unfit = table[(size == 0) if unknown_diameter else (size <= 0)]
    advice = "a positive diameter" + (", or -1 where it is not known" if unknown_diameter else "")
    problems = [
        f"{path}:{line}: diameter_mm is {value:g}: give {advice}"
        for line, value in zip(unfit["line"], unfit["diameter_mm"], strict=True)
    ]
    if not unknown_diameter:
        problems += _repeated(path, table.dropna(subset=["diameter_mm"]))
    refuse(problems)
    return table


def read_series(path: Path) -> tuple[str, ...]:
    """Read the list of all evaluated scans, with or without findings.

    Parameters
    ----------
    path : Path
        One series per line, with or without a header; or a table with a column seriesuid.

    Returns
    -------
    tuple of str
        In file order.

    Raises
    ------
    TableError
        If the file is missing or empty, or a series is listed twice.
    """
    text = read_text(path)
    delimiter = delimiter_of(text)
    rows = [(n, [c.strip() for c in cells]) for n, cells in rows_of(path, text, delimiter)]
    head = [plain_name(cell) for cell in rows[0][1]]
    known = [place for place, name in enumerate(head) if name in _SERIES_HEADERS]
    wanted = [place for place in known if head[place] in ALIASES["seriesuid"]] or known
    filled = sum(map(bool, rows[0][1]))
    if len(wanted) > 1 or (not wanted and filled > 1):
        raise TableError(
            f"{path}:{rows[0][0]}: none or several of {filled} columns are named seriesuid: "
            "write one series per line, or name its column seriesuid"
        )
    place = wanted[0] if wanted else 0
    seen: dict[str, int] = {}
    problems = []
    for number, cells in rows[1:] if wanted else rows:
        name = cells[place] if place < len(cells) else ""
        if not name:
            problems.append(f"{path}:{number}: the series is empty: name it")
        elif name in seen:
            problems.append(
                f"{path}:{number}: series {name!r} is already on line {seen[name]}: keep one"
            )
        seen.setdefault(name, number)
    refuse(problems)
    if not seen:
        raise TableError(f"{path} has a header but no series: write one series per line")
    return tuple(seen)


def read_scores(path: Path) -> pd.DataFrame:
    """Read scored candidates with their true labels.

    Parameters
    ----------
    path : Path
        Columns probability (or confidence), in [0, 1], and label, 0 or 1; others are ignored.
        Instead of a label it may have the outcome of `evaluate_detections`: a hit is 1, a false
        positive 0; lines of the other outcomes are left out.

    Returns
    -------
    DataFrame
        probability (float), label (int), line.

    Raises
    ------
    TableError
        As `read_candidates`; also if a value is outside of its range.
    """
    table = _scores(path)
    problems = [
        f"{path}:{line}: probability is {value:g}: give a number from 0 to 1"
        for line, value in zip(table["line"], table["probability"], strict=True)
        if not 0 <= value <= 1
    ]
    problems += [
        f"{path}:{line}: label is {value:g}: give 1 for true and 0 for false"
        for line, value in zip(table["line"], table["label"], strict=True)
        if value not in (0, 1)
    ]
    refuse(problems)
    return table.astype({"label": int})


def _scores(path: Path) -> pd.DataFrame:
    """Return probability, label and line of scored candidates, as they stand in the table."""
    text = read_text(path)
    _, header = next(rows_of(path, text, delimiter_of(text)))
    given = {plain_name(name) for name in header}
    if "label" in given or "outcome" not in given:
        return read_numbers(path, ("probability", "label"), series=False)
    lines = list(_lines(path, ("outcome",)))
    refuse(
        [
            f"{path}:{line.number}: outcome is {line.cells['outcome'][:40]!r}: give one of "
            f"{', '.join(OUTCOME_LABELS)}"
            for line in lines
            if line.cells["outcome"] not in OUTCOME_LABELS
        ]
    )
    labels = [OUTCOME_LABELS[line.cells["outcome"]] for line in lines]
    table = read_numbers(path, ("probability",), series=False)
    return table.assign(label=pd.Series(labels, dtype=float)).dropna(subset="label")


def _repeated(path: Path, table: pd.DataFrame) -> list[str]:
    keys = ["seriesuid", *COORDINATES]
    first = table.groupby(keys, sort=False)["line"].transform("first")
    return [
        f"{path}:{line}: this repeats the finding of line {earlier}: keep one of them"
        for line, earlier in zip(table["line"], first, strict=True)
        if line != earlier
    ]
