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
from parafovea.report.canvas import INK, MUTED, Drawing, new_figure, save
from parafovea.report.detections.slice_orientation import AxialSlices, choose_slices
from parafovea.report.units import scale_bar

Array = np.ndarray[Any, Any]

#: Level and width of the lung window in HU.
WINDOW = (-600.0, 1500.0)

#: Side of the magnified part around a detection in millimetres.
_CLOSE = 64.0

#: Heatmap values below this are not shown.
_COLD = 0.05

#: Size of an image and gap between images in inches.
_SIDE, _GAP, _EDGE, _WORDS = 2.7, 0.12, 0.2, 0.27

#: Height of the text below the images in inches.
_LEAST = 5.6

_RING = "#56B4E9"

_OUTLINE = [withStroke(linewidth=1.6, foreground="black")]


@dataclass(frozen=True)
class DetectedScan:
    """Data for the figures of a scan.

    Parameters
    ----------
    scan : Volume
        The scan in HU.
    heatmap : Volume
        Values in [0, 1], in the world of the scan's grid.
    affine : (4, 4) float64 or None
        From the scan's voxel (x, y, z) to RAS millimetres.
    detections : Detections
        Detections to draw.
    """

    scan: Volume
    heatmap: Volume
    affine: Array | None
    detections: Detections

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
    rows = 2 if found else 1
    aspect = axial.extent[0] / axial.extent[1]
    height = min(max(_SIDE * aspect, 0.5), 2 * _SIDE)
    heights = [height, _SIDE][:rows]
    size = (
        max(2 * _EDGE + len(chosen) * _SIDE + (len(chosen) - 1) * _GAP, _LEAST),
        2 * _EDGE + sum(heights) + (rows - 1) * _GAP + 2 * _WORDS + 0.5,
    )
    figure = new_figure(*size)
    top = size[1] - _EDGE - _WORDS
    words = (
        f"{view.detections.scan_id} · {len(indices)} detection{'s' if len(indices) != 1 else ''}"
    )
    figure.text(_EDGE / size[0], (top + 0.06) / size[1], words, weight="bold", size=10)
    for column, index in enumerate(chosen):
        pictures = _pictures(view, axial, index, colormap, overlay_alpha)
        left = _EDGE + column * (_SIDE + _GAP)
        centre = _first_within(axial, indices, index)
        below = top - _WORDS
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
    _colours(figure, colormap, overlay_alpha)
    return figure


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
            size=7.5,
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
        x, y - 2 * thick, bar.label, color="white", size=7, va="bottom", path_effects=_OUTLINE
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


def _colours(figure: Figure, colormap: str, alpha: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((_EDGE / width, 0.36 / height, 1.6 / width, 0.12 / height))
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    grey = np.full((*ramp.shape, 3), 0.25, np.float32)
    colours = np.asarray(colormaps[colormap](ramp), np.float32)[..., :3]
    weight = np.where(ramp < _COLD, 0, alpha * np.sqrt(ramp))[..., None]
    axes.imshow(grey * (1 - weight) + colours * weight, extent=(0, 1, 0, 1), aspect="auto")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([])
    axes.tick_params(length=2, labelsize=7, pad=1)
    level = f"{WINDOW[0]:g}".replace("-", "\N{MINUS SIGN}")
    words = f"heatmap    ·    lung window, level {level}, width {WINDOW[1]:g} HU"
    figure.text((_EDGE + 1.75) / width, 0.37 / height, words, color=INK, size=7.5)


def _caption(view: DetectedScan, count: int) -> str:
    found = view.detections.detections
    if not found:
        return "No detections. Axial slices, evenly spaced, in the lung window with the heatmap."
    text = (
        f"Axial slices through the {min(count, len(found))} most confident of {len(found)} "
        "detections, in the lung window, with the heatmap overlaid; magnified below. A circle is "
        "the intersection of the slice with a detection's sphere; its label is id: confidence, "
        "diameter."
    )
    if view.axial.letters:
        text += " R, L, A, P: the patient's right, left, front and back."
    return text
