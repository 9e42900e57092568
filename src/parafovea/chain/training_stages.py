"""The stage that trains a model on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parafovea.chain.stage import Output, Paths, Read, Stage, Wildcards
from parafovea.chain.volume_stages import extract_context, extract_features, resample_volume
from parafovea.storage import layout

if TYPE_CHECKING:
    from parafovea.config.project import Project

#: Stages of what a model learns from. Tiles are stacked to a volume for them.
LEARNED = (resample_volume, extract_features, extract_context)


def _samples(project: Project, wildcards: Wildcards) -> tuple[str, ...]:
    training = project.training(wildcards["model"])
    return training.samples + training.validation


def _stores(name: str, project: Project, wildcards: Wildcards) -> list[str]:
    return [f"{project.folder(sample)}/{name}" for sample in _samples(project, wildcards)]


def _volumes(project: Project, wildcards: Wildcards) -> Paths:
    return _stores(layout.VOLUME, project, wildcards)


def _features(project: Project, wildcards: Wildcards) -> Paths:
    return _stores(layout.FEATURES, project, wildcards)


def _contexts(project: Project, wildcards: Wildcards) -> Paths:
    if project.training(wildcards["model"]).recipe.context is None:
        return None
    return _stores(layout.CONTEXT, project, wildcards)


def _truths(project: Project, wildcards: Wildcards) -> list[str]:
    return [
        file for sample in _samples(project, wildcards) for file in project.files(sample)["truth"]
    ]


def _waits(project: Project, wildcards: Wildcards) -> list[str]:
    return [*_first_model(project, wildcards), *_truths(project, wildcards)]


def _first_model(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the model that the training starts from: a folder trained here, or its files."""
    start = project.training(wildcards["model"]).start
    if start is None:
        return []
    if start in project.trained:
        return [start]
    return [f"{start}/model.json", f"{start}/model.safetensors"]


def _reads(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    samples = _samples(project, wildcards)
    return [(project.truth(each), project.reads_bands(each)) for each in samples]


def _training(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    model = wildcards["model"]
    training = project.training(model)
    return {
        "name": Path(model).name,
        "checkpoints": f"{project.settings.results}/{layout.TRAINING}/{project.trained[model]}",
        "settings": training.model_dump(mode="json"),
        "samples": [
            {
                "name": sample,
                "truth": project.truth(sample),
                "metadata": project.samples[sample].metadata,
            }
            for sample in _samples(project, wildcards)
        ],
        "objective": project.kind_of_recipe(training.recipe).objective,
    }


train_model = Stage(
    name="train_model",
    inputs={"volumes": _volumes, "features": _features, "contexts": _contexts},
    waits=_waits,
    # the folder that a task names as its model
    outputs={"model": Output("{model}", folder=True, placed=True)},
    sized_by="training",
    arguments=_training,
    reads=_reads,
    references=("objective",),
    extra="train",
    device="gpu",
)
