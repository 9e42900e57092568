"""Colours of classes and bands in label images, viewers and reports.

They are those of Okabe and Ito, "Color Universal Design" (2008), distinguishable with any colour
vision, without black, which is common in images.
"""

from __future__ import annotations

from collections.abc import Sequence

from parafovea.storage.ome_metadata import Shown

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


#: Bands that are red, green and blue, and the reflectance that is as bright as can be shown.
TRUE_COLOURS = {"B04": "#FF0000", "B03": "#00FF00", "B02": "#0000FF"}
BRIGHT = 0.3


def true_colours(channels: Sequence[str]) -> dict[str, str]:
    """Return the colours of the bands that show an image as an eye would see it, if it has all."""
    return dict(TRUE_COLOURS) if set(TRUE_COLOURS) <= set(channels) else {}


def shown_classes(names: Sequence[str]) -> tuple[Shown, ...]:
    """Return how viewers show classes, the background first, in the colours of the reports."""
    pairs = zip(names, class_colours(len(names)), strict=True)
    return tuple(Shown(name, colour) for name, colour in pairs)


def shown_channels(names: Sequence[str]) -> tuple[Shown, ...]:
    """Return how viewers show channels of values from 0 to 1: classes, or the bands of an image."""
    natural = true_colours(names)
    if natural:
        colours = class_colours(len(names))
        return tuple(
            Shown(name, natural.get(name, colour), BRIGHT, name in natural)
            for name, colour in zip(names, colours, strict=True)
        )
    return shown_classes(names) if len(names) != 1 else (Shown(names[0], OKABE_ITO[0]),)


def shown_volume(names: Sequence[str]) -> tuple[Shown, ...]:
    """Return how viewers show the channels of a volume, whose values are from 0 to 1."""
    count = len(OKABE_ITO)
    return tuple(Shown(name, OKABE_ITO[number % count]) for number, name in enumerate(names))


def red_green_blue(colour: str) -> tuple[int, int, int]:
    """Return the parts of a colour such as "#E69F00", each from 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
