"""Sum the weighted predictions of one shard of windows."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.inference.inputs import ModelInputs
from parafovea.inference.settings import InferenceSettings
from parafovea.models.spec import Overrides
from parafovea.scripting import stage
from parafovea.stages.infer_shard import infer_shard

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    context = snakemake.input.context
    infer_shard(
        ModelInputs(
            Path(snakemake.input.volume),
            Path(snakemake.input.features),
            Path(context) if context else None,
        ),
        Path(snakemake.params.model),
        Path(snakemake.output.shard),
        shard=int(snakemake.wildcards.shard),
        settings=InferenceSettings(**snakemake.params.settings),
        overrides=Overrides(**snakemake.params.overrides),
    )
