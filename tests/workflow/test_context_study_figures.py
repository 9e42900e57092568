"""The target `figures`: a small study, from phantoms to the paper figure, twice the same."""

from pathlib import Path

import pytest
import yaml
from study_figures import drawn_twice

pytestmark = pytest.mark.workflow

SHIPPED = Path(__file__).parents[2] / "config" / "study.yaml"


def small_study():
    study = yaml.safe_load(SHIPPED.read_text())
    study["training"] |= {
        "samples": ["cell_seed1"],
        "validation": ["cell_seed2"],
        "steps": 2,
        "validate_every": 2,
        "batch_size": 1,
    }
    study["training"]["recipe"]["window"] = [1, 96, 96]
    study["training"]["recipe"]["network"] |= {"base_channels": 4, "max_channels": 8}
    return study | {"test": ["cell_seed3"], "ratios": [4], "seeds": [0]}


@pytest.fixture(scope="module")
def folder(make_project_folder, tmp_path_factory):
    project = make_project_folder(tmp_path_factory.mktemp("study"))
    project.config["phantoms"] = {"cell": {"shape": [48, 96, 96]}}
    project.config["study"] = "config/study.yaml"
    project.write()
    (project.path / "config/study.yaml").write_text(yaml.safe_dump(small_study()))
    return project.path


def test_every_model_is_trained_and_scored_and_features_are_shared(folder, planned):
    assert planned(folder, "figures") == {
        "make_phantom": 3,
        "resample_study_volume": 3,
        "extract_study_features": 3,
        "extract_study_context": 3,
        "train_study_model": 3,
        "score_model": 3,
        "plot_context_study": 1,
        "figures": 1,
    }


def test_the_figure_comes_out_and_comes_out_the_same_again(folder, snakemake):
    table = drawn_twice(folder, snakemake, "context_study")
    assert table["fusion"].unique().tolist() == ["none", "concat", "attention"]
    assert table["class"].nunique() == 3


def test_a_wrong_study_stops_before_any_job(folder, snakemake):
    file = folder / "config/study.yaml"
    content = file.read_text()
    try:
        file.write_text(content + "sedes: [1]\n")
        status, text = snakemake(folder, "--dry-run", "figures")
    finally:
        file.write_text(content)
    assert status != 0
    assert "study.yaml" in text
    assert "sedes is not a known key" in text
    assert "Traceback" not in text
