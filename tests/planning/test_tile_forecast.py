"""What a folder of tiles is planned to take."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_sample import tiny_recipe

from parafovea.chain import tile_stages
from parafovea.chain.cost import Rates
from parafovea.chain.tile_stages import measure_tiles, predict_tiles
from parafovea.config import read_project
from parafovea.planning.forecast import forecast, forecasts
from parafovea.planning.forecast_tables import sample_rows, stage_rows
from parafovea.planning.reference_rates import cost
from parafovea.planning.requests import JobRequests, request
from parafovea.planning.work import TileWork
from parafovea.settings.inference import InferenceSettings

RATES = Rates(features=1e-6, context=2e-6, network=3e-6)


def work(sizes, **inference) -> TileWork:
    recipe = tiny_recipe(dimensions=2, context=True)
    return TileWork(sizes, recipe, InferenceSettings(**inference))


def test_work_is_the_pixels_of_all_tiles_made_multiples_of_16_for_the_network():
    mixed = work({(120, 120): 10, (33, 64): 5})
    assert (mixed.count, mixed.pixels) == (15, 10 * 120 * 120 + 5 * 33 * 64)
    assert mixed.computed == 10 * 128 * 128 + 5 * 48 * 64
    assert mixed.largest == (128, 128)
    assert mixed.extent == "15 tiles, 0.155 Mpx"
    assert forecast("a", mixed).amplification.computed == pytest.approx(
        mixed.computed / mixed.pixels
    )


def test_time_grows_with_the_tiles_and_memory_does_not():
    few, many = (work({(128, 128): n}, batch_size=4) for n in (100, 5000))
    for stage in (predict_tiles, measure_tiles):
        short, long = (cost(stage, each, RATES) for each in (few, many))
        assert long.memory == short.memory
        assert long.seconds == pytest.approx(50 * short.seconds)
    large = cost(predict_tiles, work({(2048, 2048): 1}, batch_size=4), RATES)
    assert large.memory > 1.5 * cost(predict_tiles, few, RATES).memory


def test_views_multiply_the_time():
    plain, turned = (work({(128, 128): 100}, tta=tta) for tta in ((), ("flip_x",)))
    assert turned.windows == 2 * plain.windows == 200
    assert cost(predict_tiles, turned, RATES).seconds > 1.9 * (
        cost(predict_tiles, plain, RATES).seconds
    )


def test_refined_tiles_take_four_bytes_a_band_and_classes_one():
    classes = work({(100, 100): 3})
    refined = classes.recipe.model_copy(update={"kind": "refinement", "classes": ("B02", "B08")})
    for sample, stored in ((classes, 30_000), (replace(classes, recipe=refined), 240_000)):
        assert {s.name: s.stored(sample) for s in tile_stages.STAGES if s.stored(sample)} == {
            "predict_tiles": stored
        }


def test_no_tiles_at_all_can_be_planned():
    assert forecast("a", work({})).work.count == 0


@pytest.fixture
def project(project_folder, monkeypatch):
    """Return a project with a volume, a folder of tiles, and what is made of its results."""
    monkeypatch.chdir(project_folder.path)
    folder = project_folder.path / "tiles"
    folder.mkdir()
    for number in range(6):
        side = 32 if number else 64
        np.savez(folder / f"{number}.npz", opt_v1=np.zeros((4, side, side), np.float32))
    project_folder.add("c")
    project_folder.rows[1][2:] = ["tiles", "", ""]
    project_folder.rows[2][2:] = ["@b", "", ""]
    project_folder.write()
    return read_project(Path("config/config.yaml"))


def test_tiles_and_volumes_stand_in_one_table(project):
    found = forecasts(project, project.predicted, {})
    rows = sample_rows(found)
    head, volume, tiles, chained, total = rows
    assert [row[0] for row in rows[1:]] == ["a", "b", "c", "3 samples"]
    assert tiles[head.index("voxels")] == "6 tiles, 0.00922 Mpx"
    assert chained[1:] == tiles[1:]
    assert volume[head.index("tiles")] == "0 B"
    assert tiles[head.index("tiles")] == "9.22 kB"
    assert total[head.index("windows")] == str(found[0].work.windows + 6 + 6)
    stages = [row[0] for row in stage_rows(found)]
    of_tiles = [stage.name for stage in tile_stages.STAGES]
    assert stages[-len(of_tiles) :] == of_tiles
    assert stages.count("resample_volume") == 1


def test_jobs_of_tiles_ask_for_what_their_tiles_need(project):
    requests = JobRequests(project, planning=True)
    asked = requests.of("predict_tiles", {"sample": "b"}, 1)
    assert asked == request(predict_tiles, requests.work("b"))
    assert requests.of("predict_tiles", {"sample": "b"}, 2).mem_mb == 2 * asked.mem_mb
    # a short stage of volumes looks at volumes alone
    assert requests.of("render_report", {"sample": "a"}, 1).mem_mb > 0


def test_tiles_are_one_job(project):
    assert [project.shards(name) for name in "abc"][1:] == [1, 1]
