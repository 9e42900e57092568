"""Blend the shards of a sample into one prediction."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.blend_shards import blend_shards

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    blend_shards(**call)
