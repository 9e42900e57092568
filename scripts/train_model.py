"""Train a model on samples whose features are ready."""

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.inference.sample_inputs import ModelInputs
from parafovea.runtime.job import stage
from parafovea.settings.training import TrainingSettings
from parafovea.stages.train_model import train_model
from parafovea.training.samples import TrainingSample

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    files = snakemake.input
    settings = TrainingSettings(**snakemake.params.settings)
    samples = [
        TrainingSample(
            inputs=ModelInputs(Path(volume), Path(features), Path(context) if context else None),
            folder=Path(),
            **each,
        )
        for each, volume, features, context in zip_longest(
            snakemake.params.samples, files.volumes, files.features, files.contexts
        )
    ]
    train_model(
        Path(snakemake.output.model),
        training=samples[: len(settings.samples)],
        validation=samples[len(settings.samples) :],
        settings=settings,
        name=snakemake.params.name,
        checkpoints=Path(snakemake.params.checkpoints),
    )
