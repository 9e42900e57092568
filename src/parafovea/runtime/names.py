"""Which names may enter: those that folder, table, terminal and spreadsheet all take as names.

Names reach tables, pages, logs and file names unchanged. A tab or a line end in one would make a
further cell or row of a table, an escape character commands for a terminal, and a name such as
`=1+1` a formula in a spreadsheet program. Such names are refused where they enter; nothing is
changed on the way out, so that tables can be compared and read back.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from parafovea.errors import quoted

#: Names of samples and tasks, which become folders.
FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
#: Most characters of such a name; results and temporary files add to it.
LONGEST_FOLDER = 100
#: Most characters of any other name.
LONGEST_NAME = 200

_HARMLESS_SIGN = re.compile(r"[+-][\w.+-]*")


def hidden_character(text: str) -> str | None:
    """Return the first control or invisible character of a text, escaped; None without one."""
    for character in text:
        if not character.isprintable() and unicodedata.category(character) != "Zs":
            return character.encode("unicode_escape").decode("ascii")
    return None


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet program computes a cell with this text.

    A sign before letters, digits, dots and signs alone calls and computes nothing: tiles may be
    named by their latitude, such as -23.5_-46.6.
    """
    if text[:1] in ("+", "-"):
        return _HARMLESS_SIGN.fullmatch(text) is None
    return text[:1] in ("=", "@")


def name_problem(name: str) -> str | None:
    """Return why a text cannot be a name in tables and on pages; None if it can.

    Parameters
    ----------
    name : str
        Name of a class, a band, a model, a scan or a label.
    """
    hidden = hidden_character(name)
    if hidden is not None:
        return f"name {quoted(name)} contains the control character {hidden}: remove it"
    if name != name.strip() or not name:
        return f"name {quoted(name)} is empty, or begins or ends with a space: remove spaces"
    if len(name) > LONGEST_NAME:
        return f"name {quoted(name)} has {len(name)} characters: use at most {LONGEST_NAME}"
    if is_formula(name):
        return (
            f"name {quoted(name)} is a formula for spreadsheet programs: begin it with a letter "
            "or a digit"
        )
    return None


def folder_problem(name: str) -> str | None:
    """Return why a text cannot name a sample or a task, whose results are a folder; else None."""
    if FOLDER.fullmatch(name) is None:
        return (
            f"{quoted(name)} is not a valid name: use letters, digits, . _ and -, and no leading "
            "dot"
        )
    if len(name) > LONGEST_FOLDER:
        return (
            f"{quoted(name)} is not a valid name: it has {len(name)} characters, use at most "
            f"{LONGEST_FOLDER}"
        )
    return None


def same_folder(name: str, others: Iterable[str]) -> str | None:
    """Return the other name that differs from a name in upper and lower case alone; else None.

    They are one folder on file systems that ignore case, such as those of macOS and Windows.
    """
    lower = name.lower()
    return next((other for other in others if other != name and other.lower() == lower), None)
