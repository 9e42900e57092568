"""Draw a sample's figures and write its report."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.render_report import render_report

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    render_report(**call)
