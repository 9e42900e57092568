"""What jobs ask for: enough, more where the sample is larger, more at each attempt."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from parafovea.config import read_project
from parafovea.geometry.grid import Grid
from parafovea.inference.window_plan import window_bytes
from parafovea.kinds import kinds
from parafovea.kinds.stages import sample_stages, stages
from parafovea.models.model_json import read_spec
from parafovea.planning.requests import JobRequests, Request, request, training_request
from parafovea.planning.work import Work
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec, Recipe, TrainingRecipe
from parafovea.settings.training import TrainingSettings

ROOT = Path(__file__).parents[2]

#: Stages whose jobs follow from the size of a volume, and the one that makes such a volume.
SIZED = dict.fromkeys(s.name for k in kinds().values() for s in sample_stages(k, "volume"))
ASKING = ("make_phantom", *SIZED)

#: Stages of many short jobs, which a cluster takes as one array.
SHORT = tuple(name for name, stage in stages().items() if stage.short)


def asked(name: str, work: Work, attempt: int = 1) -> Request:
    return request(stages()[name], work, attempt)


def cube(side: int, recipe: Recipe, **inference) -> Work:
    grid = Grid((side,) * 3, (16, 16, 16))
    return Work(grid, recipe, InferenceSettings(**inference))


@pytest.fixture
def model() -> ModelSpec:
    return read_spec(ROOT / "resources/models/cell")


@pytest.mark.parametrize("stage", ASKING)
def test_each_attempt_asks_for_twice_as_much(stage, model):
    first, second, third = (asked(stage, cube(512, model), attempt) for attempt in (1, 2, 3))
    assert (second.mem_mb, third.mem_mb) == (2 * first.mem_mb, 4 * first.mem_mb)
    assert (second.runtime, third.runtime) == (2 * first.runtime, 4 * first.runtime)


@pytest.mark.parametrize("stage", ASKING)
def test_a_larger_sample_never_asks_for_less(stage, model):
    found = [asked(stage, cube(side, model)) for side in (64, 512, 2048, 8192)]
    assert [each.mem_mb for each in found] == sorted(each.mem_mb for each in found)
    assert [each.runtime for each in found] == sorted(each.runtime for each in found)
    assert stages()[stage].step == "report" or found[0].runtime < found[-1].runtime


def test_memory_is_that_of_a_slab_and_not_of_the_volume(model):
    flat = replace(cube(512, model), source=Grid((512, 512, 512), (16, 16, 16)))
    deep = replace(flat, source=Grid((51200, 512, 512), (16, 16, 16)))
    # findings of a mask and segments of an object are held as a whole; a scan of a body is limited
    for stage in {*SIZED} - {"measure_detections", "export_dicom"}:
        assert asked(stage, flat).mem_mb == asked(stage, deep).mem_mb, stage


def test_shards_share_the_time_and_views_multiply_it(model):
    alone, shared, views = (
        asked("infer_shard", cube(2048, model, **settings)).runtime
        for settings in ({"shards": 1}, {"shards": 10}, {"shards": 1, "tta": ["flip_x"]})
    )
    assert shared < alone / 8
    assert 1.9 * alone < views < 2.1 * alone


def test_a_whole_volume_needs_the_memory_of_one_window_as_large(model):
    needed = window_bytes((256, 256, 256), model)
    given = asked("infer_shard", cube(256, model, mode="whole_volume")).mem_mb
    assert given > needed / 1e6


def test_training_grows_with_its_batch_and_its_steps(model):
    recipe = TrainingRecipe(**{name: getattr(model, name) for name in Recipe.model_fields})
    facts = {"recipe": recipe, "samples": ["a"], "validation": ["b"]}
    small, large = (
        training_request(TrainingSettings(**facts, batch_size=size, steps=size * 500))
        for size in (2, 8)
    )
    assert large.mem_mb > 2 * small.mem_mb
    assert large.runtime > 4 * small.runtime


@pytest.fixture
def requests(project_folder, monkeypatch):
    """Return a function that checks the project and returns what its jobs ask for."""
    monkeypatch.chdir(project_folder.path)

    def read(*, planning=True):
        project_folder.write()
        return JobRequests(read_project(Path("config/config.yaml")), planning=planning)

    return read


def test_the_grid_comes_from_the_header_of_the_source(requests):
    assert requests().work("a").source.shape == (20, 40, 36)


def test_a_phantom_is_known_before_it_is_made(requests, project_folder):
    project_folder.config["phantoms"] = {"cell": {"shape": [30, 40, 50]}}
    project_folder.rows[0][2] = "results/phantoms/cell_seed7.ome.zarr"
    work = requests().work("a")
    assert work.source.shape == (30, 40, 50)
    made = requests().of("make_phantom", {"kind": "cell", "seed": "7"}, 1)
    assert made == asked("make_phantom", work)


def test_a_source_that_cannot_be_read_counts_neither_as_large_nor_as_small(
    requests, project_folder
):
    before = requests().of("measure_quality", {"sample": "b"}, 1)
    (project_folder.path / "data/a.tif").write_bytes(b"no TIFF")
    asked = requests()
    assert asked.of("measure_quality", {"sample": "b"}, 1) == before


def test_short_jobs_ask_alike_while_they_are_planned_and_for_themselves_when_they_run(
    requests, project_folder
):
    large = "results/phantoms/cell_seed7.ome.zarr"
    project_folder.config["phantoms"] = {"cell": {"shape": [64, 40960, 40960]}}
    project_folder.config["tasks"]["cell"]["blocks"] = 1
    project_folder.rows[1][2] = large
    planned, run = requests(), requests(planning=False)
    for stage in sorted({*SHORT} & {*SIZED}):
        a, b = (planned.of(stage, {"sample": name}, 1) for name in "ab")
        assert a == b == asked(stage, planned.work("b"))
        assert run.of(stage, {"sample": "a"}, 1).mem_mb < a.mem_mb
    assert planned.of("segment_objects", {"sample": "a"}, 1) != planned.of(
        "segment_objects", {"sample": "b"}, 1
    )


def test_planning_imports_neither_torch_nor_zarr(tmp_path):
    code = (
        "import sys; from pathlib import Path; from parafovea.config import read_project;"
        "from parafovea.planning.requests import JobRequests;"
        "project = read_project(Path('config/config.yaml'));"
        "JobRequests(project, planning=True).of('infer_shard', {'sample': 'cell_101'}, 1);"
        "sys.exit('torch' in sys.modules or 'zarr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_profile_sends_every_gpu_rule_to_the_gpu_partition():
    profile = yaml.safe_load((ROOT / "slurm/profile.yaml").read_text())
    computing = {name for name, stage in stages().items() if stage.device == "gpu"}
    assert set(profile["set-resources"]) == computing
    assert {each["slurm_partition"] for each in profile["set-resources"].values()} == {"gpu"}
    assert profile["default-resources"]["slurm_partition"] == "cpu"


def test_arrays_hold_jobs_that_ask_alike_and_nothing_limits_their_submission():
    profile = yaml.safe_load((ROOT / "slurm/profile.yaml").read_text())
    assert set(profile["slurm-array-jobs"].split(",")) == set(SHORT)
    assert profile["jobs"] == "unlimited"
    assert int(profile["max-jobs-per-timespan"].partition("/")[0]) >= 100_000
