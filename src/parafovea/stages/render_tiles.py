"""Stage render_tiles: figures and report page of a folder of tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.formats.tiles.ledger import read_ledger
from parafovea.kinds.reference import Reference, resolve
from parafovea.quality.tiles.measures import tile_measures
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.quality.tiles.tile_quality import read_tile_quality
from parafovea.report.canvas import styled
from parafovea.report.page import write_page
from parafovea.report.sample_results import read_quality
from parafovea.report.thumbnail import write_thumbnail
from parafovea.report.tiles.folder_view import view_tiles
from parafovea.report.tiles.tile_report import TileReport
from parafovea.report.tiles.tile_table import worst_first
from parafovea.settings.quantities import Range
from parafovea.settings.report import TileReportSettings
from parafovea.storage.store import replacing


def render_tiles(
    ledger: Path,
    quarantine: Path,
    quality: Path,
    metrics: Path,
    tiles: Path,
    html: Path,
    figures: Path,
    thumbnail: Path,
    *,
    sample: str,
    truth: str | None,
    measures: Reference,
    classes: Sequence[str],
    bands: Sequence[str],
    ranges: Mapping[str, Range] | None = None,
    metadata: str = "",
    settings: TileReportSettings | Mapping[str, Any],
    title: str | None = None,
) -> None:
    """Draw a folder of tiles and write its page, reproducibly for the same input.

    Parameters
    ----------
    ledger, quarantine : Path
        `tiles.tsv` and `quarantine.tsv` of `collect_tiles`, or of `export_mosaic`.
    quality, metrics, tiles : Path
        `quality.json`, `quality.tsv` and `tile_quality.tsv` of `measure_tiles`.
    html : Path
        Self-contained page to write.
    figures : Path
        Folder for the `figures` of the `TileReport`; replaced as a whole.
    thumbnail : Path
        Small JPEG to write, of the worst tile, for the page of all samples.
    sample : str
        Name of the sample.
    truth : str or None
        Folder with the truth of some or all tiles; for a mosaic, a GeoTIFF on the same pixels.
    measures, classes, bands, ranges, metadata
        As for `measure_tiles`.
    settings : mapping
        Fields of `TileReportSettings`, which limit what is drawn.
    title : str, optional
        Heading of the page; the sample's name by default.

    Raises
    ------
    SourceError
        If an input or a truth of a tile can no longer be read.
    StoreError
        If a table or a tile is missing or damaged.
    """
    chosen = TileReportSettings.model_validate(settings)
    own = tile_measures(measures, classes=classes, bands=bands)
    report: type[TileReport] = resolve(own.report)
    drawer = report(classes)
    files = TileFiles.of(bands, own.outputs, truth=truth, metadata=metadata, ranges=ranges)
    entries, scores = read_ledger(ledger), read_tile_quality(tiles)
    worst = worst_first(entries, scores, drawer.error(scores))[: chosen.tiles]
    with replacing(figures) as partial, replacing(thumbnail) as small:
        partial.mkdir()
        write_thumbnail(drawer.picture(worst[0], files) if worst else None, small)
        with styled():
            drawings = drawer.draw(
                entries,
                worst,
                scores,
                partial,
                quality=read_quality(quality),
                files=files,
                settings=chosen,
            )
        view = view_tiles(
            ledger,
            quarantine,
            quality,
            metrics,
            tiles,
            drawings,
            report=report,
            sample=sample,
            title=title,
            page=html,
        )
        write_page(html, "tiles.html.jinja", view=view)
