"""Predict a share of the tiles of a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.predict_tiles import predict_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    predict_tiles(
        Path(snakemake.output.ledger),
        source=snakemake.params.source,
        model=snakemake.params.model,
        metadata=snakemake.params.metadata,
        settings=snakemake.params.settings,
        shard=int(snakemake.wildcards.shard),
        overwrite=snakemake.params.overwrite,
        code=snakemake.params.code,
    )
