"""What is planned for a sample is what its stages then store and what their settings ask for."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import zarr
from tiny_sample import infer, tiny_inputs, tiny_model, tiny_recipe

from parafovea.chain import volume_chain
from parafovea.chain.cost import Rates
from parafovea.geometry.grid import Grid
from parafovea.models.model_json import read_spec
from parafovea.planning import measure
from parafovea.planning.advice import advice
from parafovea.planning.forecast import forecast
from parafovea.planning.work import Work
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards

ROOT = Path(__file__).parents[2]
RATES = Rates(features=1e-6, context=2e-6, network=3e-6)


def work(shape, **inference) -> Work:
    recipe = read_spec(ROOT / "resources/models/cell")
    return Work(Grid(shape, recipe.spacing), recipe, InferenceSettings(**inference))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("context", [True, False])
def test_stages_store_the_bytes_that_are_planned(tmp_path, dimensions, context):
    recipe = tiny_recipe(dimensions=dimensions, context=context)
    shape = (32, 64, 128)
    inputs = tiny_inputs(tmp_path, shape, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    settings = InferenceSettings(overlap=0.5, precision="float32", shards=1)
    infer(inputs, model, tmp_path / "1.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.ome.zarr")
    sample = Work(Grid(shape, recipe.spacing), recipe, settings)
    planned = {stage.name: stage.stored(sample) for stage in volume_chain.STAGES}

    def stored(path):
        if path is None:
            return 0
        return sum(array.nbytes for _, array in zarr.open_group(path, mode="r").arrays())

    assert planned["resample_volume"] == stored(inputs.volume)
    assert planned["extract_features"] == stored(inputs.features)
    assert planned["extract_context"] == stored(inputs.context)
    assert planned["infer_shard"] == stored(tmp_path / "1.zarr")
    assert planned["blend_shards"] == stored(tmp_path / "prediction.ome.zarr")
    assert planned["extract_view_features"] == planned["extract_view_context"] == 0


def test_time_follows_from_measured_rates_and_is_shared_by_shards():
    whole, shared = (
        forecast("a", work((128, 128, 128), overlap=0, shards=n), RATES) for n in (1, 4)
    )
    stages = {each.stage.name: each for each in whole.stages}
    assert stages["extract_features"].seconds == pytest.approx(128**3 * 1e-6)
    assert stages["infer_shard"].seconds == pytest.approx(128**3 * 3e-6)
    assert {s.stage.name: s for s in shared.stages}["infer_shard"].seconds == pytest.approx(
        128**3 * 3e-6 / 4
    )
    assert shared.seconds(gpu=True) == pytest.approx(whole.seconds(gpu=True))


def test_views_multiply_features_and_windows():
    plain, both = (forecast("a", work((96, 96, 96), tta=tta)) for tta in ((), ("flip_x",)))
    assert both.work.windows == 2 * plain.work.windows
    alone, views = ({s.stage.name: s for s in each.stages} for each in (plain, both))
    for name in ("features", "context"):
        seen, view = views[f"extract_{name}"], views[f"extract_view_{name}"]
        assert seen == alone[f"extract_{name}"]
        assert (view.jobs, view.seconds, view.disk) == (1, seen.seconds, seen.disk)
        assert f"extract_view_{name}" not in alone


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("context", [True, False])
def test_a_rate_is_the_time_of_more_voxels_not_that_of_the_start(
    tmp_path, monkeypatch, dimensions, context
):
    recipe = tiny_recipe(dimensions=dimensions, context=context)
    model = tiny_model(tmp_path / "model", recipe)
    # seconds of features, context and network: to warm up, for few and for many voxels
    stages = 3 if context else 2
    clock = iter([9.0] * stages + [5.0] * stages + [6.0, 7.0, 8.0][3 - stages :])

    def timed(work):
        work()
        return next(clock)

    monkeypatch.setattr(measure, "_timed", timed)
    rates = measure.measure_rates(model, InferenceSettings(precision="float32"))
    voxels = 8 * 32 * 32 * 32 if dimensions == 2 else 26 * 16 * 32 * 32
    assert rates.network == pytest.approx(3.0 / voxels)
    assert rates.features == pytest.approx((1.0 if context else 2.0) / voxels)
    assert rates.context == pytest.approx(2.0 / (voxels / (4 if dimensions == 2 else 8))) or (
        not context and rates.context == measure.LEAST
    )
    assert next(clock, None) is None


def test_automatic_shards_keep_to_the_windows_of_a_job():
    few = work((512, 512, 512), windows_per_shard=100)
    assert few.shards == math.ceil(few.windows / 100)
    assert work((64, 64, 64)).shards == 1
    assert work((4096, 4096, 4096), windows_per_shard=1).shards == 10_000
    views = work((512, 512, 512), windows_per_shard=100, tta=["flip_x", "flip_y"])
    assert views.shards == math.ceil(3 * few.windows / 100)


def test_a_window_that_hardly_fits_is_named_with_a_better_one():
    # 65 planes need two windows of 64, the second for a single plane
    awkward = work((65, 1024, 1024), overlap=0.0)
    (text,) = [text for text in advice(awkward) if "inference.window" in text]
    named = [int(n) for n in text.partition("[")[2].partition("]")[0].split(",")]
    better = replace(awkward, inference=InferenceSettings(window=tuple(named), overlap=0.0))
    before, after = (forecast("a", each).amplification for each in (awkward, better))
    assert after.computed <= 0.8 * before.computed
    assert not [text for text in advice(better) if "inference.window" in text]


def test_windows_that_fit_are_left_alone():
    assert not list(advice(work((1024, 1024, 1024))))


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((64, 64, 64), {"shards": 3}, "3 shards share only 1 windows"),
        ((256, 256, 256), {"shards": 100, "overlap": 0.5}, r"each of 100 shards computes for \d s"),
        ((4096, 4096, 4096), {"shards": 2}, r"a shard computes for \d+\.\d hours"),
    ],
)
def test_shards_that_are_too_small_or_too_large_are_named(shape, settings, words):
    assert any(re.search(words, text) for text in advice(work(shape, **settings)))


def test_features_far_larger_than_their_volume_are_named():
    given = work((256, 256, 256))
    spec = given.recipe.model_copy(
        update={"backbone": given.recipe.backbone.model_copy(update={"arguments": {"stride": 1}})}
    )
    assert any("15.8 times the bytes" in text for text in advice(replace(given, recipe=spec)))
    assert not list(advice(given))
