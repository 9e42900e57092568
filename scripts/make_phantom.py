"""Make a phantom with its truth."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea_phantoms.make_phantom import make_phantom

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    make_phantom(
        Path(snakemake.output.volume),
        Path(snakemake.output.truth),
        Path(snakemake.output.objects),
        kind=snakemake.params.kind,
        seed=int(snakemake.params.seed),
        shape=tuple(snakemake.params.shape),
        spacing=tuple(snakemake.params.spacing),
        unit=snakemake.params.unit,
        regions=snakemake.output.get("regions"),
        nodules=snakemake.output.get("nodules"),
    )
