"""Draw the tiles of a sample and write its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.report.sample_results import SampleResults
from parafovea.runtime.job import stage
from parafovea.settings.report import TileReportSettings
from parafovea.stages.render_tiles import render_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    html = Path(snakemake.output.html)
    render_tiles(
        SampleResults(html.parent),
        html,
        figures=Path(snakemake.output.figures),
        sample=snakemake.wildcards.sample,
        kind=snakemake.params.kind,
        classes=snakemake.params.classes,
        bands=snakemake.params.bands,
        metadata=snakemake.params.metadata,
        truth=snakemake.params.truth,
        settings=TileReportSettings.model_validate(snakemake.params.settings),
    )
