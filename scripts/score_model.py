"""Score one model of the study on phantoms that it has not seen."""

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.inference.sample_inputs import ModelInputs
from parafovea.runtime.job import stage
from parafovea.stages.score_model import score_model
from parafovea.training.samples import TrainingSample

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    files = snakemake.input
    samples = [
        TrainingSample(
            inputs=ModelInputs(Path(volume), Path(features), Path(context) if context else None),
            **each,
        )
        for each, volume, features, context in zip_longest(
            snakemake.params.samples, files.volumes, files.features, files.contexts
        )
    ]
    score_model(
        Path(files.model),
        Path(snakemake.output.scores),
        samples=samples,
        facts=snakemake.params.facts,
    )
