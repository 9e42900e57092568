"""Measure the tiles of a sample, against their truth where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.settings.quality import Limit
from parafovea.stages.measure_tiles import TileQuality, measure_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    measure_tiles(
        Path(snakemake.input.ledger),
        Path(snakemake.input.quarantine),
        TileQuality(
            json=Path(snakemake.output.json),
            table=Path(snakemake.output.table),
            tiles=Path(snakemake.output.tiles),
        ),
        source=snakemake.params.source,
        truth=snakemake.params.truth,
        kind=snakemake.params.kind,
        classes=snakemake.params.classes,
        bands=snakemake.params.bands,
        metadata=snakemake.params.metadata,
        limits={name: Limit(**each) for name, each in snakemake.params.limits.items()},
    )
