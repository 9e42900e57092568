"""Turn a heatmap into detections, and write it in the scan's own voxels."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.settings.postprocess import DetectionSettings
from parafovea.stages.detect_nodules import detect_nodules
from parafovea.storage.provenance import stated_time

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    triage = snakemake.params.triage
    detect_nodules(
        Path(snakemake.input.prediction),
        Path(snakemake.input.volume),
        snakemake.params.source,
        Path(snakemake.output.json),
        Path(snakemake.output.table),
        heatmap_output=Path(snakemake.output.heatmap),
        metadata=snakemake.params.metadata,
        scan_id=snakemake.wildcards.sample,
        timestamp=stated_time(),
        settings=DetectionSettings.model_validate(snakemake.params.detection),
        calibration=Path(triage["calibration"]) if triage["calibration"] else None,
        limits=triage["limits"],
    )
