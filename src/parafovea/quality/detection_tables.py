"""Tables of candidates, findings, series and scores, as others write them: comma or tab."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from parafovea.errors import TableError
from parafovea.quality.tables import (
    ALIASES,
    delimiter_of,
    plain_name,
    read_numbers,
    read_text,
    refuse,
    rows_of,
)

#: World millimetres in the DICOM patient system (LPS), named as LUNA16 does.
COORDINATES = ("coordX", "coordY", "coordZ")

#: First lines of a list of series that name its column and no series.
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
        lines is a detector that found nothing.

    Returns
    -------
    DataFrame
        seriesuid, coordX, coordY, coordZ, probability, line (in the file, from 1).

    Raises
    ------
    TableError
        If the file is missing, empty or no such table; names every wrong line, up to ten.
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
        Accept negative diameters, which say "not known" in LUNA16's excluded findings.
    blank : bool
        Accept lines with a series and nothing else, which say that the scan has no findings: NaN.

    Returns
    -------
    DataFrame
        seriesuid, coordX, coordY, coordZ, diameter_mm, line.

    Raises
    ------
    TableError
        As `read_candidates`; also if a diameter is not positive, or if a finding of known
        diameters stands there twice.
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
    """Read the list of all scans that were searched, with findings or without.

    Parameters
    ----------
    path : Path
        One series a line, with a header or without; or a table with a column seriesuid.

    Returns
    -------
    tuple of str
        In the order of the file.

    Raises
    ------
    TableError
        If the file is missing or empty, or a series stands there twice.
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
            f"{path}:{rows[0][0]}: of {filled} columns none, or more than one, is named seriesuid: "
            "write one series a line, or name its column seriesuid"
        )
    place = wanted[0] if wanted else 0
    seen: dict[str, int] = {}
    problems = []
    for number, cells in rows[1:] if wanted else rows:
        name = cells[place] if place < len(cells) else ""
        if not name:
            problems.append(f"{path}:{number}: the series is empty: name it or remove the line")
        elif name in seen:
            problems.append(
                f"{path}:{number}: series {name!r} is already on line {seen[name]}: keep one"
            )
        seen.setdefault(name, number)
    refuse(problems)
    if not seen:
        raise TableError(f"{path} has a header but no series: write one series a line")
    return tuple(seen)


def read_scores(path: Path) -> pd.DataFrame:
    """Read scored candidates with their truth.

    Parameters
    ----------
    path : Path
        Columns probability (or confidence), in [0, 1], and label, 0 or 1; others are ignored.

    Returns
    -------
    DataFrame
        probability (float), label (int), line.

    Raises
    ------
    TableError
        As `read_candidates`; also if a value lies outside of what it may be.
    """
    table = read_numbers(path, ("probability", "label"), series=False)
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


def _repeated(path: Path, table: pd.DataFrame) -> list[str]:
    keys = ["seriesuid", *COORDINATES]
    first = table.groupby(keys, sort=False)["line"].transform("first")
    return [
        f"{path}:{line}: the finding of line {earlier} stands there again: keep one of them"
        for line, earlier in zip(table["line"], first, strict=True)
        if line != earlier
    ]
