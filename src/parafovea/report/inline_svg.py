"""Figures as SVG for a page: their ink follows the page's light or dark colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from parafovea.report.palette import INK, MUTED, PAPER_WHITE, RULE, UNLIMITED

#: Variables of `style.css` that take the place of colours.
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER_WHITE: "--card",
    UNLIMITED: "--muted",
}

_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"

#: A reference to an element: all of `href`, or a part of a style.
_TARGET = re.compile(r"url\(#([^)]+)\)")

#: Least width of a figure on a page, in CSS pixels an inch; below it, the figure is scrolled.
_LEAST_SCALE = 80


def inline_svg(text: str, *, label: str, prefix: str, full_width: float) -> str:
    """Return a figure of matplotlib as an element to stand in a page.

    Parameters
    ----------
    text : str
        The SVG file, with text as outlines.
    label : str
        Description for those who cannot see it.
    prefix : str
        Prefix of its ids, distinct among the figures of a page.
    full_width : float
        Width in inches of a figure that fills the page; others keep the scale of their text.

    Returns
    -------
    str
        `<svg>` without metadata and style sheet, in which the colours of text and axes are those
        of the page.
    """
    # written by matplotlib in this process
    root = ElementTree.fromstring(text)  # noqa: S314
    _remove(root)
    # numbered, since matplotlib's own follow from places to their last digit
    targets = dict.fromkeys(target for each in root.iter() for target in _targets(each))
    names = {target: f"{prefix}-{number}" for number, target in enumerate(targets, start=1)}
    for each in root.iter():
        each.tag = each.tag.removeprefix(_SVG)
        # only indentation: text is outlines
        each.text = each.tail = None
        _rename(each, names)
        for name in ("style", "fill", "stroke"):
            if name in each.attrib:
                each.set(name, _COLOUR.sub(_variable, each.attrib[name]))
    inches = float(root.attrib["viewBox"].split()[2]) / 72
    kept = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    share = min(100.0, 100 * inches / full_width)
    kept["style"] = f"width: {share:.4g}%; min-width: {min(inches, 8) * _LEAST_SCALE:.4g}px"
    root.attrib.clear()
    root.attrib.update(kept)
    return ElementTree.tostring(root, encoding="unicode")


def _remove(element: ElementTree.Element) -> None:
    """Remove metadata and style sheets, which would apply to the whole page."""
    for child in list(element):
        if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
            element.remove(child)
        else:
            _remove(child)


def _targets(element: ElementTree.Element) -> list[str]:
    found = [name for text in element.attrib.values() for name in _TARGET.findall(text)]
    address = element.attrib.get(_HREF, "")
    return [*found, address[1:]] if address.startswith("#") else found


def _rename(element: ElementTree.Element, names: Mapping[str, str]) -> None:
    """Rename the ids that something refers to, and remove the others."""
    own = element.attrib.pop("id", "")
    if own in names:
        element.set("id", names[own])
    address = element.attrib.pop(_HREF, None)
    if address is not None:
        element.set("href", f"#{names[address[1:]]}" if address.startswith("#") else address)
    for name, value in element.attrib.items():
        element.set(name, _TARGET.sub(lambda found: f"url(#{names[found[1]]})", value))


def _variable(match: re.Match[str]) -> str:
    return f"var({_VARIABLES[match[0].upper()]})"
