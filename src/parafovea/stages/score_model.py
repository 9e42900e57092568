"""Score a model on whole volumes that it has not seen."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from parafovea.errors import ModelError
from parafovea.models.model_json import read_spec
from parafovea.quality.segmentation.comparison import prediction_confusion
from parafovea.quality.segmentation.overlap import overlap_metrics
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.infer_shard import infer_shard
from parafovea.storage.store import open_stored, replacing
from parafovea.training.class_truth import ClassTruth
from parafovea.training.samples import OpenSample, training_samples

#: Windows in one call of the network: those of a study are small, and quick only together.
BATCH = 16


def score_model(
    model: Path,
    volumes: Sequence[Path],
    features: Sequence[Path],
    contexts: Sequence[Path],
    scores: Path,
    *,
    samples: Sequence[Mapping[str, str]],
    facts: Mapping[str, str | int],
) -> None:
    """Predict volumes and write the scores of each class, all volumes together.

    Parameters
    ----------
    model : Path
        Model folder.
    volumes, features, contexts : sequence of Path
        The volumes, their features and, where the model sees context, theirs.
    scores : Path
        TSV to write, a line for each class but the background: `facts`, class, iou, precision,
        recall.
    samples : sequence of mapping
        The name, truth and `metadata` of each volume.
    facts : mapping
        Columns that say which model this is.

    Raises
    ------
    ModelError
        If the model was made for other inputs, or predicts no classes.
    SourceError
        If a truth cannot be read or does not fit its volume.
    """
    spec = read_spec(model)
    settings = InferenceSettings(batch_size=BATCH)
    confusion = np.zeros((len(spec.classes),) * 2, dtype=np.int64)
    for sample in training_samples(samples, volumes, features, contexts):
        truth = OpenSample(sample, spec).truth
        if not isinstance(truth, ClassTruth):
            raise ModelError(f"{model} predicts no classes: score a segmentation")
        with tempfile.TemporaryDirectory(prefix="parafovea-") as folder:
            sums, prediction = Path(folder) / "shard.zarr", Path(folder) / "prediction.zarr"
            seen = sample.inputs
            infer_shard(
                seen.volume,
                seen.features,
                seen.context,
                sums,
                model=model,
                shard=1,
                settings=settings,
            )
            blend_shards([sums], prediction)
            stored = open_stored(prediction)
            confusion += prediction_confusion(stored, truth.sampled, len(spec.classes))
    found = overlap_metrics(confusion, spec.classes)
    rows = [
        {**facts, "class": name, **{m: found[m, name] for m in ("iou", "precision", "recall")}}
        for name in spec.classes[1:]
    ]
    with replacing(scores) as partial:
        pd.DataFrame(rows).to_csv(partial, sep="\t", index=False, float_format="%.6f")
