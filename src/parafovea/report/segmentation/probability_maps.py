"""Figure of class probabilities and their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from parafovea.report.canvas import PAGE_WIDTH, Drawing, new_figure, save, short
from parafovea.report.palette import MUTED
from parafovea.report.planes import (
    CAPTION,
    COLOUR_MAP,
    GAP,
    MARGIN,
    Plane,
    Voxels,
    panel_height,
    read_mean,
    show,
)

#: Panels side by side, for short and for long names, and the longest short name.
_ACROSS, _ACROSS_LONG, _SHORT = 5, 3, 15


def draw_probabilities(
    prediction: Voxels, plane: Plane, classes: Sequence[str], path: Path
) -> Drawing:
    """Draw the probability of every class in a plane, and the uncertainty.

    Parameters
    ----------
    prediction : Voxels
        (class, z, y, x) probabilities in [0, 1].
    plane : Plane
        Plane on the prediction's grid.
    classes : sequence of str
        Class names, one per channel.
    path : Path
        PNG file to write.

    Returns
    -------
    Drawing
        File, title and caption.
    """
    values = read_mean(prediction, plane)
    panels = [*zip(classes, values, strict=True)]
    if len(classes) > 1:
        panels.append(("uncertainty", _uncertainty(values)))
    across = _ACROSS if max(len(name) for name, _ in panels) <= _SHORT else _ACROSS_LONG
    rows = -(-len(panels) // across)
    columns = -(-len(panels) // rows)
    width = min(2.6, (PAGE_WIDTH - 2 * MARGIN + GAP) / columns - GAP)
    height = panel_height(plane, width)
    size = (
        2 * MARGIN + columns * width + (columns - 1) * GAP,
        2 * MARGIN + rows * (height + CAPTION) + (rows - 1) * GAP + 0.75,
    )
    figure = new_figure(*size)
    for number, (name, picture) in enumerate(panels):
        row, column = divmod(number, columns)
        left = MARGIN + column * (width + GAP)
        top = size[1] - MARGIN - row * (height + CAPTION + GAP)
        figure.text(left / size[0], (top - 0.17) / size[1], short(name), weight="bold", size=9)
        bottom = (top - CAPTION - height) / size[1]
        place = (left / size[0], bottom, width / size[0], height / size[1])
        show(figure.add_axes(place, anchor="NW"), picture, plane, bar=number == 0)
    _colour_bar(figure)
    caption = (
        f"Probability of each class in the {plane.name}. Uncertainty is the entropy of the "
        "probabilities over the logarithm of the number of classes: 0 if one class is certain, "
        "1 if all are equally likely."
    )
    return save(figure, Drawing(path, "Probabilities", caption))


def _uncertainty(values: np.ndarray) -> np.ndarray:
    clipped = np.clip(values, 1e-7, 1)
    entropy = -(clipped * np.log(clipped)).sum(axis=0)
    return np.asarray(np.clip(entropy / np.log(len(values)), 0, 1), np.float32)


def _colour_bar(figure: Figure) -> None:
    width, height = figure.get_figwidth(), figure.get_figheight()
    place = (1.5 * MARGIN / width, 0.5 / height, 2.0 / width, 0.1 / height)
    axes = figure.add_axes(place)
    scale = ScalarMappable(Normalize(0, 1), COLOUR_MAP)
    figure.colorbar(scale, cax=axes, orientation="horizontal", ticks=[0, 0.5, 1])
    axes.set_xlabel("probability, uncertainty", size=8, color=MUTED, labelpad=1)
