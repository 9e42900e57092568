"""Make a phantom landscape with its truth."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea_phantoms.make_landscape import make_landscape

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    make_landscape(**call)
