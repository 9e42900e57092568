"""Draw the detections of a scan and write its report."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.render_detections import render_detections

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    render_detections(**call)
