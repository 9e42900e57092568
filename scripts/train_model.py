"""Train a model on samples whose features are ready."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.train_model import train_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    train_model(
        [Path(path) for path in snakemake.input.volumes],
        [Path(path) for path in snakemake.input.features],
        [Path(path) for path in snakemake.input.contexts],
        Path(snakemake.output.model),
        name=snakemake.params.name,
        samples=snakemake.params.samples,
        settings=snakemake.params.settings,
        checkpoints=snakemake.params.checkpoints,
    )
