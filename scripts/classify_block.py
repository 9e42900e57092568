"""Classify the voxels of a block and scan it for components."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.classify_block import classify_block

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    classify_block(**call)
