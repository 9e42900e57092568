"""Stages of a study: models that differ in one respect, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from parafovea.chain import training_stages, volume_stages
from parafovea.chain.cohort_stages import paper_figures
from parafovea.chain.stage import Caption, Output, Paths, Place, Read, Stage, Wildcards
from parafovea.storage import layout

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.config.study import Variant
    from parafovea.settings.recipe import TrainingRecipe

#: The members of a study that a stage reads.
Members = Callable[["Project"], Sequence[str]]

MEMBER = f"{layout.STUDY}/{{member}}"
MODEL = f"{layout.STUDY}/models/{{variant}}_seed{{seed}}"
SCORES = f"{layout.STUDY}/scores/{{variant}}_seed{{seed}}.tsv"


class Member(NamedTuple):
    """A sample that a study learns from or is scored on: a phantom, or a line of the sheet."""

    source: str
    truth: str
    metadata: str
    bands: bool
    waits: Sequence[str]
    truth_waits: Sequence[str]


def _member(project: Project, name: str) -> Member:
    if project.studied.on_phantoms:
        source = f"{project.settings.results}/{layout.PHANTOMS}/{name}.ome.zarr"
        truth = f"{project.settings.results}/{layout.PHANTOMS}/{name}_truth.ome.zarr"
        return Member(source, truth, "", False, [source], [truth])
    files = project.files(name)
    return Member(
        project.source(name),
        project.truth(name) or "",
        project.samples[name].metadata,
        project.reads_bands(name),
        volume_stages.source_waits(project, {"sample": name}),
        files["truth"],
    )


def _source(project: Project, wildcards: Wildcards) -> Sequence[str]:
    return _member(project, wildcards["member"]).waits


def _resampling(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    member = _member(project, wildcards["member"])
    arguments = {
        "source": member.source,
        **volume_stages.resampling_of(project.studied.training.recipe, bands=member.bands),
    }
    return {**arguments, "metadata": member.metadata} if member.metadata else arguments


def _reads(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    member = _member(project, wildcards["member"])
    return [(member.source, member.bands)]


resample_study_volume = replace(
    volume_stages.resample_volume,
    name="resample_study_volume",
    function="resample_volume",
    step="",
    waits=_source,
    outputs={"volume": Output(f"{MEMBER}/{layout.VOLUME}", folder=True)},
    sized_by="study",
    arguments=_resampling,
    reads=_reads,
)


def _local_recipe(project: Project, wildcards: Wildcards) -> TrainingRecipe:
    return project.studied.recipe_of_view(wildcards["view"])


def _wide_recipe(project: Project, wildcards: Wildcards) -> TrainingRecipe:
    return project.studied.recipe_of_view(wildcards["view"], context=True)


def _features(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return volume_stages.extraction_of(_local_recipe(project, wildcards))


def _weights(project: Project, wildcards: Wildcards) -> list[str]:
    return project.weights_of(_local_recipe(project, wildcards).backbone)


extract_study_features = replace(
    volume_stages.extract_features,
    name="extract_study_features",
    function="extract_features",
    step="",
    inputs={"volume": f"{MEMBER}/{layout.VOLUME}"},
    waits=_weights,
    outputs={"features": Output(f"{MEMBER}/features_{{view}}.zarr", folder=True, temporary=True)},
    sized_by="study",
    arguments=_features,
)


def _context(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return volume_stages.extraction_of(_wide_recipe(project, wildcards), context=True)


def _context_weights(project: Project, wildcards: Wildcards) -> list[str]:
    context = _wide_recipe(project, wildcards).context
    return [] if context is None else project.weights_of(context.backbone)


extract_study_context = replace(
    extract_study_features,
    name="extract_study_context",
    waits=_context_weights,
    outputs={"features": Output(f"{MEMBER}/context_{{view}}.zarr", folder=True, temporary=True)},
    arguments=_context,
)


def _variant(project: Project, wildcards: Wildcards) -> Variant:
    return project.studied.variant(wildcards["variant"])


def _learned(project: Project) -> Sequence[str]:
    training = project.studied.training
    return (*training.samples, *training.validation)


def _tested(project: Project) -> Sequence[str]:
    return project.studied.test


def _stores(members: Members) -> dict[str, Place]:
    """Return the inputs of a stage that reads the stores of some members for one model."""

    def volumes(project: Project, wildcards: Wildcards) -> Paths:
        return _places(project, members, layout.VOLUME)

    def features(project: Project, wildcards: Wildcards) -> Paths:
        view = _variant(project, wildcards).features
        return _places(project, members, f"features_{view}.zarr")

    def contexts(project: Project, wildcards: Wildcards) -> Paths:
        view = _variant(project, wildcards).context
        return _places(project, members, f"context_{view}.zarr") if view else None

    return {"volumes": volumes, "features": features, "contexts": contexts}


def _places(project: Project, members: Members, name: str) -> list[str]:
    folder = f"{project.settings.results}/{layout.STUDY}"
    return [f"{folder}/{member}/{name}" for member in members(project)]


def _truths(members: Members) -> Callable[[Project, Wildcards], list[str]]:
    def waits(project: Project, wildcards: Wildcards) -> list[str]:
        return [file for name in members(project) for file in _member(project, name).truth_waits]

    return waits


def _truth_reads(members: Members) -> Callable[[Project, Wildcards], Sequence[Read]]:
    def reads(project: Project, wildcards: Wildcards) -> Sequence[Read]:
        known = [_member(project, name) for name in members(project)]
        return [(member.truth, member.bands) for member in known]

    return reads


def _samples(project: Project, members: Members) -> list[dict[str, str]]:
    return [
        {"name": name, "truth": member.truth, "metadata": member.metadata}
        for name, member in ((name, _member(project, name)) for name in members(project))
    ]


def _training(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    study, variant = project.studied, _variant(project, wildcards)
    name = f"{variant.name}_seed{wildcards['seed']}"
    settings = study.training_of(variant, int(wildcards["seed"]))
    return {
        "name": name,
        "checkpoints": f"{project.settings.results}/{layout.TRAINING}/study_{name}",
        "settings": settings.model_dump(mode="json"),
        "samples": _samples(project, _learned),
        "objective": project.kind_of_recipe(variant.recipe).objective,
    }


train_study_model = replace(
    training_stages.train_model,
    name="train_study_model",
    function="train_model",
    inputs=_stores(_learned),
    waits=_truths(_learned),
    reads=_truth_reads(_learned),
    outputs={"model": Output(MODEL, folder=True)},
    arguments=_training,
)


def _scoring(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    variant = _variant(project, wildcards)
    return {
        "samples": _samples(project, _tested),
        "facts": {**variant.facts, "seed": int(wildcards["seed"])},
        "objective": project.kind_of_recipe(variant.recipe).objective,
    }


score_model = Stage(
    name="score_model",
    inputs={"model": MODEL, **_stores(_tested)},
    waits=_truths(_tested),
    reads=_truth_reads(_tested),
    outputs={"scores": Output(SCORES)},
    sized_by="study",
    arguments=_scoring,
    references=("objective",),
    device="gpu",
)


def _all_scores(project: Project, wildcards: Wildcards) -> Paths:
    study = project.studied
    return [
        f"{project.settings.results}/{SCORES.format(variant=variant.name, seed=seed)}"
        for variant in study.variants
        for seed in study.seeds
    ]


def _drawn(name: str, content: str) -> dict[str, Output]:
    """Return the table and the figure of a study."""
    table, figure = (Caption(name, "Figures", text) for text in (f"{content}, means", content))
    scores = Caption(name, "Figures", f"{content}, scores of all models")
    return {
        "table": Output(f"{layout.PAPER_FIGURES}/{name}.tsv", caption=table),
        "lines": Output(f"{layout.PAPER_FIGURES}/{name}_scores.tsv", caption=scores),
        **{
            suffix: Output(f"{layout.PAPER_FIGURES}/{name}.{suffix}", caption=figure)
            for suffix in ("svg", "pdf", "png")
        },
    }


def _plotting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return project.studied.drawing


plot_context_study = Stage(
    name="plot_context_study",
    inputs={"scores": _all_scores, "style": paper_figures},
    outputs=_drawn("context_study", "context study"),
    sized_by="cohort",
    arguments=_plotting,
)

plot_feature_study = Stage(
    name="plot_feature_study",
    inputs={"scores": _all_scores, "style": paper_figures},
    outputs=_drawn("feature_study", "feature study"),
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
    plot_feature_study,
)
