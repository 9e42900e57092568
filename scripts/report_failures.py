"""End a run with the errors of the samples that could not be planned."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.report_failures import report_failures

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    report_failures(**call)
