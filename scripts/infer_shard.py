"""Compute the weighted sums of a shard's predictions."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.infer_shard import infer_shard

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    infer_shard(**call)
