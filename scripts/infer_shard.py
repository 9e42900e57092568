"""Sum the weighted predictions of one shard of windows."""

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.inference.sample_inputs import ModelInputs
from parafovea.runtime.job import stage
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Overrides
from parafovea.stages.infer_shard import infer_shard

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    volume, context = Path(snakemake.input.volume), snakemake.input.context
    settings = InferenceSettings(**snakemake.params.settings)
    views = zip_longest(snakemake.input.view_features, snakemake.input.view_contexts, settings.tta)
    infer_shard(
        ModelInputs(volume, Path(snakemake.input.features), Path(context) if context else None),
        Path(snakemake.params.model),
        Path(snakemake.output.shard),
        shard=int(snakemake.wildcards.shard),
        settings=settings,
        overrides=Overrides(**snakemake.params.overrides),
        views=[
            ModelInputs(volume, Path(features), Path(wide) if wide else None, name)
            for features, wide, name in views
        ],
    )
