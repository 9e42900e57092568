"""Sum the weighted predictions of one shard of windows."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.infer_shard import infer_shard

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    context = snakemake.input.context
    infer_shard(
        Path(snakemake.input.volume),
        Path(snakemake.input.features),
        Path(context) if context else None,
        Path(snakemake.output.shard),
        view_features=[Path(path) for path in snakemake.input.view_features],
        view_contexts=[Path(path) for path in snakemake.input.view_contexts],
        model=snakemake.params.model,
        shard=int(snakemake.wildcards.shard),
        settings=snakemake.params.settings,
        overrides=snakemake.params.overrides,
    )
