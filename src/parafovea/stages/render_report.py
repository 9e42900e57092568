"""Draw one sample's figures and write its page."""

from __future__ import annotations

from pathlib import Path

from parafovea.report.canvas import Drawing, styled
from parafovea.report.charts import draw_sizes
from parafovea.report.page import write_page
from parafovea.report.planes import Voxels, choose_planes
from parafovea.report.sample_results import read_objects
from parafovea.report.segmentation.overlays import draw_overlays, read_planes
from parafovea.report.segmentation.probability_maps import draw_probabilities
from parafovea.report.segmentation.sample_view import class_names, view_sample
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import open_stored, replacing


def render_report(
    results: SampleResults,
    html: Path,
    *,
    figures: Path,
    sample: str,
    title: str | None = None,
    slices: int = 3,
    overlay_alpha: float = 0.45,
    max_pixels: int = 900,
    truth: Voxels | None = None,
) -> None:
    """Draw a sample's pictures and write a page that holds them.

    Only the planes that are shown are read. The same results give the same bytes.

    Parameters
    ----------
    results : SampleResults
        Where the files of the earlier stages lie.
    html : Path
        Page to write; it needs no other file.
    figures : Path
        Folder to write `overlays.png`, `probabilities.png` and `sizes.png` to; replaced whole.
    sample : str
        Name of the sample.
    title : str, optional
        Heading of the page; the sample's name by default.
    slices : int
        XY planes shown, evenly spaced over the depth.
    overlay_alpha : float
        Opacity of the class colours, in [0, 1].
    max_pixels : int
        Longest side of a drawn plane.
    truth : Voxels, optional
        True classes, (z, y, x), on any grid of the same world.

    Raises
    ------
    StoreError
        If a result of an earlier stage is missing or damaged.
    """
    with replacing(figures) as folder:
        folder.mkdir()
        drawings = _draw(
            results,
            folder,
            slices=slices,
            overlay_alpha=overlay_alpha,
            max_pixels=max_pixels,
            truth=truth,
        )
        view = view_sample(results, drawings, sample=sample, title=title)
        write_page(html, "sample.html.jinja", view=view)


def _draw(
    results: SampleResults,
    folder: Path,
    *,
    slices: int,
    overlay_alpha: float,
    max_pixels: int,
    truth: Voxels | None,
) -> tuple[Drawing, ...]:
    volume, prediction = open_stored(results.volume), open_stored(results.prediction)
    classes = class_names(prediction.channels)
    planes = choose_planes(volume.grid, slices, max_pixels)
    views = read_planes(planes, volume, open_stored(results.classes), truth)
    flat = choose_planes(prediction.grid, slices, max_pixels)
    middle = flat[sum(plane.axis == 0 for plane in flat) // 2]
    objects = read_objects(results.object_table)
    with styled():
        return (
            draw_overlays(views, classes, folder / "overlays.png", alpha=overlay_alpha),
            draw_probabilities(prediction, middle, classes, folder / "probabilities.png"),
            draw_sizes(objects, classes, prediction.grid.unit, folder / "sizes.png"),
        )
