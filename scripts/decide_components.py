"""Decide which components of a volume in blocks are small, or holes."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.decide_components import decide_components

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    decide_components(**call)
