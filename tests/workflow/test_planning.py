"""What snakemake plans for a small project; nothing is run."""

import json

import pytest

pytestmark = pytest.mark.workflow

EACH = {
    "resample_volume": 1,
    "extract_features": 1,
    "extract_context": 1,
    "infer_shard": 1,
    "blend_shards": 1,
    "segment_objects": 1,
    "measure_quality": 1,
    "render_report": 1,
}


@pytest.fixture
def plan(project_folder, planned):
    """Return a function that writes the project, plans it and returns the jobs by rule.

    Its `again` plans the project as it lies there.
    """

    def run(*arguments):
        project_folder.write()
        return again(*arguments)

    def again(*arguments):
        return planned(project_folder.path, *arguments)

    run.again = again
    return run


def test_two_samples_take_every_stage_twice_and_one_summary(plan):
    jobs = {rule: 2 * count for rule, count in EACH.items()}
    assert plan() == {**jobs, "summarize_cohort": 1, "all": 1}


def test_the_sheets_shards_are_jobs_and_a_model_without_context_needs_none(plan, project_folder):
    model = project_folder.path / "models/cell/model.json"
    text = model.read_text().replace('"context": {"spacing": [64, 64, 64]}', '"context": null')
    model.write_text(text.replace('"base_channels"', '"fusion": "none", "base_channels"'))
    project_folder.config["tasks"]["cell"]["inference"] = {"shards": 3, "window": None}
    jobs = plan()
    assert jobs["infer_shard"] == 6
    assert "extract_context" not in jobs


def test_automatic_shards_count_the_windows_and_the_sheet_wins(plan, project_folder):
    # 20 x 40 x 36 voxels are 8 windows of 16 x 32 x 32
    project_folder.config["tasks"]["cell"]["inference"] = {"windows_per_shard": 3, "window": None}
    assert plan()["infer_shard"] == 2 * 3
    project_folder.config["tasks"]["cell"]["inference"] = {"windows_per_shard": 8, "window": None}
    assert plan()["infer_shard"] == 2
    sheet = project_folder.path / "config/samples.tsv"
    header, first, second = sheet.read_text().splitlines()
    sheet.write_text("\n".join([header + "\tshards", first + "\t5", second]) + "\n")
    assert plan.again()["infer_shard"] == 5 + 1


def test_views_are_extracted_for_the_tasks_that_average_them_only(plan, project_folder):
    other = {**project_folder.config["tasks"]["cell"]}
    project_folder.config["tasks"]["turned"] = {
        **other,
        "inference": {"tta": ["flip_x", "flip_x+rotate_90_xz"], "window": None},
    }
    project_folder.rows[1][1] = "turned"
    jobs = {rule: 2 * count for rule, count in EACH.items()}
    views = {"extract_view_features": 2, "extract_view_context": 2}
    assert plan() == {**jobs, **views, "summarize_cohort": 1, "all": 1}


def test_phantoms_are_made_for_the_samples_that_name_them(plan, project_folder):
    phantom = "results/phantoms/cell_seed5"
    project_folder.rows[1][2:] = [
        f"{phantom}.ome.zarr",
        f"{phantom}_truth.ome.zarr",
        f"objects={phantom}_objects.ome.zarr",
    ]
    assert plan()["make_phantom"] == 1


def test_a_chest_is_made_as_a_scan_with_its_truth_by_one_job(plan, project_folder):
    phantom = "results/phantoms/chest_seed5"
    project_folder.rows[1][2:] = [
        f"{phantom}.nii.gz",
        f"{phantom}_truth.nii.gz",
        f"objects={phantom}_objects.nii.gz",
    ]
    project_folder.rows[0][2:] = [f"{phantom.replace('5', '6')}.nii.gz", "", ""]
    file = project_folder.path / "models/cell/model.json"
    spec = json.loads(file.read_text())
    spec |= {"spacing": [3] * 3, "unit": "millimeter", "context": {"spacing": [12] * 3}}
    file.write_text(json.dumps(spec))
    jobs = plan()
    assert jobs["make_scan"] == 2
    assert "make_phantom" not in jobs


def test_a_landscape_is_made_once_for_its_tiles_and_their_truth(plan, project_folder):
    phantom = "results/phantoms/landscape_seed5"
    for row in project_folder.rows:
        row[2:] = [phantom, f"{phantom}_truth", ""]
    file = project_folder.path / "models/cell/model.json"
    spec = json.loads(file.read_text())
    spec |= {"spacing": [10] * 3, "unit": "meter", "context": {"spacing": [40] * 3}}
    file.write_text(json.dumps(spec))
    jobs = plan()
    assert jobs["make_landscape"] == 1
    assert "make_phantom" not in jobs


def test_a_training_block_makes_the_model_before_it_is_used(plan, project_folder, recipe):
    project_folder.add("c", truth=False)
    project_folder.config["tasks"]["cell"] |= {
        "model": "models/new",
        "training": {"recipe": recipe, "samples": ["a"], "validation": ["b"]},
    }
    jobs = plan()
    assert jobs["train_model"] == 1
    assert jobs["extract_features"] == jobs["extract_context"] == 3
    assert jobs["infer_shard"] == jobs["render_report"] == 1


def test_a_training_in_two_parts_computes_its_features_once(plan, project_folder, recipe):
    project_folder.add("c", truth=False)
    training = {"recipe": recipe, "samples": ["a"], "validation": ["b"]}
    project_folder.config["tasks"]["cell"] |= {
        "model": "models/new",
        "training": {**training, "start": "results/models/first"},
    }
    project_folder.config["tasks"]["first"] = {
        "model": "results/models/first",
        "training": training,
    }
    jobs = plan()
    assert jobs["train_model"] == 2
    assert jobs["extract_features"] == jobs["extract_context"] == 3
    assert jobs["infer_shard"] == jobs["render_report"] == 1


def test_a_folder_for_results_of_ones_own_is_used(plan, project_folder):
    project_folder.config["results"] = "out/here"
    assert plan("out/here/a/volume.ome.zarr") == {"resample_volume": 1}


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        ("inferrence", {}, "tasks.cell.inferrence is not a known key: did you mean 'inference'?"),
        ("model", "models/none", "models/none"),
    ],
)
def test_a_wrong_config_stops_before_any_job(snakemake, project_folder, section, value, expected):
    project_folder.config["tasks"]["cell"][section] = value
    project_folder.write()
    status, text = snakemake(project_folder.path)
    assert status == 1
    assert expected in text
    assert "Traceback" not in text
    assert not (project_folder.path / "results").exists()
