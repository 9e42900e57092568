"""Colours of classes in label images, viewers and reports.

They are those of Okabe and Ito, "Color Universal Design" (2008), distinguishable with any colour
vision, without black, which is common in images.
"""

from __future__ import annotations

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")

#: Colour of the background in tables and charts.
BACKGROUND = "#8A8F98"


def class_colours(count: int) -> tuple[str, ...]:
    """Return a colour for each of `count` classes, the background first.

    After seven foreground classes the colours repeat, darker each time.
    """
    colours = [BACKGROUND]
    for index in range(count - 1):
        turn, place = divmod(index, len(OKABE_ITO))
        shades = (round(part * 0.6**turn) for part in red_green_blue(OKABE_ITO[place]))
        colours.append("#" + "".join(f"{shade:02X}" for shade in shades))
    return tuple(colours[:count])


def red_green_blue(colour: str) -> tuple[int, int, int]:
    """Return the parts of a colour such as "#E69F00", each from 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
