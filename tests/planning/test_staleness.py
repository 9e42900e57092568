import shutil
from pathlib import Path

import pytest
import tifffile
from recorded_results import compared, make_everything

from parafovea.storage.contents import Contents


@pytest.fixture
def project(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)
    project_folder.config["keep_features"] = False
    project_folder.write()
    return project_folder


def states(staleness, sample):
    jobs = staleness.jobs(sample)
    return {job.stage.name: staleness.state(job.stage, dict(job.wildcards)) for job in jobs}


def test_jobs_come_after_what_they_depend_on(project):
    names = [job.stage.name for job in compared().jobs("a")]
    assert names == [
        "resample_volume",
        "extract_features",
        "extract_context",
        "infer_shard",
        "blend_shards",
        "segment_objects",
        "measure_quality",
        "render_report",
    ]


def test_nothing_is_read_for_a_sample_without_results(project, monkeypatch):
    monkeypatch.setattr(Contents, "digest", lambda self, path: pytest.fail(f"reads {path}"))
    assert set(states(compared(), "a").values()) == {"missing"}


def test_what_was_made_is_current(project):
    make_everything()
    assert set(states(compared(), "a").values()) == {"current"}
    assert set(compared().statuses(compared().jobs()).values()) == {"done"}


def test_a_state_names_what_has_changed(project):
    make_everything()
    project.config["tasks"]["cell"]["inference"] = {"overlap": 0.25}
    project.write()
    found = states(compared(), "a")
    assert found["extract_context"] == "current"
    assert found["infer_shard"] == "settings"
    assert found["blend_shards"] == found["render_report"] == "inputs"
    project.config["tasks"]["cell"]["inference"] = {"window": None}
    project.write()
    truth = Path("data/a_truth.tif")
    truth.write_bytes(truth.read_bytes()[:-1] + b"\xff")
    found = states(compared(), "a")
    assert found["segment_objects"] == "current"
    assert found["measure_quality"] == found["render_report"] == "files"
    assert set(states(compared(), "b").values()) == {"current"}


def test_a_script_is_code_of_its_stage(project, tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "render_report.py").write_text("render()\n")
    make_everything(scripts=scripts)
    (scripts / "render_report.py").write_text("# more\nrender( )\n")
    assert states(compared(scripts=scripts), "a")["render_report"] == "current"
    (scripts / "render_report.py").write_text("render(more)\n")
    assert states(compared(scripts=scripts), "a")["render_report"] == "code"


def test_weights_that_were_swapped_are_found_though_the_description_is_as_before(project):
    make_everything()
    Path("models/cell/model.safetensors").write_bytes(b"others")
    found = states(compared(), "a")
    assert found["extract_features"] == "current"
    assert found["infer_shard"] == "files"


def test_an_archived_source_counts_as_the_one_that_was_read(project):
    make_everything()
    planned = compared()
    planned.jobs()
    Path("data/a.tif").unlink()
    assert set(states(planned, "a").values()) == {"current"}


@pytest.mark.parametrize("source", ["data/a.tif", "data/slices", "data/slices/*.tif"])
def test_a_source_that_was_archived_before_the_run_counts_as_well(project, source):
    Path("data/slices").mkdir()
    for number, plane in enumerate(tifffile.imread("data/a.tif")):
        tifffile.imwrite(f"data/slices/{number}.tif", plane)
    project.rows[0][2] = source
    project.write()
    make_everything()
    shutil.rmtree("data/slices")
    Path("data/a.tif").unlink()
    assert set(states(compared(), "a").values()) == {"current"}
    project.config["tasks"]["cell"]["inference"] = {"overlap": 0.25}
    project.write()
    assert states(compared(), "a")["infer_shard"] == "settings"


def test_results_of_unknown_making_are_not_current(project):
    make_everything()
    Path("results/a/volume.ome.zarr/.made.json").unlink()
    Path("results/a/.made/quality.json.json").write_text("{")
    found = states(compared(), "a")
    assert found["resample_volume"] == found["measure_quality"] == "unrecorded"


def test_intermediate_results_are_missed_only_where_a_run_needs_them(project):
    make_everything()
    for store in ("features.zarr", "shards/1.zarr"):
        record = Path("results/a") / store / ".made.json"
        record.unlink()
        record.parent.rmdir()
    staleness = compared()
    found = staleness.statuses(staleness.jobs("a"))
    assert [job.stage.name for job in found if found[job] == "removed"] == [
        "extract_features",
        "infer_shard",
    ]
    record = Path("results/a/prediction.ome.zarr/.made.json")
    record.unlink()
    record.parent.rmdir()
    staleness = compared()
    found = {job.stage.name: s for job, s in staleness.statuses(staleness.jobs("a")).items()}
    assert found["blend_shards"] == found["infer_shard"] == found["extract_features"] == "missing"
    assert found["extract_context"] == "done"


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("results/phantoms/cell_seed7_truth.ome.zarr", "make_phantom"),
        ("results/phantoms/chest_seed7_nodules.csv", "make_scan"),
        ("results/phantoms/landscape_seed7_sar", "make_landscape"),
        ("results/a/shards/12.zarr", "infer_shard"),
        ("results/a/views/flip_x+flip_y/context.zarr", "extract_view_context"),
        ("results/cohort/quality.tsv", "summarize_cohort"),
        ("data/a.tif", None),
        ("results/other/volume.ome.zarr", None),
        ("results/a/notes.txt", None),
    ],
)
def test_a_path_tells_the_stage_that_makes_it(project, path, stage):
    job = compared().maker(path)
    assert (job and job.stage.name) == stage
