"""Order of slices by the numbers in their names, and detection of missing or mixed slices."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

from parafovea.errors import SourceError

#: Words before a number that counts channels, times or series, not planes.
_OTHER_COUNTERS = (
    "c", "ch", "chan", "channel", "wavelength", "t", "time", "timepoint", "series", "pos",
)  # fmt: skip

_SIGNS = "+-"
_POINTS = (".", ",")


@dataclass(frozen=True)
class _Name:
    """A name split at its numbers: text, number, text, and so on, text first and last."""

    name: str
    texts: tuple[str, ...]
    numbers: tuple[Fraction, ...]

    @property
    def key(self) -> tuple[tuple[str | Fraction, ...], str]:
        """Sort key that compares numbers by value."""
        parts: list[str | Fraction] = [self.texts[0]]
        for number, text in zip(self.numbers, self.texts[1:], strict=True):
            parts += [number, text]
        return tuple(parts), self.name


@dataclass(frozen=True)
class Gap:
    """Missing slices between two others.

    Parameters
    ----------
    after : str
        The last slice before the gap.
    count : int
        Number of missing slices.
    """

    after: str
    count: int


def in_order(names: Sequence[str], source: str) -> list[str]:
    """Return names of slices sorted by their numbers.

    slice9 sorts before slice10. A minus sign is read as a sign if only some of the names have it,
    and a point between digits as a decimal point if only some have it: z-1 before z0.5 before z1.

    Parameters
    ----------
    names : sequence of str
        File names, with or without folders.
    source : str
        Used in error messages.

    Raises
    ------
    SourceError
        If they contain several channels or series, or their numbers are ambiguous.
    """
    read = _read(sorted(names), source)
    _check_one_series(read, source)
    return [each.name for each in sorted(read, key=lambda each: each.key)]


def gaps(names: Sequence[str], source: str) -> list[Gap]:
    """Return where slices are missing, based on the smallest step between their numbers.

    Parameters
    ----------
    names : sequence of str
        In order.
    source : str
        Used in error messages.
    """
    read = _read(names, source)
    if len(read) < 3 or len({each.texts for each in read}) > 1:
        return []
    found: list[list[Gap]] = []
    for position in range(len(read[0].numbers)):
        column = [each.numbers[position] for each in read]
        steps = [abs(b - a) for a, b in itertools.pairwise(column)]
        if len({*column}) < len(column):
            continue
        step = min(steps)
        found.append(
            [
                Gap(each.name, round(wide / step) - 1)
                for each, wide in zip(read, steps, strict=False)
                if wide > step * Fraction(3, 2)
            ]
        )
    return min(found, key=len, default=[])


def counted_twice(names: Sequence[str], source: str) -> bool:
    """Return whether no single number in the names identifies the slices.

    Parameters
    ----------
    names : sequence of str
        Of slices.
    source : str
        Used in error messages.
    """
    read = _read(names, source)
    alike = len({each.texts for each in read}) == 1 and len(read) > 1
    columns = zip(*(each.numbers for each in read), strict=True) if alike else ()
    distinct = [len({*column}) == len(read) for column in columns]
    return bool(distinct) and not any(distinct)


def _read(names: Sequence[str], source: str) -> list[_Name]:
    return _with_signs(_with_points([_cut(name) for name in names], source))


def _cut(name: str) -> _Name:
    parts = re.split(r"([0-9]+)", name.casefold())
    return _Name(name, tuple(parts[::2]), tuple(Fraction(number) for number in parts[1::2]))


def _with_points(names: list[_Name], source: str) -> list[_Name]:
    """Return names with pairs of numbers joined to decimal numbers, if they are decimals."""
    joined = [_joined(name) for name in names]
    # z-0.25 and z0 differ in a sign as well
    whole = {_unsigned(name.texts) for name in names}
    pointed = [new for old, new in zip(names, joined, strict=True) if new is not None]
    if not pointed:
        return names
    if any(_unsigned(new.texts) in whole for new in pointed):
        return [new or old for old, new in zip(names, joined, strict=True)]
    either = [new or old for old, new in zip(names, joined, strict=True)]
    if any(number < 0 for name in _with_signs(either) for number in name.numbers):
        return either  # a counter has no sign
    # If all names have the point, 1.9 and 1.10 are counters, and 1.90 and 1.10 are ambiguous.
    fractions = [re.findall(r"[0-9][.,]([0-9]+)", name.name) for name in names]
    lengths = {tuple(len(part) for part in parts) for parts in fractions}
    if len(lengths) < 2 or any(part[-1] == "0" for parts in fractions for part in parts):
        return names
    orders = [
        [each.name for each in sorted(read, key=lambda each: each.key)] for read in (names, either)
    ]
    if orders[0] != orders[1]:
        raise SourceError(
            f"{source} has slices whose numbers can be read as decimals or as two counters, such "
            f"as {pointed[0].name}: give all the same number of digits after the point"
        )
    return names


def _unsigned(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts of a name without the signs before its numbers."""
    return tuple(text.rstrip("+-") for text in texts)


