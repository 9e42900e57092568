"""Scores of tiles, one by one and together."""

import math

import numpy as np
import pytest
from tile_results import degraded, landscape

from parafovea.quality.metrics import metric_names
from parafovea.quality.tiles import image_metrics
from parafovea.quality.tiles.refined import FOLDER_PATHS, TILE_PATHS
from parafovea.quality.tiles.refined_scores import TileTally, score_tile
from parafovea.quality.tiles.targets import TARGETS


def tiles(seed, shape=(40, 32)):
    """Return a refined tile, its input and its truth."""
    rng = np.random.default_rng(seed)
    truth = landscape(rng, shape)[1]
    source = degraded(rng, truth)
    return 0.7 * truth + 0.3 * source, source, truth


def test_every_metric_of_a_tile_has_the_name_that_the_tables_use():
    score = score_tile(*tiles(0), trust=np.full((40, 32), 0.7))
    assert set(score.values) == set(TILE_PATHS)
    assert all(value is not None for value in score.values.values())
    assert len(set(metric_names(FOLDER_PATHS))) == len(FOLDER_PATHS)


def test_the_three_comparisons_are_of_the_pairs_that_they_name():
    refined, source, truth = tiles(1)
    values = score_tile(refined, source, truth).values
    assert values["preservation", "ndvi_rmse"] == image_metrics.ndvi_rmse(refined, source)
    assert values["accuracy", "ndvi_rmse"] == image_metrics.ndvi_rmse(refined, truth)
    bright = image_metrics.bright_ndvi_rmse(refined, truth)
    assert values["accuracy", "ndvi_rmse_bright"] == bright
    assert values["accuracy_input", "ndvi_rmse"] == image_metrics.ndvi_rmse(source, truth)
    assert values["accuracy", "edge_correlation"] == image_metrics.edge_correlation(
        refined[3], truth[3]
    )
    # 0.7 of the way to the truth
    assert values["accuracy", "rmse"] == pytest.approx(0.3 * values["accuracy_input", "rmse"])
    assert values["gain", "psnr"] == pytest.approx(-20 * math.log10(0.3))
    assert values["accuracy_input", "bias", "B02"] == pytest.approx(0.03, abs=0.003)


def test_without_truth_or_without_an_optical_input_what_needs_them_is_undefined():
    refined, source, truth = tiles(2)
    blind = score_tile(refined, source, None).values
    assert blind["preservation", "rmse"] is not None
    assert {v for p, v in blind.items() if p[0] != "preservation"} == {None}
    radar = score_tile(refined, None, truth).values
    assert radar["accuracy", "psnr"] is not None
    assert {v for p, v in radar.items() if p[0] != "accuracy"} == {None}


def test_a_pixel_that_one_image_lacks_counts_in_no_comparison():
    refined, source, truth = tiles(3)
    truth[1, :10] = np.nan
    score = score_tile(refined, source, truth)
    assert score.pixels == 30 * 32
    cut = score_tile(refined[:, 10:], source[:, 10:], truth[:, 10:])
    for path in (("preservation", "rmse"), ("accuracy", "ndvi_rmse")):
        assert score.values[path] == pytest.approx(cut.values[path])
    empty = score_tile(refined, source, truth * np.nan)
    assert (empty.pixels, set(empty.values.values()), empty.flat) == (0, {None}, frozenset())


def test_means_pools_and_shares_over_tiles_are_those_of_their_definitions():
    scored = [score_tile(*tiles(seed, (24 + 8 * seed, 40))) for seed in range(5)]
    tally = TileTally()
    for score in scored:
        tally.add(score)
    values = tally.values({("tiles", "in"): 5})
    assert tuple(values)[: len(FOLDER_PATHS)] == FOLDER_PATHS
    for name in ("preservation", "accuracy", "accuracy_input"):
        own = [score.values[name, "ndvi_rmse"] for score in scored]
        assert values[name, "ndvi_rmse"] == pytest.approx(np.mean(own))
        sizes = [score.pixels for score in scored]
        pooled = math.sqrt(np.average(np.square(own), weights=sizes))
        assert values[name, "pooled", "ndvi_rmse"] == pytest.approx(pooled)
        assert values[name, "target_met", "ndvi_rmse"] == np.mean([v < 0.05 for v in own])
        assert values[name, "flat_tiles"] == 0
    pooled = values["accuracy", "pooled", "rmse"]
    assert values["accuracy", "pooled", "psnr"] == pytest.approx(-20 * math.log10(pooled))
    assert values["gain", "improved"] == 1
    assert values["tiles", "in"] == 5


def test_flat_tiles_are_counted_and_not_averaged():
    tally, flat = TileTally(), np.full((4, 20, 20), 0.2)
    refined, source, truth = tiles(4)
    alone = score_tile(refined, source, truth)
    for score in (alone, score_tile(flat + 0.01, flat, flat), score_tile(flat, flat, None)):
        tally.add(score)
    values = tally.values({})
    assert values["preservation", "flat_tiles"] == 2
    assert values["accuracy", "flat_tiles"] == 1
    assert values["preservation", "edge_correlation"] == pytest.approx(
        alone.values["preservation", "edge_correlation"]
    )
    assert values["preservation", "rmse"] == pytest.approx(
        (alone.values["preservation", "rmse"] + 0.01) / 3
    )


def test_no_tiles_at_all_leave_everything_undefined_but_the_counts():
    values = TileTally().values({("tiles", "in"): 0})
    assert {v for p, v in values.items() if p != ("tiles", "in")} == {None}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ndvi_rmse", 0.0499, 0.05),
        ("edge_correlation", 0.901, 0.90),
        ("edge_displacement", 2.0, 2.01),
    ],
)
def test_targets_hold_at_the_bounds_that_the_guide_states(name, good, bad):
    assert TARGETS[name].met(good)
    assert not TARGETS[name].met(bad)
