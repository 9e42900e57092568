"""The target `figures` of a feature study: samples of the sheet, twice the same figure."""

import numpy as np
import pytest
import tifffile
import yaml
from study_figures import drawn_twice

pytestmark = pytest.mark.workflow

RECIPE = {
    "unit": "nanometer",
    "spacing": [50, 9, 9],
    "normalization": {"method": "percentile"},
    "context": {"spacing": [50, 18, 18]},
    "network": {"dimensions": 2, "base_channels": 4, "max_channels": 8, "fusion": "attention"},
    "classes": ["background", "disc"],
    "window": [1, 64, 64],
}


@pytest.fixture(scope="module")
def folder(make_project_folder, tmp_path_factory):
    project = make_project_folder(tmp_path_factory.mktemp("features"))
    random = np.random.default_rng(0)
    y, x = np.indices((96, 96))
    metadata = "spacing=50,9,9 unit=nanometer"
    for number, name in enumerate(("first", "second", "third")):
        discs = np.zeros((2, 96, 96), np.uint8)
        for plane in discs:
            at = random.integers(20, 76, 2)
            plane[(y - at[0]) ** 2 + (x - at[1]) ** 2 < 200 + 50 * number] = 1
        noisy = 90 + 60 * discs + random.normal(0, 8, discs.shape)
        tifffile.imwrite(project.path / f"data/{name}.tif", noisy.astype(np.uint8))
        tifffile.imwrite(project.path / f"data/{name}_truth.tif", discs)
        row = [name, "cell", f"data/{name}.tif", f"data/{name}_truth.tif", metadata]
        project.rows.append(row)
    project.config["study"] = "config/features.yaml"
    project.write()
    study = {
        "training": {
            "recipe": RECIPE,
            "samples": ["first"],
            "validation": ["second"],
            "steps": 2,
            "validate_every": 2,
            "batch_size": 1,
        },
        "features": {
            "raw": {"backbone": {"name": "raw"}, "raw_input": False},
            "filters": {"backbone": {"name": "filterbank", "arguments": {"scales": [1.0]}}},
        },
        "test": ["third"],
        "seeds": [0],
        "metrics": ["iou.disc"],
    }
    (project.path / "config/features.yaml").write_text(yaml.safe_dump(study))
    return project.path


def test_features_are_shared_by_the_models_with_and_without_context(folder, planned):
    assert planned(folder, "figures") == {
        "resample_study_volume": 3,
        "extract_study_features": 6,
        "extract_study_context": 6,
        "train_study_model": 4,
        "score_model": 4,
        "plot_feature_study": 1,
        "figures": 1,
    }


def test_the_figure_comes_out_and_comes_out_the_same_again(folder, snakemake):
    file = folder / "config/features.yaml"
    study = yaml.safe_load(file.read_text())
    del study["features"]["filters"]
    file.write_text(yaml.safe_dump(study))
    table = drawn_twice(folder, snakemake, "feature_study")
    assert table["features"].unique().tolist() == ["raw"]
    assert set(table["context"]) == {"none", "attention"}
    assert "iou.disc" in set(table["metric"])


def test_a_member_that_is_not_in_the_sheet_stops_before_any_job(folder, snakemake):
    file = folder / "config/features.yaml"
    content = file.read_text()
    try:
        file.write_text(content.replace("- third", "- fourth"))
        status, text = snakemake(folder, "--dry-run", "figures")
    finally:
        file.write_text(content)
    assert status != 0
    assert "features.yaml: sample 'fourth' is not in the sheet" in text
    assert "Traceback" not in text
