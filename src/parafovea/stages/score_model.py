"""Stage score_model: scores of a model on whole test volumes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from parafovea.kinds.reference import resolve
from parafovea.models.model_json import read_spec
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.infer_shard import infer_shard
from parafovea.storage.store import open_stored, replacing
from parafovea.training.objectives.objective import Objective
from parafovea.training.samples import OpenSample, training_samples

#: Windows per forward pass: the small windows of a study are efficient only in batches.
BATCH = 16


def score_model(
    model: Path,
    volumes: Sequence[Path],
    features: Sequence[Path],
    contexts: Sequence[Path] = (),
    *,
    scores: Path,
    samples: Sequence[Mapping[str, str]],
    facts: Mapping[str, str | int],
    objective: str,
) -> None:
    """Predict volumes and write the scores of a model over all of them.

    Parameters
    ----------
    model : Path
        Model folder.
    volumes, features, contexts : sequence of Path
        Volumes, features and, if the model uses context, context features of the samples.
    scores : Path
        TSV to write, with a line for each score of the objective, except those of the background
        and of all classes together: `facts`, metric, value; empty where it is not defined.
    samples : sequence of mapping
        `name`, `truth` and `metadata` of each volume.
    facts : mapping
        Columns that identify the model.
    objective : str
        Training objective, which scores the model: "package.module:name" of an `Objective`.

    Raises
    ------
    ModelError
        If the model does not fit the inputs.
    SourceError
        If a truth cannot be read or does not fit its volume.
    """
    spec = read_spec(model)
    settings = InferenceSettings(batch_size=BATCH)
    learned: type[Objective] = resolve(objective)
    truths, predictions = {}, []
    with tempfile.TemporaryDirectory(prefix="parafovea-") as folder:
        for sample in training_samples(samples, volumes, features, contexts):
            truths[sample.name] = OpenSample(sample, spec, learned).truth
            sums, prediction = (
                Path(folder) / f"{sample.name}.{end}" for end in ("sums.zarr", "prediction.zarr")
            )
            seen = sample.inputs
            infer_shard(
                seen.volume,
                seen.features,
                seen.context,
                sums=sums,
                model=model,
                shard=1,
                settings=settings,
            )
            blend_shards([sums], prediction)
            shutil.rmtree(sums)
            predictions.append(open_stored(prediction))
        found = learned(spec, truths).volume_scores(predictions)
    rows = [
        {**facts, "metric": name, "value": value}
        for name, value in found.items()
        if name.partition(".")[2] in ("", *spec.objects)
    ]
    with replacing(scores) as partial:
        pd.DataFrame(rows).to_csv(partial, sep="\t", index=False, float_format="%.6f")
