"""Derive detections from a heatmap, and write the heatmap on the scan's grid."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.detect_nodules import detect_nodules

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    detect_nodules(**call)
