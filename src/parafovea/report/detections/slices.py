"""Figure of slices through the most confident detections: lung window, heatmap, circles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke

from parafovea.geometry.resample import resample_box
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.detection_files import Detection, Detections
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.report.canvas import PAGE_WIDTH, SMALL, Drawing, new_figure, save, short
from parafovea.report.detections.slice_orientation import AxialSlices, choose_slices
from parafovea.report.palette import INK, MUTED
from parafovea.report.units import counted, scale_bar

Array = np.ndarray[Any, Any]

#: Level and width of the lung window in HU.
WINDOW = (-600.0, 1500.0)

#: Side of the magnified part around a detection in millimetres.
_CLOSE = 64.0

#: Heatmap values below this are not shown.
_COLD = 0.05

#: Number of images side by side; gap between images, margin and height of a line in inches.
_ACROSS, _GAP, _EDGE, _WORDS = 3, 0.1, 0.08, 0.27

#: Width of an image in inches.
_SIDE = (PAGE_WIDTH - 2 * _EDGE - (_ACROSS - 1) * _GAP) / _ACROSS

#: Height of the text below the images in inches.
_FOOT = 0.75

_RING = "#56B4E9"

_OUTLINE = [withStroke(linewidth=1.6, foreground="black")]


@dataclass(frozen=True)
class DetectedScan:
    """Data for the figures of a scan.

    Parameters
    ----------
    scan : Volume
        The scan in HU.
    heatmap : Volume or None
        Values in [0, 1], in the world of the scan's grid; without it, nothing is overlaid.
    affine : (4, 4) float64 or None
        From the scan's voxel (x, y, z) to RAS millimetres.
    detections : Detections
        Detections to draw.
    channel : str
        Name of the channel that is drawn, of a scan that has several.
    """

    scan: Volume
    heatmap: Volume | None
    affine: Array | None
    detections: Detections
    channel: str = ""

    @property
    def axial(self) -> AxialSlices:
        """Orientation of the slices."""
        return AxialSlices.of(self.scan.grid, self.affine)

    @property
    def space(self) -> ScanSpace:
        """Mapping from the scan's voxels to patient coordinates."""
        return ScanSpace(self.scan.grid, self.affine)

    def indices(self) -> Array:
        """Return the fractional voxels (n, 3) along z, y, x of the detections."""
        places = np.array([d.coordinates for d in self.detections.detections]).reshape(-1, 3)
        return self.space.voxel_of_world(places)


