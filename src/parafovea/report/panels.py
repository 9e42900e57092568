"""A picture of a plane among others: its place, its proportions, its scale bar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from parafovea.report.planes import Plane
from parafovea.report.scale import scale_bar

#: Around the figure, between panels, and for a line of text, in inches.
MARGIN, GAP, CAPTION = 0.12, 0.1, 0.27

COLOUR_MAP = "viridis"


def panel_height(plane: Plane, width: float) -> float:
    """Return the height of a plane's panel for a width, cut where the plane is very tall."""
    return width * min(1.4, plane.extent[0] / plane.extent[1])


def show(axes: Axes, picture: np.ndarray, plane: Plane, *, bar: bool = True) -> None:
    """Show a picture of a plane in its true proportions.

    Parameters
    ----------
    axes : Axes
        To draw in.
    picture : (row, column) or (row, column, 3)
        Values in [0, 1]: coloured by `COLOUR_MAP`, or red, green and blue.
    plane : Plane
        Gives the size in the world.
    bar : bool
        Draw a scale bar.
    """
    height, width = plane.extent
    axes.imshow(
        picture, extent=(0, width, height, 0), aspect="equal", cmap=COLOUR_MAP, vmin=0, vmax=1
    )
    axes.set_axis_off()
    if bar:
        _scale_bar(axes, plane)


def _scale_bar(axes: Axes, plane: Plane) -> None:
    height, width = plane.extent
    bar = scale_bar(width, plane.grid.unit)
    # Measured in widths, so that the bar looks the same on a flat plane as on a square one.
    inset, thick = 0.04 * width, 0.014 * width
    low = height - min(inset, 0.15 * height)
    left = width - inset - bar.length
    axes.add_patch(
        Rectangle(
            (left, low - thick), bar.length, thick, facecolor="white", edgecolor="black", lw=0.6
        )
    )
    axes.text(
        left + bar.length,
        low - 1.8 * thick,
        bar.label,
        color="white",
        size=7.5,
        weight="bold",
        ha="right",
        va="bottom",
        path_effects=[withStroke(linewidth=1.8, foreground="black")],
    )
