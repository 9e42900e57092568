"""Overlays of a sample's planes: prediction, truth and errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from parafovea.report.canvas import PAGE_WIDTH, Drawing, new_figure, save, short
from parafovea.report.palette import ERRORS, MUTED, error_codes, overlay
from parafovea.report.planes import (
    CAPTION,
    GAP,
    MARGIN,
    Plane,
    Voxels,
    panel_height,
    read_mean,
    read_nearest,
    show,
)
from parafovea.storage.class_colours import class_colours

#: Height of a panel that holds a scale bar, in inches.
LEAST_WITH_BAR = 0.3

#: Classes per line of the legend.
PER_LINE = 4


@dataclass(frozen=True)
class DrawnPlane:
    """A plane with the data to draw.

    Parameters
    ----------
    plane : Plane
        The plane.
    image : (row, column) float32
        Values of the volume.
    classes : (row, column) integer
        Predicted class of each pixel.
    truth : (row, column) integer, optional
        True class of each pixel.
    """

    plane: Plane
    image: np.ndarray
    classes: np.ndarray
    truth: np.ndarray | None


def read_planes(
    planes: Iterable[Plane], volume: Voxels, classes: Voxels, truth: Voxels | None
) -> tuple[DrawnPlane, ...]:
    """Read the data of each plane, and nothing else of the volumes.

    Parameters
    ----------
    planes : iterable of Plane
        Planes on the volume's grid.
    volume : Voxels
        The image, (z, y, x).
    classes : Voxels
        Predicted classes, (z, y, x).
    truth : Voxels, optional
        True classes on any grid of the same world.

    Returns
    -------
    tuple of DrawnPlane
        In the order of `planes`.
    """
    return tuple(
        DrawnPlane(
            plane,
            read_mean(volume, plane),
            read_nearest(classes, plane),
            None if truth is None else read_nearest(truth, plane),
        )
        for plane in planes
    )


def draw_overlays(
    views: Sequence[DrawnPlane],
    classes: Sequence[str],
    path: Path,
    *,
    alpha: float,
    channels: Sequence[str] = (),
) -> Drawing:
    """Draw a row for each plane: image, prediction and, if given, truth and errors.

    Parameters
    ----------
    views : sequence of DrawnPlane
        At least one.
    classes : sequence of str
        Class names; the first is the background.
    path : Path
        PNG file to write.
    alpha : float
        Opacity of the class colours, in [0, 1].
    channels : sequence of str
        Names of the channels of the volume, of which the first is drawn; empty for an unnamed one.

    Returns
    -------
    Drawing
        File, title and caption.
    """
    colours = class_colours(len(classes))
    low, high = _grey_range([view.image for view in views])
    with_truth = views[0].truth is not None
    titles = ["image", "prediction", *(["truth", "errors"] if with_truth else [])]
    width = (PAGE_WIDTH - 2 * MARGIN + GAP) / len(titles) - GAP
    heights = [panel_height(v.plane, width) for v in views]
    legend = CAPTION * _legend_lines(len(classes), with_truth=with_truth) + 0.1
    size = (
        2 * MARGIN + len(titles) * width + (len(titles) - 1) * GAP,
        2 * MARGIN + sum(heights) + CAPTION * (len(views) + 1) + GAP * (len(views) - 1) + legend,
    )
    figure = new_figure(*size)
    top = size[1] - MARGIN
    for column, title in enumerate(titles):
        left = (MARGIN + column * (width + GAP)) / size[0]
        figure.text(left, (top - 0.14) / size[1], title, weight="bold", size=10)
    top -= CAPTION
    for view, height in zip(views, heights, strict=True):
        figure.text(MARGIN / size[0], (top - 0.19) / size[1], view.plane.name, color=MUTED)
        top -= CAPTION
        pictures = _pictures(view, (low, high), colours, alpha)
        for column, picture in enumerate(pictures):
            left = MARGIN + column * (width + GAP)
            place = (left / size[0], (top - height) / size[1], width / size[0], height / size[1])
            axes = figure.add_axes(place, anchor="NW")
            show(axes, picture, view.plane, bar=height >= LEAST_WITH_BAR)
        top -= height + GAP
    _legends(figure, classes, colours, with_truth=with_truth)
    caption = _overlay_caption(views, classes, alpha, channels)
    return save(figure, Drawing(path, "Overlays", caption))


def overlaid(view: DrawnPlane, classes: Sequence[str], *, alpha: float) -> np.ndarray:
    """Return a plane with its classes, (row, column, 3) in [0, 1]."""
    colours = class_colours(len(classes))
    return _pictures(view, _grey_range([view.image]), colours, alpha)[1]


def _pictures(
    view: DrawnPlane, grey_range: tuple[float, float], colours: Sequence[str], alpha: float
) -> list[np.ndarray]:
    low, high = grey_range
    grey = np.clip((view.image - low) / (high - low), 0, 1).astype(np.float32)
    pictures = [np.repeat(grey[..., None], 3, axis=-1), overlay(grey, view.classes, colours, alpha)]
    if view.truth is not None:
        pictures.append(overlay(grey, view.truth, colours, alpha))
        code = error_codes(view.classes, view.truth)
        table = np.asarray([(0, 0, 0), *(to_rgb(c) for _, c in ERRORS)], np.float32)
        dimmed = np.repeat(grey[..., None] * 0.45, 3, axis=-1)
        pictures.append(np.where(code[..., None] > 0, table[code], dimmed))
    return pictures


def _grey_range(images: Sequence[np.ndarray]) -> tuple[float, float]:
    # One range for all planes, so that they are comparable; percentiles, to be robust to
    # outliers.
    values = np.concatenate([image.ravel() for image in images])
    low, high = (float(v) for v in np.percentile(values, [0.2, 99.8]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _legend_lines(count: int, *, with_truth: bool) -> int:
    return -(-(count - 1) // PER_LINE) + with_truth


def _legends(
    figure: Figure, classes: Sequence[str], colours: Sequence[str], *, with_truth: bool
) -> None:
    line = CAPTION / figure.get_figheight()
    left = MARGIN / figure.get_figwidth()
    options: dict[str, Any] = {"borderpad": 0, "borderaxespad": 0, "handlelength": 1.1}
    if with_truth:
        # With one class there is no other class to confuse it with.
        shown = ERRORS if len(classes) > 2 else ERRORS[:2]
        figure.legend(
            handles=[Patch(color=colour, label=f"error: {label}") for label, colour in shown],
            loc="lower left",
            bbox_to_anchor=(left, line * 0.4),
            ncols=len(shown),
            **options,
        )
    patches = [
        Patch(color=colour, label=short(name))
        for name, colour in zip(classes[1:], colours[1:], strict=True)
    ]
    if patches:
        figure.legend(
            handles=patches,
            loc="lower left",
            bbox_to_anchor=(left, line * (0.4 + with_truth)),
            ncols=min(PER_LINE, len(patches)),
            **options,
        )


def _overlay_caption(
    views: Sequence[DrawnPlane], classes: Sequence[str], alpha: float, channels: Sequence[str]
) -> str:
    flat = [v.plane for v in views if v.plane.axis == 0]
    indices, depth = ", ".join(str(plane.index) for plane in flat), flat[0].grid.shape[0]
    if depth == 1:
        text = "The one plane of the sample"
    elif len(flat) == 1:
        text = f"XY plane at z = {indices}, the middle of {depth} planes"
    else:
        text = (
            f"XY planes at z = {indices}, evenly spaced over the depth of {depth} planes and not "
            "selected by content"
        )
    if len(flat) < len(views):
        text += f"; below, the XZ plane at y = {views[-1].plane.index}, in its true proportions"
    text += ". All planes share one grey range."
    if channels:
        others = f", the first of {', '.join(map(short, channels))}" if len(channels) > 1 else ""
        text += f" The image is the channel {short(channels[0])}{others}."
    if len(classes) > 1:
        names = ", ".join(short(name) for name in classes[1:])
        text += f" Colours show the class of each pixel, at {alpha:.0%} opacity ({names})."
    if views[0].truth is not None:
        text += (
            " Errors: missed is background where the truth has a class, extra is a class where "
            "the truth has background; truth is the voxel nearest to each pixel's centre."
        )
    return text
