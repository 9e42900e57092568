"""The context study: models that differ in their context, and in nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from parafovea.config.context_study import ContextStudySettings
from parafovea.config.loading import read_study
from parafovea.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config" / "study.yaml"


def values(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(SHIPPED.read_text()), **changes}


def detection() -> dict[str, Any]:
    training: dict[str, Any] = values()["training"]
    recipe = {**training["recipe"], "kind": "detection", "classes": ["nodule"]}
    return {**training, "recipe": recipe}


def test_the_shipped_study_compares_fusions_at_one_spacing_and_spacings_of_one_fusion() -> None:
    study = read_study(SHIPPED)
    names = ["none", "concat4", "attention2", "attention4", "attention8"]
    assert [variant.name for variant in study.variants] == names
    assert len(study.seeds) == 3
    assert not {*study.test} & {*study.training.samples, *study.training.validation}


def test_models_differ_in_fusion_context_and_seed_only() -> None:
    study = ContextStudySettings.model_validate(values())
    dumps = {}
    for variant in study.variants:
        training = study.training_of(variant, 2)
        assert training.seed == 2
        spacing = None if training.recipe.context is None else training.recipe.context.spacing
        ratio = int(variant.facts["ratio"])
        assert spacing == (None if ratio == 1 else (16 * ratio, 16 * ratio, 16 * ratio))
        assert training.recipe.network.fusion == variant.facts["fusion"]
        dump = training.model_dump(mode="json")
        del dump["recipe"]["context"], dump["recipe"]["network"]["fusion"]
        dumps[variant.name] = str(dump)
    assert len(set(dumps.values())) == 1


def test_recipes_of_all_variants_are_valid_recipes() -> None:
    study = ContextStudySettings.model_validate(values())
    for variant in study.variants:
        training = study.training_of(variant, 0)
        assert type(training).model_validate(training.model_dump(mode="json")) == training


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ratio": 3}, "ratio 3 must be one of ratios"),
        ({"training": detection()}, "IoU of classes, which a detection does not predict"),
        ({"test": ["cell_seed201"]}, "cell_seed201 cannot be used for both training and test"),
        ({"test": ["../cell"]}, "is not a phantom"),
        ({"ratios": [1]}, "greater than or equal to 2"),
    ],
)
def test_impossible_studies_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        ContextStudySettings.model_validate(values(**changes))


def test_a_wrong_key_is_named_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(values(sedes=[1])))
    with pytest.raises(ConfigError, match=r"study\.yaml:\d+: sedes is not a known key"):
        read_study(file)
    with pytest.raises(ConfigError, match="does not exist"):
        read_study(tmp_path / "none.yaml")
