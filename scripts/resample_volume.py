"""Resample a source to the grid of its model."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.resample_volume import resample_volume

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    resample_volume(**call)
