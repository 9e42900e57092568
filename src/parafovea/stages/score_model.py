"""Score a model on whole volumes that it has not seen."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from parafovea.models.model_json import read_spec
from parafovea.quality.segmentation.comparison import prediction_confusion
from parafovea.quality.segmentation.overlap import overlap_metrics
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.infer_shard import infer_shard
from parafovea.storage.store import open_stored, replacing
from parafovea.training.samples import OpenSample, TrainingSample

#: Windows in one call of the network: those of a study are small, and quick only together.
BATCH = 16


def score_model(
    model: Path,
    output: Path,
    *,
    samples: Sequence[TrainingSample],
    facts: Mapping[str, str | int],
) -> None:
    """Predict volumes and write the scores of each class, all volumes together.

    Parameters
    ----------
    model : Path
        Model folder.
    output : Path
        TSV to write, a line for each class but the background: `facts`, class, iou, precision,
        recall.
    samples : sequence of TrainingSample
        Volumes with their features and truth.
    facts : mapping
        Columns that say which model this is.

    Raises
    ------
    ModelError
        If the model was made for other inputs.
    SourceError
        If a truth cannot be read or does not fit its volume.
    """
    spec = read_spec(model)
    settings = InferenceSettings(batch_size=BATCH)
    confusion = np.zeros((len(spec.classes),) * 2, dtype=np.int64)
    for sample in samples:
        truth = OpenSample(sample, spec).truth
        with tempfile.TemporaryDirectory(prefix="parafovea-") as folder:
            shard, prediction = Path(folder) / "shard.zarr", Path(folder) / "prediction.zarr"
            infer_shard(sample.inputs, model, shard, shard=1, settings=settings)
            blend_shards([shard], prediction)
            stored = open_stored(prediction)
            confusion += prediction_confusion(stored, truth, len(spec.classes))
    scores = overlap_metrics(confusion, spec.classes)
    rows = [
        {**facts, "class": name, **{m: scores[m, name] for m in ("iou", "precision", "recall")}}
        for name in spec.classes[1:]
    ]
    with replacing(output) as partial:
        pd.DataFrame(rows).to_csv(partial, sep="\t", index=False, float_format="%.6f")
