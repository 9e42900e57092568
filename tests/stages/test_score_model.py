"""A model's score on whole volumes is that of the workflow's own prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from tiny_sample import infer, tiny_model, tiny_recipe
from tiny_training import objective_of, training_sample

from parafovea.errors import ModelError
from parafovea.models.model_json import read_spec
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.score_model import score_model
from parafovea.storage.store import open_stored
from parafovea.training.samples import TrainingSample

FACTS = {"fusion": "attention", "ratio": 2, "seed": 7}


def score(model: Path, samples: list[TrainingSample], output: Path) -> None:
    score_model(
        model,
        [sample.inputs.volume for sample in samples],
        [sample.inputs.features for sample in samples],
        [sample.inputs.context for sample in samples if sample.inputs.context is not None],
        scores=output,
        samples=[{"name": s.name, "truth": s.truth, "metadata": s.metadata} for s in samples],
        facts=FACTS,
        objective=objective_of(read_spec(model)),
    )


def test_scores_are_those_of_both_volumes_together(tmp_path: Path) -> None:
    recipe = tiny_recipe(window=(16, 16, 16))
    samples = [
        training_sample(tmp_path / name, recipe, shape)
        for name, shape in (("a", (20, 24, 40)), ("b", (16, 40, 20)))
    ]
    model = tiny_model(tmp_path / "model", recipe)
    score(model, samples, tmp_path / "scores.tsv")
    found, truth = [], []
    for sample in samples:
        shard, prediction = tmp_path / f"{sample.name}.zarr", tmp_path / f"{sample.name}_p.zarr"
        infer(sample.inputs, model, shard, shard=1, settings=InferenceSettings())
        blend_shards([shard], prediction)
        found.append(open_stored(prediction).read().argmax(axis=0).ravel())
        truth.append(tifffile.imread(sample.truth).ravel())
    classes, wanted = np.concatenate(found), np.concatenate(truth)
    table = pd.read_csv(tmp_path / "scores.tsv", sep="\t")
    assert list(table.columns) == [*FACTS, "metric", "value"]
    assert (table["seed"] == 7).all()
    scores = dict(zip(table["metric"], table["value"], strict=True))
    assert {"iou.dark", "iou.bright", "precision.dark", "recall.bright"} <= set(scores)
    # neither of the background nor of all classes together
    assert {name.partition(".")[2] for name in scores} == {"dark", "bright"}
    for index, name in enumerate(("dark", "bright"), start=1):
        both = ((classes == index) & (wanted == index)).sum()
        either = ((classes == index) | (wanted == index)).sum()
        assert scores[f"iou.{name}"] == pytest.approx(both / either, abs=1e-6)


def test_features_of_another_view_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = tiny_recipe(window=(16, 16, 16))
    sample = training_sample(tmp_path / "a", recipe, (20, 24, 40))
    other = tiny_model(tmp_path / "model", tiny_recipe(window=(16, 16, 16), context=False))
    with pytest.raises(ModelError, match="context"):
        score(other, [sample], tmp_path / "scores.tsv")
    assert not (tmp_path / "scores.tsv").exists()
