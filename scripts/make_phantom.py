"""Make a phantom with its truth."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea_phantoms.make_phantom import make_phantom

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    make_phantom(**call)