def draw_detections(
    view: DetectedScan,
    path: Path,
    *,
    num_slices: int = 5,
    colormap: str = "hot",
    overlay_alpha: float = 0.5,
) -> Drawing:
    """Write the figure of `detections_figure` as PNG.

    Parameters
    ----------
    view : DetectedScan
        Data to show.
    path : Path
        PNG file to write.
    num_slices : int
        Maximum number of slices.
    colormap : str
        Name of the heatmap's colormap in Matplotlib.
    overlay_alpha : float
        Opacity of the heatmap where it is 1, in [0, 1].

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    figure = detections_figure(
        view, num_slices=num_slices, colormap=colormap, overlay_alpha=overlay_alpha
    )
    return save(figure, Drawing(path, "Detections", _caption(view, num_slices)))


def detections_figure(
    view: DetectedScan, *, num_slices: int, colormap: str, overlay_alpha: float
) -> Figure:
    """Draw axial slices through the most confident detections, each magnified below.

    Parameters
    ----------
    view, num_slices, colormap, overlay_alpha
        See `draw_detections`.

    Returns
    -------
    Figure
        Detections in the same slice share a panel. Without detections, slices are evenly spaced.
    """
    axial, indices = view.axial, view.indices()
    chosen = choose_slices(axial, indices, num_slices)
    found = len(indices) > 0
    aspect = axial.extent[0] / axial.extent[1]
    whole = min(max(_SIDE * aspect, 0.5), 1.5 * _SIDE)
    heights = [whole, _SIDE] if found else [whole]
    block = _WORDS + sum(heights) + (len(heights) - 1) * _GAP
    blocks = -(-len(chosen) // _ACROSS)
    size = (PAGE_WIDTH, 2 * _EDGE + _WORDS + blocks * (block + _GAP) + _FOOT)
    figure = new_figure(*size)
    top = size[1] - _EDGE - _WORDS
    words = f"{short(view.detections.scan_id, 60)} · {counted(len(indices), 'detection')}"
    figure.text(_EDGE / size[0], (top + 0.06) / size[1], words, weight="bold", size=10)
    for number, index in enumerate(chosen):
        line, column = divmod(number, _ACROSS)
        pictures = _pictures(view, axial, index, colormap, overlay_alpha)
        left = _EDGE + column * (_SIDE + _GAP)
        centre = _first_within(axial, indices, index)
        below = top - line * (block + _GAP) - _WORDS
        place = f"slice {'zyx'[axial.axial]} = {index}"
        figure.text(left / size[0], (below + 0.07) / size[1], place, color=MUTED)
        for row, tall in enumerate(heights):
            below -= tall + row * _GAP
            spot = (left / size[0], below / size[1], _SIDE / size[0], tall / size[1])
            axes = figure.add_axes(spot)
            _show(axes, pictures, axial)
            if row == 1 and centre is not None:
                _zoom(axes, axial.place(centre))
            _rings(axes, view, axial, indices, index, named=row == 1 or not found)
            _scale(axes)
            if row == 0 and axial.letters:
                _letters(axes, axial.letters)
    _colours(figure, None if view.heatmap is None else colormap, overlay_alpha)
    return figure


def best_slice(view: DetectedScan, colormap: str, alpha: float) -> Array:
    """Return the slice through the most confident detection, or the middle one.

    Returns
    -------
    (row, column, 3) float32
        Red, green and blue in [0, 1], in the lung window with the heatmap, if any, overlaid.
    """
    axial = view.axial
    index = choose_slices(axial, view.indices(), 1)[0]
    grey, heat = _pictures(view, axial, index, colormap, alpha)
    weight = heat[..., 3:]
    return np.asarray(grey[..., None] * (1 - weight) + heat[..., :3] * weight, np.float32)


def _first_within(axial: AxialSlices, indices: Array, index: int) -> Array | None:
    for place in indices:
        if round(float(np.clip(place[axial.axial], 0, None))) == index:
            return np.asarray(place)
    return None


def _pictures(
    view: DetectedScan, axial: AxialSlices, index: int, colormap: str, alpha: float
) -> tuple[Array, Array]:
    """Return the slice in the lung window, (row, column) in [0, 1], and the heatmap as RGBA."""
    grey = axial.read(view.scan.read, index).astype(np.float32)
    low = WINDOW[0] - WINDOW[1] / 2
    grey = np.clip((grey - low) / WINDOW[1], 0, 1)
    if view.heatmap is None:
        return grey, np.zeros((*grey.shape, 4), np.float32)
    grid = view.heatmap.grid.converted("millimeter")
    heat = resample_box(view.heatmap.read, grid, axial.grid, axial.box(index))
    heat = np.clip(axial.picture(heat), 0, 1)
    colours = np.asarray(colormaps[colormap](heat), np.float32)
    colours[..., 3] = np.where(heat < _COLD, 0, alpha * np.sqrt(heat))
    return grey, colours


def _show(axes: Axes, pictures: tuple[Array, Array], axial: AxialSlices) -> None:
    height, width = axial.extent
    for picture in pictures:
        axes.imshow(
            picture, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=1, aspect="equal"
        )
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _zoom(axes: Axes, place: tuple[float, float]) -> None:
    axes.set_xlim(place[0] - _CLOSE / 2, place[0] + _CLOSE / 2)
    axes.set_ylim(place[1] + _CLOSE / 2, place[1] - _CLOSE / 2)


def _rings(
    axes: Axes, view: DetectedScan, axial: AxialSlices, indices: Array, index: int, *, named: bool
) -> None:
    """Draw the intersection of the slice with each detection's sphere."""
    for detection, place in zip(view.detections.detections, indices, strict=True):
        offset = (float(place[axial.axial]) - index) * axial.grid.spacing[axial.axial]
        half_slice = axial.grid.spacing[axial.axial] / 2
        reach = detection.diameter_mm / 2
        if abs(offset) > max(reach, half_slice):
            continue
        radius = math.sqrt(max(reach**2 - offset**2, (0.3 * reach) ** 2))
        across, down = axial.place(place)
        ring = Circle((across, down), radius, fill=False, edgecolor=_RING, linewidth=1.1)
        axes.add_patch(ring)
        low, high = sorted(axes.get_ylim())
        if not (axes.get_xlim()[0] <= across <= axes.get_xlim()[1] and low <= down <= high):
            continue
        words = _words(detection) if named else f"{detection.id}"
        # The label is above the ring, or below it near the top.
        room = down - radius - (high - low) * 0.09 > low
        axes.annotate(
            words,
            (across, down - radius if room else down + radius),
            xytext=(0, 3 if room else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if room else "top",
            color="white",
            size=SMALL,
            bbox={"facecolor": "black", "alpha": 0.55, "pad": 1.2, "linewidth": 0},
            clip_on=True,
        )


def _words(detection: Detection) -> str:
    text = f"{detection.id}: {detection.confidence:.2f} · {detection.diameter_mm:.1f} mm"
    if detection.triage is not None:
        text += f" · {detection.triage.risk_category}"
    return text


def _scale(axes: Axes) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    bar = scale_bar(right - left, "millimeter")
    x, y = left + 0.05 * (right - left), bottom + 0.05 * (top - bottom)
    thick = 0.012 * (bottom - top)
    axes.add_patch(
        Rectangle((x, y - thick), bar.length, thick, facecolor="white", edgecolor="black", lw=0.5)
    )
    axes.text(
        x, y - 2 * thick, bar.label, color="white", size=SMALL, va="bottom", path_effects=_OUTLINE
    )


def _letters(axes: Axes, letters: str) -> None:
    spots = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.97), (0.5, 0.03))
    aligned = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (across, down) in zip(letters, spots, aligned, strict=True):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            color="#F0E442",
            ha=across,
            va=down,
            size=9,
            path_effects=_OUTLINE,
        )


