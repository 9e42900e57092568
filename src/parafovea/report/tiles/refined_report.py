"""Report of refined tiles: comparison with input and truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.descriptions.tiles import measure_label
from parafovea.quality.tiles.targets import TARGETS
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.canvas import Drawing
from parafovea.report.sample_results import Metric
from parafovea.report.tiles.band_pictures import Array, RefinedTile, draw_refined
from parafovea.report.tiles.folder_view import TileView, view_results
from parafovea.report.tiles.map import draw_map
from parafovea.report.tiles.ndvi import draw_ndvi
from parafovea.report.tiles.stretch import grey, natural, stretch_of
from parafovea.report.tiles.tile_table import Column, ComparedLine
from parafovea.report.units import number_text, per_cent
from parafovea.settings.report import TileReportSettings
from parafovea.storage.layout import SampleResults

#: A tile's metrics in the order of the report's table.
MEASURES = (
    "ndvi_rmse",
    "ndvi_rmse_bright",
    "edge_correlation",
    "edge_displacement",
    "evi_rmse",
    "spectral_angle",
    "rmse",
    "psnr",
    "ssim",
)


class RefinedReport:
    """Report of refined tiles; see `TileReport`."""

    figures: ClassVar[tuple[str, ...]] = ("tiles.png", "ndvi.png", "map.png")
    verb: ClassVar[str] = "refined"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes: tuple[str, ...] = ()
        self.columns = (
            Column("NDVI RMSE\nto truth", "accuracy.ndvi_rmse", 3, TARGETS["ndvi_rmse"]),
            Column("of the\ninput", "accuracy_input.ndvi_rmse", 3),
            Column("PSNR\n(dB)", "accuracy.psnr", 1),
            Column("of the\ninput", "accuracy_input.psnr", 1),
            Column("NDVI RMSE\nto input", "preservation.ndvi_rmse", 3, TARGETS["ndvi_rmse"]),
            Column(
                "NIR edge\ncorrelation",
                "preservation.edge_correlation",
                3,
                TARGETS["edge_correlation"],
            ),
            Column(
                "edges shifted\n(pixels)",
                "preservation.edge_displacement",
                2,
                TARGETS["edge_displacement"],
            ),
        )

    def error(self, scores: pd.DataFrame) -> pd.Series[float]:
        """Return the NDVI RMSE against the truth, or against the input without truth."""
        judged = scores["truth"] == "true"
        return scores["accuracy.ndvi_rmse"].where(judged, scores["preservation.ndvi_rmse"])

    def outcome(self, metrics: Mapping[str, Metric]) -> str:
        """Return "; NDVI RMSE 0.031 against the input" and further metrics."""
        kept, after, gain = (
            _value(metrics, name)
            for name in ("preservation.ndvi_rmse", "accuracy.psnr", "gain.psnr")
        )
        words = ""
        if kept is not None:
            words += f"; NDVI RMSE {number_text(kept)} against the input"
        if after is not None:
            words += f"; PSNR {after:.1f} dB against the truth"
        if gain is not None:
            more = "more" if gain >= 0 else "less"
            words += f", {abs(gain):.1f} dB {more} than the input"
        held = _value(metrics, "held_back")
        if held is not None:
            words += f"; {per_cent(held)} of the pixels kept near the input"
        return words

    def compared(self, metrics: Mapping[str, Metric]) -> tuple[ComparedLine, ...]:
        """Return the comparisons of the result with the input and with the truth."""

        def value(name: str) -> str:
            found = _value(metrics, name)
            return "" if found is None else number_text(found)

        def share(comparison: str, measure: str) -> str:
            found = _value(metrics, f"{comparison}.target_met.{measure}")
            return "" if found is None else per_cent(found)

        return tuple(
            ComparedLine(
                name=measure_label(measure),
                target=str(TARGETS.get(measure, "")),
                kept=value(f"preservation.{measure}"),
                kept_share=share("preservation", measure),
                before=value(f"accuracy_input.{measure}"),
                after=value(f"accuracy.{measure}"),
                after_share=share("accuracy", measure),
            )
            for measure in MEASURES
        )

    def picture(self, entry: TileEntry, files: TileFiles) -> Array:
        """Return a tile after refinement in natural colours."""
        tile = RefinedTile.read(entry, files)
        return natural(tile.refined, stretch_of(tile.refined))

    def pair(self, entry: TileEntry, files: TileFiles) -> tuple[Array, Array]:
        """Return a tile before and after refinement, in the colours of one stretch."""
        tile = RefinedTile.read(entry, files)
        stretch = stretch_of(tile.reference)
        before = (
            grey(tile.source, stretch_of(tile.source), 0)
            if tile.radar
            else natural(tile.source, stretch)
        )
        return before, natural(tile.refined, stretch)

    def draw(
        self,
        entries: Sequence[TileEntry],
        worst: Sequence[TileEntry],
        scores: pd.DataFrame,
        folder: Path,
        *,
        quality: Mapping[str, Any],
        files: TileFiles,
        settings: TileReportSettings,
    ) -> tuple[Drawing, ...]:
        """Draw the worst tiles, the NDVI of all pixels and the map; see `TileReport`."""
        tiles, ndvi, places = (folder / name for name in self.figures)
        judged = bool((scores["truth"] == "true").any())
        # one metric per map, since tiles with and without truth are not comparable
        column = "accuracy.ndvi_rmse" if judged else "preservation.ndvi_rmse"
        label = f"NDVI RMSE against the {'truth' if judged else 'input'}"
        return (
            draw_refined(worst, scores, tiles, files=files),
            draw_ndvi(entries, ndvi, files=files, most=settings.sampled),
            draw_map(entries, scores[column], places, label=label),
        )


def cohort_view(results: SampleResults, *, sample: str, task: str) -> TileView:
    """Gather the content of the cohort report for refined tiles; see `view_results`."""
    return view_results(results, RefinedReport, sample=sample, task=task)


def _value(metrics: Mapping[str, Metric], name: str) -> float | None:
    return metrics[name].value if name in metrics else None
