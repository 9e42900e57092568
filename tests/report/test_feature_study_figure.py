"""A feature study's table and figure: right means, every chosen score, the same bytes again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parafovea.errors import ConfigError
from parafovea.report.feature_study_figure import draw_features, feature_table, label
from parafovea.runtime.shipped_files import PUBLICATION, shipped
from parafovea.stages.plot_feature_study import plot_feature_study

STYLE = shipped(PUBLICATION)

FEATURES = ("raw", "filterbank", "pretrained")
CONTEXTS = ("none", "attention")
METRICS = ("psnr", "ndvi_rmse", "rmse.B08")


def scores() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        {"features": features, "context": context, "seed": seed, "metric": metric}
        for features in FEATURES
        for context in CONTEXTS
        for seed in range(3)
        for metric in METRICS
    ]
    return pd.DataFrame(rows).assign(value=random.uniform(0.4, 0.9, len(rows)).round(6))


def test_the_table_holds_means_spread_and_gain_over_the_first_features_without_context() -> None:
    lines = scores()
    table = feature_table(lines).set_index(["features", "context", "metric"])
    assert len(table) == len(FEATURES) * len(CONTEXTS) * len(METRICS)
    psnr = lines[lines["metric"] == "psnr"].set_index(["features", "context"])["value"]
    own, base = psnr.loc[("pretrained", "attention")], psnr.loc[("raw", "none")]
    row = table.loc[("pretrained", "attention", "psnr")]
    assert row["seeds"] == 3
    assert row["mean"] == pytest.approx(own.mean())
    assert row["sd"] == pytest.approx(np.std(own, ddof=1))
    assert (row["min"], row["max"]) == (own.min(), own.max())
    assert row["gain"] == pytest.approx(own.mean() - base.mean())


def test_the_stage_writes_the_same_bytes_again_and_reads_none_as_a_word(tmp_path: Path) -> None:
    paths = []
    for (features, context), lines in scores().groupby(["features", "context"]):
        paths.append(tmp_path / f"{features}_{context}.tsv")
        lines.to_csv(paths[-1], sep="\t", index=False)
    written = []
    for turn in ("first", "second"):
        names = (".tsv", "_scores.tsv", ".svg", ".pdf", ".png")
        outputs = [tmp_path / f"{turn}{name}" for name in names]
        plot_feature_study(paths, STYLE, *outputs, metrics=["psnr", "ndvi_rmse"])
        written.append([path.read_bytes() for path in outputs])
    assert written[0] == written[1]
    assert set(pd.read_csv(tmp_path / "first.tsv", sep="\t")["context"]) == {"none", "attention"}
    every = pd.read_csv(tmp_path / "first_scores.tsv", sep="\t", keep_default_na=False)
    assert sorted(every["value"]) == sorted(scores()["value"])
    text = (tmp_path / "first.svg").read_text()
    assert text.startswith("<?xml")


def test_a_score_that_the_models_do_not_have_is_refused_with_those_they_have(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"no score 'iou\.water': choose among psnr, ndvi_rmse"):
        draw_features(scores(), {tmp_path / "a.svg": ".svg"}, metrics=["iou.water"], style=STYLE)
    assert not (tmp_path / "a.svg").exists()


def test_labels_say_which_scores_are_better_lower() -> None:
    assert label("iou.mitochondrion") == "IoU, mitochondrion"
    assert label("psnr") == "PSNR [dB]"
    assert label("rmse.B08") == "RMSE, B08 (lower is better)"
