"""Which real images are used for what, what is made of them, and how the results are read."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.real_tiles.prepare import degraded
from benchmarks.real_tiles.series import Date, fault, is_clouded, read_series, series_file, split
from benchmarks.real_tiles.tables import MEASURES, worse
from benchmarks.water import score_water
from parafovea.errors import MissingSourceError
from parafovea.formats.tiles.ledger import LEDGER_COLUMNS
from parafovea.formats.tiles.npz import write_tile


def ground(rng):
    """Return a clear image of fields, (band, y, x)."""
    near = np.repeat(rng.uniform(0.15, 0.5, (1, 8, 8)), 4, axis=1).repeat(4, axis=2)
    return np.concatenate([np.broadcast_to(0.05, (3, 32, 32)), near])


def test_an_image_is_left_out_for_what_hides_its_ground():
    clear = ground(np.random.default_rng(0))
    assert fault(clear) is None
    cloud, shade, veil, gap = (clear.copy() for _ in range(4))
    cloud[:, :4] += 0.5
    shade *= 0.2
    veil[3] = 0.3
    gap[1, 5, 5] = 0
    assert is_clouded(cloud)
    assert [fault(image) for image in (cloud, shade, veil, gap)] == [
        "cloud or haze",
        "shade",
        "veiled",
        "incomplete",
    ]


def test_no_date_is_both_learned_from_and_scored():
    start = datetime(2018, 1, 1)
    dates = [Date(start + timedelta(days=3 * n), np.zeros((4, 1, 1))) for n in range(120)]
    uses = split(dates)
    assert set(uses) == {date.name for date in dates}
    assert {uses[date.name] for date in dates if date.taken.day < 16} == {"test"}
    later = [uses[date.name] for date in dates if date.taken.day >= 16]
    assert set(later) == {"train", "watch"}
    assert later.count("watch") == pytest.approx(len(later) / 5, abs=1)


def test_a_real_image_is_degraded_as_a_phantom_is_and_always_alike():
    image = ground(np.random.default_rng(1))
    poor = degraded(image, seed=3, month=6, biome=4)
    assert poor.shape == image.shape
    assert 0 <= poor.min() <= poor.max() <= 1
    np.testing.assert_array_equal(poor, degraded(image, seed=3, month=6, biome=4))
    # blur alone takes the steps between fields apart
    assert np.abs(np.diff(poor[3])).max() < 0.8 * np.abs(np.diff(image[3])).max()
    assert not np.array_equal(poor, degraded(image, seed=4, month=6, biome=4))
    assert np.abs(poor - degraded(image, seed=3, month=12, biome=4)).mean() > 0.01


def test_a_tile_counts_as_no_better_where_a_metric_stayed_or_fell():
    table = pd.DataFrame(
        {"psnr.degraded": [20, 20, 20], "psnr.refined": [21.0, 20, 19]}, index=["a", "b", "c"]
    )
    psnr = next(each for each in MEASURES if each.name == "psnr")
    assert worse(table, psnr, "refined") == ["b", "c"]
    rmse = next(each for each in MEASURES if each.name == "rmse")
    assert worse(
        table.rename(columns=lambda name: name.replace("psnr", "rmse")), rmse, "refined"
    ) == ["a", "b"]


def test_water_is_scored_beside_the_index_of_the_same_tiles(tmp_path):
    image = np.full((4, 16, 16), 0.2, np.float32)
    image[3, :8] = 0.1  # the index takes the upper half for water
    truth = np.zeros((16, 16), np.uint8)
    truth[:4] = 1
    truth[4:8] = 255  # nobody knows these rows
    found = np.zeros((16, 16), np.uint8)
    found[:2] = found[12] = 1
    write_tile(tmp_path / "in", "a", {"opt_v1": image})
    write_tile(tmp_path / "truth", "a", {"classes": truth})
    write_tile(tmp_path / "out", "a", {"classes": found})
    row = dict.fromkeys(LEDGER_COLUMNS, "") | {"name": "a", "height": 16, "width": 16}
    row |= {"input": tmp_path / "in/a.npz", "output": tmp_path / "out/a.npz"}
    lines = ["\t".join(map(str, part)) for part in (row, row.values())]
    (tmp_path / "tiles.tsv").write_text("\n".join(lines) + "\n")
    scores = score_water(tmp_path, tmp_path / "truth")
    assert (scores.model, scores.ndwi, scores.pixels) == (2 / 5, 1.0, 192)


def test_a_folder_without_the_series_says_what_is_missing(tmp_path):
    with pytest.raises(MissingSourceError, match="PARAFOVEA_REAL_DATA"):
        series_file(tmp_path)


@pytest.mark.real_data
@pytest.mark.skipif(
    "PARAFOVEA_REAL_DATA" not in os.environ,
    reason="PARAFOVEA_REAL_DATA does not say where the real data are",
)
def test_the_clear_dates_of_the_real_series_are_the_ones_of_the_note():
    dates, dropped = read_series(series_file(Path(os.environ["PARAFOVEA_REAL_DATA"])))
    counts = {reason: len(left_out) for reason, left_out in dropped.items()}
    assert counts == {"cloud or haze": 59, "shade": 3, "veiled": 3}
    assert len(dates) == 53
    uses = list(split(dates).values())
    assert [uses.count(use) for use in ("train", "watch", "test")] == [26, 7, 20]
    assert dates[0].name == "2017-08-24"
    assert all(date.values.shape == (4, 64, 64) for date in dates)
    assert all(date.values.min() > 0 and date.values.max() <= 1 for date in dates)
