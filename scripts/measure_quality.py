"""Measure a segmentation, against its truth where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.formats.truth import open_truth, open_truth_objects
from parafovea.runtime.job import stage
from parafovea.settings.quality import Limit
from parafovea.stages.measure_quality import measure_quality

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    metadata = snakemake.params.metadata
    measure_quality(
        Path(snakemake.input.prediction),
        Path(snakemake.input.classes),
        Path(snakemake.input.objects),
        Path(snakemake.output.json),
        Path(snakemake.output.table),
        truth=open_truth(snakemake.params.truth, metadata=metadata),
        truth_objects=open_truth_objects(metadata),
        limits={name: Limit(**each) for name, each in snakemake.params.limits.items()},
    )
