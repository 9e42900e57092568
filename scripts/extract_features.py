"""Compute the features of one view, local or context."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.extract_features import extract_features

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    extract_features(**call)
