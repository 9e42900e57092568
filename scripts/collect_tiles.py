"""Join the ledgers of a folder of tiles."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.collect_tiles import collect_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    collect_tiles(
        [Path(ledger) for ledger in snakemake.input.ledgers],
        Path(snakemake.output.tiles),
        Path(snakemake.output.quarantine),
        strict=snakemake.params.strict,
    )
