"""Predict a share of the tiles of a folder."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.predict_tiles import predict_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    predict_tiles(**call)
