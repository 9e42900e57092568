"""Train a model on cached features."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.train_model import train_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    train_model(**call)
