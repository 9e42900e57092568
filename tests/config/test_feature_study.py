"""A feature study: models that differ in their features, on samples of the sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from parafovea.config.feature_study import FeatureStudySettings
from parafovea.config.loading import read_study
from parafovea.config.sheet import Sample

CONFIG = Path(__file__).parents[2] / "config"
SHIPPED = ("study_em_features.yaml", "study_tile_features.yaml")


def values(**changes: Any) -> dict[str, Any]:
    content = yaml.safe_load((CONFIG / SHIPPED[0]).read_text())
    del content["features"]["pretrained"]
    return {**content, **changes}


def sheet(*names: str, truth: str | None = "truth.tif") -> dict[str, Sample]:
    return {name: Sample(name, "vnc", "raw.tif", truth, "", None, 2) for name in names}


MEMBERS = ("slices_00_06", "slice_06", "slices_07_08")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_studies_compare_three_kinds_of_features_over_three_seeds(name: str) -> None:
    study = read_study(CONFIG / name)
    assert [variant.name for variant in study.variants] == [
        *("raw", "raw_context"),
        *("filterbank", "filterbank_context"),
        *("pretrained", "pretrained_context"),
    ]
    assert study.seeds == (0, 1, 2)
    assert not {*study.test} & {*study.training.samples, *study.training.validation}


def test_models_differ_in_features_context_and_seed_only() -> None:
    study = FeatureStudySettings.model_validate(values())
    dumps = set()
    for variant in study.variants:
        training = study.training_of(variant, 1)
        assert type(training).model_validate(training.model_dump(mode="json")) == training
        recipe = training.recipe
        choice = study.features[variant.features]
        assert (recipe.backbone, recipe.raw_input) == (choice.backbone, choice.raw_input)
        wide = variant.facts["context"] != "none"
        assert (recipe.context is not None) == wide == variant.name.endswith("_context")
        if recipe.context is not None:
            assert recipe.context.backbone == choice.backbone
            assert recipe.context.spacing == study.training.recipe.context.spacing
        dump = training.model_dump(mode="json")
        for key in ("context", "backbone", "raw_input"):
            del dump["recipe"][key]
        del dump["recipe"]["network"]["fusion"]
        dumps.add(str(dump))
    assert len(dumps) == 1


def test_variants_of_one_kind_of_features_share_them() -> None:
    study = FeatureStudySettings.model_validate(values())
    assert {variant.features for variant in study.variants} == {"raw", "filterbank"}
    assert study.recipe_of_view("raw").backbone.name == "raw"
    wide = study.recipe_of_view("filterbank", context=True).context
    assert wide is not None
    assert wide.backbone.name == "filterbank"


def test_members_have_to_be_in_the_sheet_with_a_truth() -> None:
    study = FeatureStudySettings.model_validate(values())
    assert study.problems(sheet(*MEMBERS)) == []
    assert study.problems(sheet(*MEMBERS[:2])) == [
        "sample 'slices_07_08' is not in the sheet: add its line"
    ]
    found = study.problems({**sheet(*MEMBERS[:2]), **sheet(MEMBERS[2], truth=None)})
    assert found == ["sample 'slices_07_08' has no truth: a study learns from it or scores it"]


def test_a_backbone_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    missing = {"name": "network", "arguments": {"weights": str(tmp_path / "none")}}
    features = {**values()["features"], "pretrained": {"backbone": missing}}
    study = FeatureStudySettings.model_validate(values(features=features))
    (problem,) = study.problems(sheet(*MEMBERS))
    assert problem.startswith("features.pretrained: ")
    assert str(tmp_path / "none") in problem


def test_features_that_do_not_fit_the_recipe_are_named() -> None:
    content = yaml.safe_load((CONFIG / SHIPPED[1]).read_text())
    choice = {"backbone": {"name": "raw"}, "raw_input": False}
    study = FeatureStudySettings.model_validate({**content, "features": {"bands": choice}})
    (problem,) = study.problems(sheet("train", "watch", "test"))
    assert problem.startswith("features.bands: ")
    assert "a residual is added to the input: set raw_input: true" in problem
    assert "pydantic" not in problem


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"features": {}}, "at least 1"),
        ({"features": {"../x": {"backbone": {"name": "raw"}}}}, "match pattern"),
        ({"test": ["slice_06"]}, "slice_06 cannot be used for both training and test"),
        ({"metrics": []}, "at least 1"),
    ],
)
def test_impossible_studies_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        FeatureStudySettings.model_validate(values(**changes))
