"""Predict a share of the tiles of a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.predict_tiles import predict_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    ledger = Path(snakemake.output.ledger)
    settings = InferenceSettings(**snakemake.params.settings)
    predict_tiles(
        Path(snakemake.params.source),
        Path(snakemake.params.model),
        ledger.parent.parent / "tiles",
        ledger,
        metadata=snakemake.params.metadata,
        settings=settings,
        shard=int(snakemake.wildcards.shard),
        shards=settings.shards,
        overwrite=snakemake.params.overwrite,
        code=snakemake.params.code,
    )
