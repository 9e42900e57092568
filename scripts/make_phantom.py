"""Make a phantom with its truth."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea_phantoms.make_phantom import make_phantom

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    regions, nodules = (snakemake.output.get(name) for name in ("regions", "nodules"))
    make_phantom(
        Path(snakemake.output.volume),
        Path(snakemake.output.truth),
        Path(snakemake.output.objects),
        None if regions is None else Path(regions),
        None if nodules is None else Path(nodules),
        kind=snakemake.params.kind,
        seed=int(snakemake.params.seed),
        shape=snakemake.params.shape,
        spacing=snakemake.params.spacing,
        unit=snakemake.params.unit,
    )