def _colours(figure: Figure, colormap: str | None, alpha: float) -> None:
    """Write the window of the slices, beside the colours of the heatmap if there is one."""
    width, height = figure.get_size_inches()
    level = f"{WINDOW[0]:g}".replace("-", "\N{MINUS SIGN}")
    window = f"lung window, level {level}, width {WINDOW[1]:g} HU"
    if colormap is None:
        figure.text(2 * _EDGE / width, 0.37 / height, window, color=INK, size=SMALL)
        return
    axes = figure.add_axes((2 * _EDGE / width, 0.36 / height, 1.6 / width, 0.12 / height))
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    grey = np.full((*ramp.shape, 3), 0.25, np.float32)
    colours = np.asarray(colormaps[colormap](ramp), np.float32)[..., :3]
    weight = np.where(ramp < _COLD, 0, alpha * np.sqrt(ramp))[..., None]
    axes.imshow(grey * (1 - weight) + colours * weight, extent=(0, 1, 0, 1), aspect="auto")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([])
    axes.tick_params(length=2, labelsize=SMALL, pad=1)
    words = f"heatmap    ·    {window}"
    figure.text((2 * _EDGE + 1.8) / width, 0.37 / height, words, color=INK, size=SMALL)


def _caption(view: DetectedScan, count: int) -> str:
    found = view.detections.detections
    heat = view.heatmap is not None
    if not found:
        words = " with the heatmap" if heat else ""
        text = f"No detections. Axial slices, evenly spaced, in the lung window{words}."
        return text + _drawn_channel(view)
    overlaid = ", with the heatmap overlaid" if heat else ""
    text = (
        f"Axial slices through the {min(count, len(found))} most confident of {len(found)} "
        f"detections, in the lung window{overlaid}; magnified below. A circle is "
        "the intersection of the slice with a detection's sphere; its label is id: confidence, "
        "diameter."
    )
    if view.axial.letters:
        text += " R, L, A, P: the patient's right, left, front and back."
    return text + _drawn_channel(view)


def _drawn_channel(view: DetectedScan) -> str:
    return f" The scan is the channel {short(view.channel)}." if view.channel else ""
