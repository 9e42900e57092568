"""Write results as DICOM objects in the study of their source."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.export_dicom import export_dicom

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    export_dicom(**call)
