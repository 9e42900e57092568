"""Draw a sample's figures and write its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.report.sample_results import SampleResults
from parafovea.runtime.job import stage
from parafovea.stages.render_report import render_report

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    html = Path(snakemake.output.html)
    results, figures = SampleResults(html.parent), Path(snakemake.output.overlays).parent
    render_report(
        results.volume,
        results.prediction,
        results.classes,
        results.objects,
        results.object_table,
        results.quality,
        results.quality_table,
        html,
        figures / "overlays.png",
        figures / "probabilities.png",
        figures / "sizes.png",
        sample=snakemake.wildcards.sample,
        truth=snakemake.params.truth,
        metadata=snakemake.params.metadata,
        settings=snakemake.params.settings,
    )
