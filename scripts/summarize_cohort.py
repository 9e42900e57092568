"""Put all samples into one table, one figure and one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.summarize_cohort import CohortOutputs, CohortSample, summarize_cohort

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    html = Path(snakemake.output.html)
    kinds = snakemake.params.get("kinds", {})
    detections, froc, tiles = (
        snakemake.output.get(name) for name in ("detections", "froc", "tiles")
    )
    tiled = {Path(path).parent for path in snakemake.input.get("tile_tables", [])}
    summarize_cohort(
        {
            name: CohortSample(
                task,
                html.parent / name,
                kinds.get(task, "segmentation"),
                tiles=html.parent / name in tiled,
            )
            for name, task in snakemake.params.tasks.items()
        },
        CohortOutputs(
            table=Path(snakemake.output.quality),
            objects=Path(snakemake.output.objects),
            figure=Path(snakemake.output.figure),
            html=html,
            detections=Path(detections) if detections else None,
            froc=Path(froc) if froc else None,
            tiles=Path(tiles) if tiles else None,
        ),
    )
