"""Score one model of the study on phantoms that it has not seen."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.score_model import score_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    score_model(
        Path(snakemake.input.model),
        [Path(path) for path in snakemake.input.volumes],
        [Path(path) for path in snakemake.input.features],
        [Path(path) for path in snakemake.input.contexts],
        Path(snakemake.output.scores),
        samples=snakemake.params.samples,
        facts=snakemake.params.facts,
    )
