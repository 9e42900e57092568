"""Compute the features of one view, local or context."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.extract_features import extract_features

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    extract_features(
        Path(snakemake.input.volume),
        Path(snakemake.output.features),
        spacing=snakemake.params.spacing,
        backbone=snakemake.params.backbone,
        dimensions=snakemake.params.dimensions,
        augmentation=snakemake.params.augmentation,
        concentric_window=snakemake.params.concentric_window,
    )
