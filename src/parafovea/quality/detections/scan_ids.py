"""Matching of scan ids that two tables write differently: 007, 7, 7.0, or with a file ending.

Spreadsheets and data frames convert ids to numbers and drop zeros; exports append `.nii.gz`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from parafovea.formats.location import stem

_NUMBER = re.compile(r"0*(\d+)(?:\.0*)?")

#: Maximum number of ids in a note or warning.
_SHOWN = 5


def plain_id(name: str) -> str:
    """Return an id in normalized form, for comparison with other tables.

    Parameters
    ----------
    name : str
        Id as written in a table.

    Returns
    -------
    str
        The id without surrounding spaces and file ending; an integer, such as 007 or 7.0, as its
        digits. A DICOM UID has several dots and is not a number.
    """
    bare = stem(name.strip()) if name.strip() else ""
    number = _NUMBER.fullmatch(bare)
    return number[1] if number else bare


def same_ids(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return the matching ids of another table, for ids that are written differently.

    Parameters
    ----------
    names : iterable of str
        Ids of one table.
    known : iterable of str
        Ids of the other.

    Returns
    -------
    dict of str to str
        The id in `known` for the one in `names`. Contains only ids that are in one table each, and
        only one-to-one matches: ids with the same normalized form within a table are not matched.
    """
    ours, theirs = set(names), set(known)
    own, others = _by_meaning(ours), _by_meaning(theirs)
    return {
        found[0]: others[meaning][0]
        for meaning, found in own.items()
        if len(found) == 1
        and len(others.get(meaning, ())) == 1
        and found[0] not in theirs
        and others[meaning][0] not in ours
    }


def _by_meaning(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(plain_id(name), []).append(name)
    return found


def match_note(what: str, matched: Mapping[str, str]) -> str:
    """Return a note on ids that were matched although they are written differently."""
    pairs = [f"{name!r} = {known!r}" for name, known in sorted(matched.items())]
    return (
        f"{len(matched)} ids of {what} are written differently from the other table, with "
        f"leading zeros or a file name suffix, and are matched: {listed(pairs)}"
    )


def listed(names: Iterable[str]) -> str:
    """Return the first names, and the number of further ones."""
    every = list(names)
    more = len(every) - _SHOWN
    return ", ".join(every[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
