"""Derive classes and numbered objects from probabilities."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.segment_objects import segment_objects

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    segment_objects(**call)
