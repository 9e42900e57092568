"""Draw a sample's figures and write its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.formats.truth import open_truth
from parafovea.runtime.job import stage
from parafovea.stages.render_report import render_report
from parafovea.storage.layout import SampleResults

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    html = Path(snakemake.output.html)
    render_report(
        SampleResults(html.parent),
        html,
        figures=Path(snakemake.output.overlays).parent,
        sample=snakemake.wildcards.sample,
        truth=open_truth(snakemake.params.truth, metadata=snakemake.params.metadata),
        **snakemake.params.settings,
    )
