"""Summarize all samples in a table, a figure and a report."""

from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.report_failures import report_failures

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    report_failures(**call)
