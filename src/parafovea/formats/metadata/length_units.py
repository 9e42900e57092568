"""Units of length and their spellings."""

from __future__ import annotations

import unicodedata

from parafovea.geometry.grid import METRES

#: Other spellings of the units in `parafovea.geometry.grid.METRES`, in lower case.
_SPELLINGS = {
    "å": "angstrom",
    "a": "angstrom",
    "pm": "picometer",
    "picometre": "picometer",
    "ångström": "angstrom",
    "nm": "nanometer",
    "nanometre": "nanometer",
    "um": "micrometer",
    "\u03bcm": "micrometer",  # the Greek letter
    "\\u00b5m": "micrometer",  # as ImageJ escapes it
    "micron": "micrometer",
    "micrometre": "micrometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
    "cm": "centimeter",
    "centimetre": "centimeter",
    "dm": "decimeter",
    "decimetre": "decimeter",
    "m": "meter",
    "metre": "meter",
    "km": "kilometer",
    "kilometre": "kilometer",
    "in": "inch",
    "inches": "inch",
    "ft": "foot",
    "feet": "foot",
    "yd": "yard",
}


def known_unit(text: str) -> str | None:
    """Return the OME-Zarr name of a unit of length, or None if it is unknown.

    Parameters
    ----------
    text : str
        A name, plural or symbol, such as "nm", "µm", "microns" or "millimeter".
    """
    # NFKC maps the micro sign and the Angstrom sign to the letters that they look like
    name = unicodedata.normalize("NFKC", text).strip().lower()
    for candidate in (name, name.removesuffix("s")):
        if candidate in METRES:
            return candidate
        if candidate in _SPELLINGS:
            return _SPELLINGS[candidate]
    return None
