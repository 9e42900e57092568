"""The whole workflow on samples of a few voxels, and what it runs again after a change.

One run serves all tests here; they change nothing in its folder but what they put back.
"""

import json
import os
from types import SimpleNamespace

import pytest
import yaml

from parafovea.backbones import feature_channels
from parafovea.config import read_project
from parafovea.models.folder import save_model
from parafovea.models.network import FusedUNet
from parafovea.models.spec import BackboneSpec, ModelSpec
from parafovea.pipeline import run_sample

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

POSTPROCESS = {"segment_objects", "measure_quality", "render_report"}
INFER = POSTPROCESS | {"infer_shard", "blend_shards"}
FEATURES = INFER | {"extract_features", "extract_context"}
EVERYTHING = FEATURES | {"resample_volume"}

RESULTS = (
    "volume.ome.zarr/zarr.json",
    "features.zarr/zarr.json",
    "context.zarr/zarr.json",
    "prediction.ome.zarr/zarr.json",
    "classes.ome.zarr/zarr.json",
    "objects.ome.zarr/zarr.json",
    "objects.tsv",
    "quality.json",
    "quality.tsv",
    "figures/overlays.png",
    "report.html",
)


@pytest.fixture(scope="module")
def first_run(make_project_folder, recipe, snakemake, tmp_path_factory):
    """Run two samples, of which `b` is cut off in the middle."""
    folder = make_project_folder(tmp_path_factory.mktemp("project"))
    channels = feature_channels(BackboneSpec(), dimensions=3)
    numbers = {"input_channels": channels + 1, "context_channels": channels}
    spec = ModelSpec.model_validate(
        {**recipe, **numbers, "name": "cell", "weights_sha256": "0" * 64}
    )
    save_model(folder.path / "models" / "cell", spec, FusedUNet.from_spec(spec))
    source = folder.path / "data" / "b.tif"
    source.write_bytes(source.read_bytes()[:9000])
    status, text = snakemake(folder.path, "--keep-going")
    return SimpleNamespace(folder=folder, status=status, text=text)


@pytest.fixture(scope="module")
def finished(first_run, snakemake):
    """Take the broken sample out of the sheet and finish; return the project's folder."""
    folder = first_run.folder
    folder.rows = folder.rows[:1]
    folder.write()
    status, text = snakemake(folder.path)
    assert status == 0, text
    assert "Done. The report of all samples is results/report.html" in text
    return folder


@pytest.fixture
def rerun(finished, planned):
    """Return a function that lays settings over the config and returns the rules to run again."""

    def plan(**settings):
        over = finished.path / "over.yaml"
        over.write_text(yaml.safe_dump({"tasks": {"cell": settings}}))
        return set(planned(finished.path, "--configfile", over)) - {"all", "summarize_cohort"}

    return plan


def test_a_broken_source_stops_its_sample_and_not_the_others(first_run):
    results = first_run.folder.path / "results"
    assert first_run.status == 1, first_run.text
    assert all((results / "a" / name).is_file() for name in RESULTS), first_run.text
    assert not (results / "b" / "volume.ome.zarr").exists()
    log = (results / "logs/b/resample_volume.log").read_text()
    assert "data/b.tif" in log
    assert "in resample_volume of sample b" in log
    assert "Traceback" not in log


def test_a_finished_project_has_nothing_to_run(finished, planned):
    assert planned(finished.path) == {}


def test_results_name_no_folder_of_this_machine(finished):
    results = finished.path / "results"
    for name in ("quality.json", "report.html", "volume.ome.zarr/zarr.json"):
        assert str(finished.path) not in (results / "a" / name).read_text()


def test_new_thresholds_run_again_from_postprocess(rerun):
    assert rerun(postprocess={"classes": {"nucleus": {"min_voxels": 9}}}) == POSTPROCESS


def test_another_blending_runs_again_from_inference(rerun):
    assert rerun(inference={"blending": "bump"}) == INFER


def test_augmentation_runs_again_from_inference_with_the_features_of_its_views(rerun):
    views = {"extract_view_features", "extract_view_context"}
    assert rerun(inference={"tta": ["flip_x"]}) == INFER | views


def test_another_output_scale_runs_again_from_blending(rerun):
    assert rerun(inference={"output_scale": 2}) == INFER - {"infer_shard"}


def test_another_spacing_runs_everything_again(rerun):
    assert rerun(overrides={"spacing": [16, 16, 20]}) == EVERYTHING


def test_a_report_option_draws_the_report_again(rerun):
    assert rerun(report={"slices": 1}) == {"render_report"}


def test_a_limit_is_judged_again(rerun):
    limits = {"entropy": {"max": 1}}
    assert rerun(quality={"limits": limits}) == {"measure_quality", "render_report"}


def test_another_model_with_the_same_features_runs_again_from_inference(finished, rerun):
    card = finished.path / "models/cell/model.json"
    before = card.read_text()
    card.write_text(json.dumps({**json.loads(before), "weights_sha256": "1" * 64}))
    try:
        assert rerun() == INFER
    finally:
        card.write_text(before)
    assert rerun() == set()


def test_touched_files_run_nothing_again(finished, rerun):
    for name in ("data/a.tif", "models/cell/model.json", "models/cell/model.safetensors"):
        os.utime(finished.path / name)
    assert rerun() == set()


def test_a_new_line_runs_that_sample_and_the_summary(finished, planned):
    rows = finished.rows
    finished.add("c")
    finished.write()
    try:
        jobs = planned(finished.path)
    finally:
        finished.rows = rows[:1]
        finished.write()
    assert jobs == {**dict.fromkeys(EVERYTHING, 1), "summarize_cohort": 1, "all": 1}


def test_one_process_makes_the_same_bytes_as_the_workflow(finished, monkeypatch):
    monkeypatch.chdir(finished.path)
    (finished.path / "solo.yaml").write_text("results: solo\n")
    project = read_project(finished.path / "config/config.yaml", finished.path / "solo.yaml")
    page = run_sample(project, "a")
    assert page.parent.as_posix() == "solo/a"
    for name in RESULTS:
        made = (finished.path / "solo" / "a" / name).read_bytes()
        assert made == (finished.path / "results" / "a" / name).read_bytes(), name


def test_augmented_views_on_another_grid_are_the_same_bytes_in_one_process(
    finished, snakemake, monkeypatch
):
    monkeypatch.chdir(finished.path)
    chosen = {"tta": ["flip_x", "flip_y+flip_z"], "output_scale": 0.5, "stride": [16, 32, 32]}
    over = finished.path / "augmented.yaml"
    for folder in ("flipped", "alone"):
        values = {"results": folder, "tasks": {"cell": {"inference": chosen}}}
        over.write_text(yaml.safe_dump(values))
        if folder == "flipped":
            status, text = snakemake(finished.path, "--configfile", over)
            assert status == 0, text
        else:
            run_sample(read_project(finished.path / "config/config.yaml", over), "a")
    views = ("views/flip_x/features.zarr", "views/flip_y+flip_z/context.zarr")
    for name in (*RESULTS, *(f"{view}/zarr.json" for view in views)):
        made = (finished.path / "flipped" / "a" / name).read_bytes()
        assert made == (finished.path / "alone" / "a" / name).read_bytes(), name
    quality = json.loads((finished.path / "flipped/a/quality.json").read_text())
    assert quality["provenance"]["grid"]["shape"] == [10, 20, 18]
    assert quality["metrics"]["iou"]["overall"] is not None