def _joined(name: _Name) -> _Name | None:
    """Return a name with numbers joined at decimal points, or None if there is no such point."""
    inner = [text in _POINTS for text in (*name.texts[1:-1], "")]
    texts, numbers = [name.texts[0]], list[Fraction]()
    digits = re.findall(r"[0-9]+", name.name)
    found, at = False, 0
    while at < len(name.numbers):
        # three numbers separated by points are a version or an identifier
        alone = at == 0 or not inner[at - 1]
        if inner[at] and alone and not inner[at + 1]:
            numbers.append(Fraction(f"{digits[at]}.{digits[at + 1]}"))
            at, found = at + 1, True
        else:
            numbers.append(name.numbers[at])
        texts.append(name.texts[at + 1])
        at += 1
    return _Name(name.name, tuple(texts), tuple(numbers)) if found else None


def _with_signs(names: list[_Name]) -> list[_Name]:
    """Return names with negative numbers, if only some of the names have a minus sign."""
    plain = [tuple(text.rstrip(_SIGNS) for text in name.texts[:-1]) for name in names]
    spelled: dict[tuple[int, tuple[str, ...]], set[str]] = {}
    for name, texts in zip(names, plain, strict=True):
        for position, text in enumerate(texts):
            sign = name.texts[position][len(text) :]
            spelled.setdefault((position, (*texts, name.texts[-1])), set()).add(sign)
    signed = []
    for name, texts in zip(names, plain, strict=True):
        new_texts, numbers = [*name.texts], [*name.numbers]
        for position, text in enumerate(texts):
            signs = spelled[position, (*texts, name.texts[-1])]
            if len(signs) > 1 and signs <= {"", "+", "-"}:
                numbers[position] *= -1 if name.texts[position].endswith("-") else 1
                new_texts[position] = text
        signed.append(_Name(name.name, tuple(new_texts), tuple(numbers)))
    return signed


def _check_numbered(names: list[_Name], source: str) -> None:
    """Raise `SourceError` for a name without a number of its own among those with numbers.

    Such are copies, masks and projections that programs save beside the slices.
    """
    known: dict[tuple[tuple[str, ...], tuple[Fraction, ...]], _Name] = {}
    for name in names:
        twin = known.setdefault((name.texts, name.numbers), name)
        if twin is not name:
            raise SourceError(
                f"{source} holds {twin.name} and {name.name}, two slices of the same number: "
                "remove one, or choose the slices with a pattern of their names"
            )
    numbered = [name for name in names if name.numbers]
    bare = next((name for name in names if not name.numbers), None)
    if numbered and bare is not None:
        raise SourceError(
            f"{source} holds {bare.name}, which has no number, beside slices with numbers such as "
            f"{numbered[0].name}: remove it, or choose the slices with a pattern of their names"
        )
    patterns = Counter(name.texts for name in names)
    stems = {_stem(name): name for name in numbered if patterns[name.texts] > 1}
    for name in numbered:
        if patterns[name.texts] > 1:
            continue
        stem = _stem(name)
        starts = (stem[:end] for end in range(len(stem), 0, -1) if not stem[end:][:1].isdecimal())
        slice_ = next((stems[start] for start in starts if start in stems), None)
        if slice_ is not None:
            raise SourceError(
                f"{source} holds {name.name}, which is named like a copy of {slice_.name} or like "
                "what was made of it: remove it, or choose the slices with a pattern of their names"
            )


def _stem(name: _Name) -> str:
    return PurePath(name.name.casefold()).stem


def _check_one_series(names: list[_Name], source: str) -> None:
    """Raise `SourceError` if planes of several channels or series would be interleaved."""
    _check_numbered(names, source)
    by_text: dict[tuple[str, ...], list[_Name]] = {}
    for name in names:
        by_text.setdefault(name.texts, []).append(name)
    lines = [line for line in by_text.values() if len(line) > 1 and line[0].numbers]
    shared = Counter(numbers for line in lines for numbers in {name.numbers for name in line})
    if any(count > 1 for count in shared.values()):
        first = [line[0].name for line in lines[:2]]
        raise SourceError(
            f"{source} holds slices of {len(lines)} channels or series, such as "
            f"{' and '.join(first)}: choose one with a pattern of its names"
        )
    for line in lines:
        columns = [*zip(*(name.numbers for name in line), strict=True)]
        for position, column in enumerate(columns):
            word = re.search(r"[a-z]*$", line[0].texts[position].rstrip("_- =+")) or ""
            counted = {*column}
            # the same planes repeated, one channel after the other
            others = Counter(
                tuple(n for p, n in enumerate(name.numbers) if p != position) for name in line
            )
            if (
                len(counted) > 1
                and word
                and word[0] in _OTHER_COUNTERS
                and max(others.values()) > 1
                and len(others) > 1
            ):
                raise SourceError(
                    f"{source} holds slices of {len(counted)} channels, times or series, counted "
                    f"after {word[0]!r} in names such as {line[0].name}: choose one with a pattern "
                    "of its names"
                )
