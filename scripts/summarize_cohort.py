"""Put all samples into one table, one figure and one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.scripting import stage
from parafovea.stages.summarize_cohort import CohortOutputs, CohortSample, summarize_cohort

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    html = Path(snakemake.output.html)
    summarize_cohort(
        {
            name: CohortSample(task, html.parent / name)
            for name, task in snakemake.params.tasks.items()
        },
        CohortOutputs(
            table=Path(snakemake.output.quality),
            objects=Path(snakemake.output.objects),
            figure=Path(snakemake.output.figure),
            html=html,
        ),
    )
