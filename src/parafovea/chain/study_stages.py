"""Stages of the context study: models that differ only in their context, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parafovea.chain import training_stages, volume_stages
from parafovea.chain.cohort_stages import paper_figures
from parafovea.chain.stage import Caption, Output, Paths, Read, Stage, Wildcards
from parafovea.storage import layout

if TYPE_CHECKING:
    from parafovea.config.project import Project

SAMPLE = f"{layout.STUDY}/{{phantom}}"
MODEL = f"{layout.STUDY}/models/{{variant}}_seed{{seed}}"
SCORES = f"{layout.STUDY}/scores/{{variant}}_seed{{seed}}.tsv"


def _phantom(project: Project, wildcards: Wildcards) -> str:
    return f"{project.settings.results}/{layout.PHANTOMS}/{wildcards['phantom']}.ome.zarr"


def _source(project: Project, wildcards: Wildcards) -> list[str]:
    return [_phantom(project, wildcards)]


def _resampling(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    recipe = project.studied.training.recipe
    return {
        "source": _phantom(project, wildcards),
        **volume_stages.resampling_of(recipe, bands=recipe.is_image),
    }


def _reads(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    return [(_phantom(project, wildcards), False)]


resample_study_volume = replace(
    volume_stages.resample_volume,
    name="resample_study_volume",
    function="resample_volume",
    step="",
    waits=_source,
    outputs={"volume": Output(f"{SAMPLE}/{layout.VOLUME}", folder=True)},
    sized_by="study",
    arguments=_resampling,
    reads=_reads,
)


def _features(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return volume_stages.extraction_of(project.studied.training.recipe)


extract_study_features = replace(
    volume_stages.extract_features,
    name="extract_study_features",
    function="extract_features",
    step="",
    inputs={"volume": f"{SAMPLE}/{layout.VOLUME}"},
    waits=lambda project, wildcards: project.weights_of(project.studied.training.recipe.backbone),
    outputs={"features": Output(f"{SAMPLE}/{layout.FEATURES}", folder=True, temporary=True)},
    sized_by="study",
    arguments=_features,
)


def _context(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    study = project.studied
    arguments = volume_stages.extraction_of(study.training.recipe, context=True)
    return {**arguments, "spacing": list(study.context_spacing(int(wildcards["ratio"])))}


def _context_weights(project: Project, wildcards: Wildcards) -> list[str]:
    context = project.studied.training.recipe.context
    return [] if context is None else project.weights_of(context.backbone)


extract_study_context = replace(
    extract_study_features,
    name="extract_study_context",
    waits=_context_weights,
    outputs={"features": Output(f"{SAMPLE}/context_{{ratio}}.zarr", folder=True, temporary=True)},
    arguments=_context,
)


def _facts(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    seed = int(wildcards["seed"])
    plan: dict[str, Any] = project.studied.plan(
        wildcards["variant"], seed, project.settings.results
    )
    return plan


def _files(part: str, name: str) -> Any:
    """Return the place of the stores of one group of the study's samples."""

    def place(project: Project, wildcards: Wildcards) -> Paths:
        paths: Paths = _facts(project, wildcards)[part][name]
        return paths

    return place


def _truths(part: str) -> Any:
    def waits(project: Project, wildcards: Wildcards) -> list[str]:
        files: list[str] = _facts(project, wildcards)[part]["truths"]
        return files

    return waits


def _truth_reads(part: str) -> Any:
    def reads(project: Project, wildcards: Wildcards) -> Sequence[Read]:
        return [(truth, False) for truth in _facts(project, wildcards)[part]["truths"]]

    return reads


def _training(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    facts = _facts(project, wildcards)
    name = f"{wildcards['variant']}_seed{wildcards['seed']}"
    recipe = project.studied.training.recipe
    return {
        "name": name,
        "checkpoints": f"{project.settings.results}/{layout.TRAINING}/study_{name}",
        "settings": facts["settings"],
        "samples": facts["training"]["samples"],
        "objective": project.kind_of_recipe(recipe).objective,
    }


train_study_model = replace(
    training_stages.train_model,
    name="train_study_model",
    function="train_model",
    inputs={name: _files("training", name) for name in ("volumes", "features", "contexts")},
    waits=_truths("training"),
    reads=_truth_reads("training"),
    outputs={"model": Output(MODEL, folder=True)},
    arguments=_training,
)


def _scoring(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    facts = _facts(project, wildcards)
    recipe = project.studied.training.recipe
    return {
        "samples": facts["test"]["samples"],
        "facts": facts["facts"],
        "objective": project.kind_of_recipe(recipe).objective,
    }


score_model = Stage(
    name="score_model",
    inputs={
        "model": MODEL,
        **{name: _files("test", name) for name in ("volumes", "features", "contexts")},
    },
    waits=_truths("test"),
    reads=_truth_reads("test"),
    outputs={"scores": Output(SCORES)},
    sized_by="study",
    arguments=_scoring,
    references=("objective",),
    device="gpu",
)


def _all_scores(project: Project, wildcards: Wildcards) -> Paths:
    study = project.studied
    return [
        f"{project.settings.results}/{SCORES.format(variant=variant, seed=seed)}"
        for variant in study.variants
        for seed in study.seeds
    ]


def _plotting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return {"ratio": project.studied.ratio}


_CAPTION = Caption("context_study", "Figures", "context study")

plot_context_study = Stage(
    name="plot_context_study",
    inputs={"scores": _all_scores, "style": paper_figures},
    outputs={
        "table": Output(
            f"{layout.STUDY_FIGURE}.tsv",
            caption=Caption("context_study", "Figures", "context study, means and spread"),
        ),
        **{
            suffix: Output(f"{layout.STUDY_FIGURE}.{suffix}", caption=_CAPTION)
            for suffix in ("svg", "pdf", "png")
        },
    },
    sized_by="cohort",
    arguments=_plotting,
)

STAGES = (
    resample_study_volume,
    extract_study_features,
    extract_study_context,
    train_study_model,
    score_model,
    plot_context_study,
)
