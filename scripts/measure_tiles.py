"""Measure the tiles of a sample, against their truth where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.quality.tiles.refined import RefinedTiles
from parafovea.quality.tiles.segmented import SegmentedTiles
from parafovea.runtime.job import stage
from parafovea.stages.measure_tiles import measure_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

#: How tiles are measured, by the kind of their task.
MEASURES = {"refinement": RefinedTiles, "segmentation": SegmentedTiles}

with stage(snakemake):
    measures = MEASURES[snakemake.params.kind]
    measure_tiles(
        Path(snakemake.input.ledger),
        Path(snakemake.input.quarantine),
        Path(snakemake.output.json),
        Path(snakemake.output.table),
        Path(snakemake.output.tiles),
        source=snakemake.params.source,
        truth=snakemake.params.truth,
        measures=f"{measures.__module__}:{measures.__name__}",
        classes=snakemake.params.classes,
        bands=snakemake.params.bands,
        metadata=snakemake.params.metadata,
        limits=snakemake.params.limits,
    )
