"""Ids of scans that two tables write differently: 007, 7 and 7.0, with the ending of a file or not.

Spreadsheets and data frames turn ids into numbers and drop their zeros; exports add `.nii.gz`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from parafovea.formats.location import stem

_NUMBER = re.compile(r"0*(\d+)(?:\.0*)?")

#: Ids that a note or warning names.
_SHOWN = 5


def plain_id(name: str) -> str:
    """Return what an id means, as far as other tables may write it in another way.

    Parameters
    ----------
    name : str
        As a table has it.

    Returns
    -------
    str
        Without spaces around it and without the ending of a file; a whole number, such as 007 or
        7.0, as its digits. A DICOM UID has several dots and is no number.
    """
    bare = stem(name.strip()) if name.strip() else ""
    number = _NUMBER.fullmatch(bare)
    return number[1] if number else bare


def same_ids(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return which ids of another table some ids stand for, where they are written differently.

    Parameters
    ----------
    names : iterable of str
        Ids of one table.
    known : iterable of str
        Ids of the other.

    Returns
    -------
    dict of str to str
        The id in `known` by the one in `names`. Only ids that are in one table each, and only where
        that is one to one: where either table has two ids of one meaning, none is matched.
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
        f"{len(matched)} ids of {what} are written in another way than in the other table, with "
        f"zeros before a number or the ending of a file, and are matched: {listed(pairs)}"
    )


def listed(names: Iterable[str]) -> str:
    """Return the first of some names, and how many more there are."""
    every = list(names)
    more = len(every) - _SHOWN
    return ", ".join(every[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
