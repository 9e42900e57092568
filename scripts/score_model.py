"""Score a model of the context study on test phantoms."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.score_model import score_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    score_model(**call)
