"""Draw the tiles of a sample and write its report."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.render_tiles import render_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    render_tiles(**call)
