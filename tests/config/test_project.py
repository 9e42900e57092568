import json
import subprocess
import sys

import numpy as np
import pytest

from parafovea.config import load_project, read_project
from parafovea.errors import ConfigError, ModelError
from parafovea.kinds.stages import stages


@pytest.fixture(autouse=True)
def _inside(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)


@pytest.fixture
def training(recipe):
    def block(**more):
        return {"recipe": recipe, "samples": ["a"], "validation": ["b"], **more}

    return block


def test_planning_imports_neither_torch_nor_zarr_nor_scipy():
    code = "import sys, parafovea.config, parafovea.storage.fingerprint; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "zarr", "scipy", "pandas", "tifffile"} & set(done.stdout.split())


def test_a_project_holds_what_the_stages_need(project_folder):
    project = project_folder.read()
    assert project.files("a") == {
        "source": ["data/a.tif"],
        "truth": ["data/a_truth.tif"],
        "objects": [],
        "metadata": [],
    }
    (job,) = project.jobs(stages()["infer_shard"], "a")
    assert job == {"sample": "a", "shard": "1"}
    arguments = {stage.name: stage.arguments(project, job) for stage in project.stages("a")}
    assert arguments["extract_context"]["spacing"] == [64, 64, 64]
    assert arguments["infer_shard"]["settings"]["shards"] == 1
    assert json.loads(json.dumps(arguments)) == arguments


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        ("inferrence", {}, "config.yaml:6: tasks.cell.inferrence is not a known key: did you mean"),
        ("inference", {"overlapp": 0.5}, "tasks.cell.inference.overlapp is not a known key"),
        ("inference", {"overlap": 1}, "config.yaml:5: tasks.cell.inference.overlap = 1: "),
        ("inference", {"blending": "gausian"}, "did you mean 'gaussian'?"),
        ("kind", "segmentatio", "tasks.cell.kind = 'segmentatio'"),
        ("input", {"nonfinite": "drop"}, "tasks.cell.input.nonfinite = 'drop'"),
        ("model", "", "tasks.cell.model = ''"),
        ("overrides", {"backbone": {}}, "tasks.cell.overrides.backbone is not a known key"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(project_folder, section, value, expected):
    project_folder.config["tasks"]["cell"][section] = value
    message = project_folder.refusal()
    assert expected in message
    assert message.startswith("config/config.yaml:")
    assert message.count("\n") == 0


def test_a_missing_key_says_what_to_add(project_folder):
    del project_folder.config["tasks"]["cell"]["model"]
    project_folder.config["tasks"]["cell"]["kind"] = "segmentation"
    assert "tasks.cell.model is missing: add it" in project_folder.refusal()


def test_the_overriding_file_is_named_where_it_is_at_fault(project_folder):
    later = project_folder.path / "more.yaml"
    later.write_text("tasks:\n  cell:\n    report: {slices: 0}\n")
    with pytest.raises(ConfigError, match=r"^more.yaml:3: tasks.cell.report.slices = 0: "):
        read_project(project_folder.path / "config/config.yaml", later)


def test_unknown_task_missing_source_and_wrong_metadata_are_named_at_once(project_folder):
    project_folder.rows[0][1] = "cel"
    project_folder.rows[1][2] = "data/none.tif"
    project_folder.add("c")
    project_folder.rows[2][4] = "spacng=1,2,3"
    message = project_folder.refusal()
    assert "config/samples.tsv:2: task 'cel' of sample 'a'" in message
    assert "did you mean 'cell'?" in message
    assert "config/samples.tsv:3: sample 'b': source: data/none.tif" in message
    assert "config/samples.tsv:4: sample 'c'" in message
    assert "spacng" in message


def test_a_table_is_the_truth_of_a_detection_alone(project_folder):
    (project_folder.path / "data/found.csv").write_text("seriesuid\n")
    project_folder.rows[0][3] = "data/found.csv"
    project = project_folder.read()
    assert "data/found.csv is in an unknown format" in project.absent["a"]
    model = project_folder.path / "models/cell/model.json"
    spec = json.loads(model.read_text()) | {"kind": "detection", "classes": ["nodule"]}
    model.write_text(json.dumps(spec))
    project_folder.config["tasks"]["cell"]["kind"] = "detection"
    project = project_folder.read()
    assert project.files("a")["truth"] == ["data/found.csv"]
    project_folder.config["tasks"]["cell"]["scoring"] = {"rule": "picai"}
    assert "'a' is a table, but the rule by which task 'cell'" in project_folder.refusal()
    del project_folder.config["tasks"]["cell"]["scoring"]
    project_folder.rows[0][3] = "data/none.csv"
    project = project_folder.read()
    assert project.absent["a"].startswith("truth: data/none.csv does not exist")


def test_missing_truth_and_missing_objects_are_named(project_folder):
    project_folder.rows[0][3] = "data/no_truth.tif"
    project_folder.rows[1][4] += " objects=data/no_objects.tif"
    project = project_folder.read()
    assert project.absent["a"].startswith("truth: data/no_truth.tif does not exist")
    assert project.absent["b"].startswith("objects: data/no_objects.tif does not exist")
    assert project.failed == project.absent
    assert project.planned == ()


def test_phantoms_need_not_be_there_but_must_be_possible(project_folder):
    project_folder.rows[0][2] = "results/phantoms/cell_seed7.ome.zarr"
    project = project_folder.read()
    assert project.files("a")["source"] == ["results/phantoms/cell_seed7.ome.zarr"]
    for impossible in ("cel_seed7.ome.zarr", "cell_seed7.nii.gz", "chest_seed7_lungs.nii.gz"):
        project_folder.rows[0][2] = f"results/phantoms/{impossible}"
        assert "is not a phantom that the workflow makes" in project_folder.refusal()


def test_a_chest_is_as_large_as_the_config_says_and_else_as_its_kind_is(project_folder):
    project_folder.config["phantoms"] = {"chest": {"shape": [60, 100, 100]}}
    project_folder.rows[0][2] = "results/phantoms/chest_seed7.nii.gz"
    project = project_folder.read()
    assert project.files("a")["source"] == ["results/phantoms/chest_seed7.nii.gz"]
    assert project.phantom("chest").shape == (60, 100, 100)
    assert project.phantom("chest").spacing == (3.0, 2.2, 2.2)
    assert project.phantom("chest").unit == "millimeter"
    assert project.phantom("cell").unit == "nanometer"


def test_a_landscape_is_a_folder_of_tiles_made_in_four_parts(project_folder):
    project_folder.config["phantoms"] = {"landscape": {"tiles": [5], "sizes": [64]}}
    for part in ("", "_truth", "_classes", "_sar"):
        path = f"results/phantoms/landscape_seed7{part}"
        project_folder.rows[0][2:] = [path, f"{path}_truth" if not part else "", ""]
        project = project_folder.read()
        assert project.files("a")["source"] == [path]
    assert project.phantom("landscape").sizes == [64]
    assert project.phantom("scene").tiles == [64]
    assert project.grid("a").shape == (5, 64, 64)
    assert project.grid("a").spacing == project.recipe("a").spacing


@pytest.mark.parametrize(
    "wrong", ["landscape_seed7_objects", "landscape_seed7.ome.zarr", "scene_seed7_truth.npz"]
)
def test_a_wrong_part_of_a_landscape_is_refused_with_the_right_ones(project_folder, wrong):
    kind = wrong.partition("_")[0]
    project_folder.rows[0][2] = f"results/phantoms/{wrong}"
    message = project_folder.refusal()
    assert f"results/phantoms/{wrong}" in message
    assert f"can hold {kind}_seed7, {kind}_seed7_truth, {kind}_seed7_classes" in message


def test_tiles_and_sizes_of_a_landscape_have_to_fit(project_folder):
    project_folder.config["phantoms"] = {"scene": {"tiles": [4, 4]}}
    assert "give a number of tiles for each size" in project_folder.refusal()


def test_unknown_class_and_unknown_metric_are_named(project_folder):
    task = project_folder.config["tasks"]["cell"]
    task["postprocess"] = {"classes": {"mitochondria": {}}}
    message = project_folder.refusal()
    assert "postprocess.classes.mitochondria: class 'mitochondria' is not one of" in message
    assert "did you mean 'mitochondrion'?" in message
    task["postprocess"] = {}
    task["quality"] = {"limits": {"iou.nucleu": {"min": 0.5}}}
    assert "did you mean 'iou.nucleus'?" in project_folder.refusal()


def test_an_incomplete_model_is_named_with_its_task(project_folder):
    (project_folder.path / "models/cell/model.safetensors").unlink()
    assert "has no model.safetensors" in project_folder.refusal()
    (project_folder.path / "models/cell/model.json").write_text("{}")
    message = project_folder.refusal()
    assert "weights_sha256" in message
    assert message.endswith("required by task 'cell'")
    project_folder.config["tasks"]["cell"]["model"] = "models/none"
    assert "models/none" in project_folder.refusal()


def test_a_model_of_a_task_that_no_sample_has_is_not_asked_for(project_folder):
    project_folder.config["tasks"]["other"] = {"model": "models/none"}
    assert list(project_folder.read().recipes) == ["cell"]


def test_a_training_block_gives_the_recipe_before_the_model_is_there(
    project_folder, training, recipe
):
    project_folder.config["tasks"]["cell"] |= {"model": "models/new", "training": training()}
    project = project_folder.read()
    assert project.recipe("a").classes == tuple(recipe["classes"])
    assert project.trained == {"models/new": "cell"}
    assert project.predicted == ()
    train, job = stages()["train_model"], {"model": "models/new"}
    assert train.input_paths(project, job)["volumes"] == [
        "results/a/volume.ome.zarr",
        "results/b/volume.ome.zarr",
    ]


def test_samples_for_training_are_segmented_only_when_asked(project_folder, training):
    project_folder.add("c", truth=False)
    task = project_folder.config["tasks"]["cell"]
    task["training"] = training()
    assert project_folder.read().predicted == ("c",)
    task["predict_training"] = True
    assert project_folder.read().predicted == ("a", "b", "c")


def test_samples_for_training_must_be_there_have_a_truth_and_be_kept_apart(
    project_folder, training
):
    project_folder.add("c", truth=False)
    block = training(samples=["a", "bb", "c"], validation=["b", "a"])
    project_folder.config["tasks"]["cell"]["training"] = block
    message = project_folder.refusal()
    assert "training.samples.1: sample 'bb' is not in config/samples.tsv" in message
    assert "training.samples.2: sample 'c' has no truth" in message
    assert "training.validation.1: sample 'a' is also a training sample" in message


def test_two_tasks_cannot_train_one_folder(project_folder, training):
    project_folder.config["tasks"] = {
        "cell": {"model": "models/x", "training": training()},
        "twin": {"model": "models/x", "training": training(samples=["c"], validation=["d"])},
    }
    project_folder.add("c", task="twin")
    project_folder.add("d", task="twin")
    project_folder.write()
    with pytest.raises(ModelError, match="both train models/x"):
        project_folder.read()


def test_an_override_replaces_the_models_own_and_is_told(project_folder):
    project_folder.config["tasks"]["cell"]["overrides"] = {"spacing": [50, 8, 8]}
    project = project_folder.read()
    assert project.recipe("a").spacing == (50, 8, 8)
    assert project.notices == ("task cell overrides the spacing of models/cell: (50.0, 8.0, 8.0)",)


def test_values_without_files_are_checked_too(project_folder):
    with pytest.raises(ConfigError, match=r"^config: tasks is missing: add it"):
        load_project({})


@pytest.mark.parametrize("text", ["- a list\n", "key: [unclosed\n", "\xff"])
def test_a_config_that_is_no_mapping_or_no_yaml_is_a_readable_error(project_folder, text):
    path = project_folder.path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_project(path)


@pytest.mark.parametrize(
    ("inference", "expected"),
    [
        ({"tta": ["flip_w"]}, "tasks.cell.inference.tta = ['flip_w']: augmentation 'flip_w'"),
        ({"overlap": 0.5, "stride": [8, 8, 8]}, "set one of them to null"),
        ({"mode": "whole_volume", "overlap": 0.5}, "set it to null, or use mode: sliding_window"),
        ({"blending": "linear", "sigma": 0.1}, "sigma (0.1) does not apply to blending linear"),
        ({"output_scale": 0}, "tasks.cell.inference.output_scale"),
        ({"window": [16, 20, 32]}, "inference.window: window (16, 20, 32) must be a multiple of"),
        ({"stride": [17, 8, 8]}, "(17, 8, 8) is larger than the window (16, 32, 32)"),
    ],
)
def test_inference_that_cannot_be_is_refused_before_any_job(project_folder, inference, expected):
    project_folder.config["tasks"]["cell"]["inference"] = inference
    message = project_folder.refusal()
    assert expected in message
    assert message.startswith("config/config.yaml:")


def test_a_rotation_that_mixes_spacings_is_refused_with_its_line(project_folder):
    cell = project_folder.config["tasks"]["cell"]
    cell["overrides"] = {"spacing": [32, 16, 16]}
    cell["inference"] = {"tta": ["flip_z", "rotate_90_yz"]}
    message = project_folder.refusal()
    assert message.startswith("config/config.yaml:7: tasks.cell.inference.tta.1: ")
    assert "rotates voxels of 32 x 16 x 16 (z, y, x) to 16 x 32 x 16" in message


def make_detection(folder, **task):
    """Turn the project's task and its model into ones that detect."""
    file = folder.path / "models/cell/model.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, "kind": "detection", "classes": ["nodule"]}))
    folder.config["tasks"]["cell"].update({"kind": "detection", **task})
    folder.write()


def test_a_task_of_detection_needs_a_model_of_its_kind(project_folder):
    project_folder.config["tasks"]["cell"]["kind"] = "detection"
    message = project_folder.refusal()
    assert "config/config.yaml:6: tasks.cell.kind: detection needs a model of this kind" in message
    assert "set kind: segmentation, or use another model" in message


def test_a_task_of_detection_has_settings_of_its_own(project_folder):
    make_detection(project_folder, detection={"nms": {"iou_threshold": 0.5}})
    project = project_folder.read()
    settings = project.block("a", "detection")
    assert settings["nms"] == {"enabled": True, "iou_threshold": 0.5}
    assert settings["peak_detection"]["min_distance"] == 10
    assert stages()["detect_nodules"].arguments(project, {"sample": "a"})["settings"] == settings
    assert project.running(stages()["detect_nodules"]) == ("a", "b")
    assert project.running(stages()["segment_objects"]) == ()


@pytest.mark.parametrize(
    ("kind", "block"), [("segmentation", "detection"), ("detection", "postprocess")]
)
def test_blocks_of_another_kind_are_refused(project_folder, kind, block):
    if kind == "detection":
        make_detection(project_folder)
    project_folder.config["tasks"]["cell"][block] = {}
    assert f"{block} does not apply to a task of kind {kind}" in project_folder.refusal()


def test_limits_of_a_detection_are_on_metrics_that_it_has(project_folder):
    make_detection(project_folder, quality={"limits": {"sensitivty": {"min": 0.5}}})
    assert "did you mean 'sensitivity'?" in project_folder.refusal()


def test_risk_limits_rise_from_0_and_a_calibration_has_to_be_there(project_folder):
    make_detection(project_folder, triage={"limits": {"low": 0.1, "high": 0.7}})
    assert "must start at 0 and increase" in project_folder.refusal()
    project_folder.config["tasks"]["cell"]["triage"] = {"calibration": "none.json"}
    assert (
        "'none.json' does not exist: create it with parafovea calibrate" in project_folder.refusal()
    )


def test_a_source_in_the_folder_of_its_results_is_refused(project_folder):
    folder = project_folder.path / "results" / "a"
    folder.mkdir(parents=True)
    (folder / "in.tif").write_bytes((project_folder.path / "data/a.tif").read_bytes())
    (project_folder.path / "link.tif").symlink_to(folder / "in.tif")
    for path in ("results/a/in.tif", "link.tif"):
        project_folder.rows[0][2] = path
        message = project_folder.refusal()
        assert f"samples.tsv:2: source of sample 'a': {path} lies in results/a, where" in message
    # the folder of another sample, and one whose name begins alike, are other folders
    project_folder.rows[0][0] = "in"
    assert project_folder.read().samples


def test_a_model_is_not_trained_into_a_folder_of_other_things(project_folder, training):
    project_folder.config["tasks"]["cell"] |= {"model": "data", "training": training()}
    message = project_folder.refusal()
    assert "config.yaml:3: tasks.cell.model: data is a folder without a model.json" in message
    assert "name a new folder, such as resources/models/NAME" in message
    assert (project_folder.path / "data" / "a.tif").is_file()


def test_phantoms_of_the_sheet_lie_in_the_results_wherever_these_are(project_folder):
    stem = "results/phantoms/cell_seed5"
    project_folder.rows[0][2:] = [
        f"{stem}.ome.zarr",
        f"{stem}_truth.ome.zarr",
        f"channel=0 objects={stem}_objects.ome.zarr",
    ]
    project_folder.config["results"] = "an other/place/"
    project = project_folder.read()
    assert project.source("a") == "an other/place/phantoms/cell_seed5.ome.zarr"
    assert project.truth("a") == "an other/place/phantoms/cell_seed5_truth.ome.zarr"
    assert project.true_objects("a") == "an other/place/phantoms/cell_seed5_objects.ome.zarr"
    assert project.grid("a").shape == (96, 192, 192)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (".", "must hold more than results"),
        ("~/results", "~ is not replaced"),
        ("a{b}", "must be a plain path"),
        ("/", "must be a plain path"),
    ],
)
def test_a_folder_of_results_that_cannot_be_is_refused(project_folder, folder, expected):
    project_folder.config["results"] = folder
    assert expected in project_folder.refusal()


def test_folders_have_one_spelling(project_folder):
    project_folder.config["results"] = "./one//two/"
    project_folder.config["tasks"]["cell"]["model"] = "./models/cell/"
    project_folder.rows[0][2:4] = ["./data/a.tif/", ".//data/a_truth.tif"]
    project = project_folder.read()
    assert (project.settings.results, project.task("a").model) == ("one/two", "models/cell")
    assert (project.source("a"), project.truth("a")) == ("data/a.tif", "data/a_truth.tif")


def test_a_folder_of_tiles_is_no_source_of_a_detection(project_folder):
    folder = project_folder.path / "data" / "tiles"
    folder.mkdir()
    np.savez(folder / "a.npz", opt_v1=np.zeros((4, 8, 8)))
    project_folder.config["tasks"]["cell"]["kind"] = "detection"
    project_folder.rows[1][2:4] = ["data/tiles", ""]
    message = project_folder.refusal()
    assert "samples.tsv:3: source of sample 'b': data/tiles is a folder of tiles, but" in message
    assert "'cell' is a detection, which takes only volumes" in message
