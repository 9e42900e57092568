"""Stage render_tiles: the pictures and the page of a folder of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parafovea.quality.tiles.image_metrics import BANDS
from parafovea.quality.tiles.metric_names import TileKind
from parafovea.quality.tiles.quality_tables import read_ledger, read_tile_quality
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.canvas import Drawing, styled
from parafovea.report.page import write_page
from parafovea.report.sample_results import SampleResults, read_quality
from parafovea.report.tiles.band_pictures import draw_refined
from parafovea.report.tiles.class_pictures import draw_confusion, draw_segmented
from parafovea.report.tiles.folder_view import view_tiles
from parafovea.report.tiles.map import draw_map
from parafovea.report.tiles.ndvi import draw_ndvi
from parafovea.report.tiles.tile_table import worst_first
from parafovea.settings.report import TileReportSettings
from parafovea.storage.store import replacing


def render_tiles(
    results: SampleResults,
    html: Path,
    *,
    figures: Path,
    sample: str,
    title: str | None = None,
    kind: TileKind = "refinement",
    classes: Sequence[str] = (),
    bands: Sequence[str] = BANDS,
    metadata: str = "",
    truth: str | None = None,
    settings: TileReportSettings,
) -> None:
    """Draw a folder of tiles and write its page; the same input gives the same bytes.

    Parameters
    ----------
    results : SampleResults
        Where its tables lie, those of `measure_tiles` included.
    html : Path
        Page to write; it needs no other file.
    figures : Path
        Folder to write `tiles.png`, `map.png` and `ndvi.png` (of a segmentation `confusion.png`)
        to; replaced whole.
    sample : str
        Name of the sample.
    title : str, optional
        Heading of the page; the sample's name by default.
    kind : str
        Of the task.
    classes : sequence of str
        All class names of a segmentation, the background first; bands that a refinement makes.
    bands : sequence of str
        That the model takes.
    metadata : str
        The sheet's `metadata` of the sample.
    truth : str or None
        Folder with the truth of some or all tiles; of a mosaic, a GeoTIFF of the same pixels.
    settings : TileReportSettings
        How much is drawn.

    Raises
    ------
    SourceError
        If an input or a truth of a tile cannot be read any more.
    StoreError
        If a table or a tile is missing or damaged.
    """
    files = TileFiles.of(kind, bands, classes, truth=truth, metadata=metadata)
    with replacing(figures) as partial:
        partial.mkdir()
        with styled():
            drawings = _draw(results, partial, kind, classes, files, settings)
        view = view_tiles(results, drawings, kind=kind, sample=sample, title=title)
        write_page(html, "tiles.html.jinja", view=view)


def _draw(
    results: SampleResults,
    folder: Path,
    kind: TileKind,
    classes: Sequence[str],
    files: TileFiles,
    settings: TileReportSettings,
) -> tuple[Drawing, ...]:
    entries, scores = read_ledger(results.ledger), read_tile_quality(results.tile_quality)
    worst = worst_first(entries, scores, kind=kind)[: settings.tiles]
    if kind == "segmentation":
        confusion: Any = read_quality(results.quality).get("confusion")
        return (
            draw_segmented(worst, scores, folder / "tiles.png", classes=classes, files=files),
            draw_confusion(confusion, folder / "confusion.png", classes=classes),
            draw_map(
                entries, scores["iou"], folder / "map.png", label="IoU", higher_is_worse=False
            ),
        )
    judged = bool((scores["truth"] == "true").any())
    # one comparison on a map: a tile without truth is not better or worse than one with
    column = "accuracy.ndvi_rmse" if judged else "preservation.ndvi_rmse"
    label = f"NDVI RMSE against the {'truth' if judged else 'input'}"
    return (
        draw_refined(worst, scores, folder / "tiles.png", files=files),
        draw_ndvi(entries, folder / "ndvi.png", files=files, most=settings.sampled),
        draw_map(entries, scores[column], folder / "map.png", label=label),
    )
