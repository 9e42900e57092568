"""Names of spectral bands in their various spellings, and the selection of bands in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parafovea.errors import SourceError

#: The bands of the optical models, in their order.
OPTICAL = ("B02", "B03", "B04", "B08")

#: Sentinel-2 bands at 10 m by their colours.
_COLOURS = {"BLUE": "B02", "GREEN": "B03", "RED": "B04", "NIR": "B08"}

#: Names of bands that are 0 where nothing was measured, as Sentinel Hub and GDAL call them.
MASK_NAMES = frozenset(("DATAMASK", "DATA MASK", "VALID MASK", "ALPHA"))

_BAND = re.compile(r"B[0-9]{2}|B[0-9]A")
_NUMBERED = re.compile(r"(?:B|BAND)?0*([0-9]{1,2}A?)")


def canonical(name: str) -> str:
    """Return the usual name of a band: `B02` of "B2", "b02", "Band 2" and "blue".

    Parameters
    ----------
    name : str
        Band name; a name that is not a Sentinel-2 band is returned in upper case.
    """
    text = " ".join(name.upper().replace("_", " ").split())
    if text in _COLOURS:
        return _COLOURS[text]
    found = _NUMBERED.fullmatch(text.replace(" ", ""))
    if found is None or text.isdecimal():
        return text
    number = found[1]
    return f"B{number}" if number.endswith("A") else f"B{int(number):02d}"


def described(description: str | None) -> str:
    """Return the band that a description names, e.g. `B08` for "B8, central 832 nm", or "".

    Parameters
    ----------
    description : str or None
        Description of a band, as stored in the file.
    """
    text = description or ""
    # Colours are not used here: "red edge 1" is not B04.
    words = {word for word in re.split(r"[^0-9A-Za-z]+", text) if word.upper() not in _COLOURS}
    bands = {name for name in map(canonical, words) if _BAND.fullmatch(name)}
    return bands.pop() if len(bands) == 1 else canonical(text)


def may_be_mask(name: str | None) -> bool:
    """Return whether a name that is not one of `MASK_NAMES` is probably that of a mask."""
    words = re.split(r"[^A-Z]+", (name or "").upper())
    return not is_mask(name) and not {"MASK", "VALID", "FILL"}.isdisjoint(words)


def is_mask(name: str | None) -> bool:
    """Return whether a name or a description is that of a mask, 0 where nothing was measured."""
    return name is not None and canonical(name) in MASK_NAMES


def is_named(description: str | None) -> bool:
    """Return whether a description names a band of Sentinel-2."""
    return _BAND.fullmatch(described(description)) is not None


def names_all(descriptions: Sequence[str | None], wanted: Sequence[str]) -> bool:
    """Return whether descriptions of bands name each of some bands once.

    Parameters
    ----------
    descriptions : sequence of str or None
        Description of each band, as stored in the file.
    wanted : sequence of str
        Names of bands.
    """
    names = [described(text) for text in descriptions]
    return all(names.count(canonical(name)) == 1 for name in wanted)


def overridden(given: Sequence[str] | None, descriptions: Sequence[str | None]) -> str:
    """Return how the user's names contradict those of the file, or "" if they do not.

    Parameters
    ----------
    given : sequence of str, optional
        User-supplied names of the file's bands, in file order.
    descriptions : sequence of str or None
        Description of each band, as stored in the file.
    """
    if given is None or len(given) != len(descriptions):
        return ""
    stated = [described(text) if is_named(text) else "?" for text in descriptions]
    pairs = zip(map(canonical, given), stated, strict=True)
    if all(name == own or own == "?" for name, own in pairs):
        return ""
    return (
        f"bands={','.join(given)} replaces the names in the file ({', '.join(stated)}), which "
        "differ; if the file is right, leave bands= out"
    )


def choose_bands(
    path: str,
    *,
    count: int,
    wanted: Sequence[str],
    given: Sequence[str] | None,
    descriptions: Sequence[str | None],
    refused: type[SourceError] = SourceError,
) -> tuple[int, ...]:
    """Return the index, from 0, of each wanted band in a file.

    Parameters
    ----------
    path : str
        Used in error messages.
    count : int
        Number of bands in the file.
    wanted : sequence of str
        Names of the bands to read, in reading order.
    given : sequence of str, optional
        User-supplied names of the file's bands, in file order; they override the descriptions.
    descriptions : sequence of str or None
        Description of each band, as stored in the file.
    refused : type
        Exception class to raise.

    Raises
    ------
    SourceError
        Raised as `refused` if a wanted band is missing, or if the bands of the file are
        unspecified.
    """
    if given is not None and len(given) != count:
        raise refused(
            f"{path} has {_bands(count)}, but bands={','.join(given)} names {len(given)}: "
            "name all bands of the file, in its order"
        )
    names = [canonical(name) for name in given] if given is not None else []
    if given is None:
        names = [described(text) for text in descriptions]
    missing = [name for name in wanted if names.count(canonical(name)) != 1]
    if not missing:
        return tuple(names.index(canonical(name)) for name in wanted)
    if given is None and not any(names):
        raise refused(
            f"{path} has {_bands(count)} and does not name them: write bands= with the names of "
            f"all of them in the metadata column of the sample sheet, such as "
            f"bands={','.join(wanted)}"
        )
    times = "twice" if names.count(canonical(missing[0])) > 1 else "not"
    raise refused(
        f"{path} has the band {missing[0]} {times} among its {count} "
        f"({', '.join(name or '?' for name in names)}): the model reads {', '.join(wanted)}; "
        "name the file's bands with bands= in the metadata column, or write it again with them"
    )


def _bands(count: int) -> str:
    return f"{count} band{'' if count == 1 else 's'}"
