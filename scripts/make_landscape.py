"""Make a phantom landscape with its truth."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea_phantoms.make_landscape import make_landscape

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    make_landscape(
        Path(snakemake.output.tiles),
        Path(snakemake.output.truth),
        Path(snakemake.output.classes),
        Path(snakemake.output.radar),
        kind=snakemake.params.kind,
        seed=int(snakemake.params.seed),
        tiles_of_size=snakemake.params.tiles,
        sizes=snakemake.params.sizes,
        pixel_size=snakemake.params.pixel_size,
    )
