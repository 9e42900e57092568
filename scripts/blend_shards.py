"""Blend the shards of a sample into one prediction."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.blend_shards import blend_shards

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    blend_shards(
        [Path(shard) for shard in snakemake.input.shards],
        Path(snakemake.output.prediction),
        output_scale=snakemake.params.output_scale,
    )
