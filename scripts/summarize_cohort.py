"""Summarize all samples in a table, a figure and a report."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.summarize_cohort import summarize_cohort

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    summarize_cohort(**call)
