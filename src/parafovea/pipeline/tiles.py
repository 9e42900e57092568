"""A folder of tiles, from its files to its page."""

from __future__ import annotations

from pathlib import Path

from parafovea.config import Project
from parafovea.fingerprint import fingerprint
from parafovea.pipeline.progress import Announce, silent
from parafovea.quality.tile_metrics import TileKind
from parafovea.report.sample import SampleResults
from parafovea.stages.collect_tiles import collect_tiles
from parafovea.stages.measure_tiles import TileQuality, measure_tiles
from parafovea.stages.predict_tiles import TileCounts, predict_tiles
from parafovea.stages.render_tiles import render_tiles


def run_tiles(
    project: Project, sample: str, *, announce: Announce = silent
) -> tuple[Path, TileCounts]:
    """Run every stage of a folder of tiles; as `run_sample`.

    Returns
    -------
    Path
        The sample's page.
    TileCounts
        What became of its tiles.
    """
    entry, task, source = project.require(sample), project.task(sample), project.source(sample)
    results = SampleResults(Path(project.folder(sample)))
    ledger = results.folder / "shards" / "1.tsv"
    announce("predict_tiles")
    counts = predict_tiles(
        Path(source),
        Path(task.model),
        results.folder / "tiles",
        ledger,
        metadata=entry.metadata,
        settings=project.inference(sample),
        overwrite=task.tiles.overwrite,
        code=fingerprint(Path(__file__).parents[1] / "stages" / "predict_tiles.py", own=True),
    )
    announce("collect_tiles")
    collect_tiles(
        [ledger],
        results.folder / "tiles",
        results.ledger,
        results.quarantine,
        strict=task.tiles.strict,
    )
    return judge_tiles(project, sample, results, announce), counts


def judge_tiles(project: Project, sample: str, results: SampleResults, announce: Announce) -> Path:
    """Measure and draw the tiles of a folder, or the blocks of a mosaic."""
    entry, task, recipe = project.samples[sample], project.task(sample), project.recipe(sample)
    truth = project.truth(sample)
    kind: TileKind = "segmentation" if task.kind == "segmentation" else "refinement"
    announce("measure_tiles")
    measure_tiles(
        results.ledger,
        results.quarantine,
        TileQuality(results.quality, results.quality_table, results.tile_quality),
        source=project.source(sample),
        truth=truth,
        kind=kind,
        classes=recipe.classes,
        bands=recipe.bands,
        metadata=entry.metadata,
        limits=task.quality.limits,
    )
    announce("render_tiles")
    page = results.folder / "report.html"
    render_tiles(
        results,
        page,
        figures=results.figures,
        sample=sample,
        kind=kind,
        classes=recipe.classes,
        bands=recipe.bands,
        metadata=entry.metadata,
        truth=truth,
        settings=task.tile_report,
    )
    return page
