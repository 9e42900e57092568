"""The context study's table and figure: right means, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parafovea.report.context_study_figure import draw_study, overlaps, study_table
from parafovea.runtime.shipped_files import PUBLICATION, shipped
from parafovea.stages.plot_context_study import plot_context_study

STYLE = shipped(PUBLICATION)

MODELS = [("none", 1), ("concat", 4), ("attention", 2), ("attention", 4), ("attention", 8)]
CLASSES = ("mitochondrion", "nucleus", "membrane")


def scores(seeds: int = 3) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        {"fusion": fusion, "ratio": ratio, "seed": seed, "class": name}
        for fusion, ratio in MODELS
        for seed in range(seeds)
        for name in CLASSES
    ]
    return pd.DataFrame(rows).assign(iou=random.uniform(0.4, 0.9, len(rows)).round(6))


def test_the_table_holds_means_spread_and_gain_over_no_context() -> None:
    lines = scores()
    table = study_table(lines).set_index(["fusion", "ratio", "class"])
    own = lines.query("fusion == 'attention' and ratio == 4 and `class` == 'nucleus'")["iou"]
    none = lines.query("fusion == 'none' and `class` == 'nucleus'")["iou"]
    row = table.loc[("attention", 4, "nucleus")]
    assert row["seeds"] == 3
    assert row["iou_mean"] == pytest.approx(own.mean())
    assert row["iou_sd"] == pytest.approx(np.std(own, ddof=1))
    assert row["gain"] == pytest.approx(own.mean() - none.mean())
    assert (table.loc["none"]["gain"] == 0).all()


def test_figures_are_the_same_bytes_when_drawn_again(tmp_path: Path) -> None:
    written = []
    for turn in ("first", "second"):
        files = {tmp_path / f"{turn}{suffix}": suffix for suffix in (".svg", ".pdf", ".png")}
        draw_study(scores(), files, ratio=4, style=STYLE)
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]
    assert all(len(content) > 5000 for content in written[0])


def test_other_scores_give_another_figure(tmp_path: Path) -> None:
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    draw_study(scores(), {files[0]: ".svg"}, ratio=4, style=STYLE)
    draw_study(scores().assign(iou=0.5), {files[1]: ".svg"}, ratio=4, style=STYLE)
    assert files[0].read_bytes() != files[1].read_bytes()


def test_the_stage_joins_the_scores_of_all_models(tmp_path: Path) -> None:
    paths = []
    for (fusion, ratio), lines in scores().groupby(["fusion", "ratio"]):
        paths.append(tmp_path / f"{fusion}{ratio}.tsv")
        measured = lines.assign(metric="iou." + lines["class"], value=lines["iou"])
        other = measured.assign(metric="precision." + lines["class"], value=0.5)
        columns = ["fusion", "ratio", "seed", "metric", "value"]
        pd.concat([measured, other])[columns].to_csv(paths[-1], sep="\t", index=False)
    figures = [tmp_path / f"study.{kind}" for kind in ("svg", "pdf", "png")]
    tables = tmp_path / "study.tsv", tmp_path / "scores.tsv"
    plot_context_study(paths, STYLE, *tables, *figures, ratio=4)
    table = pd.read_csv(tables[0], sep="\t")
    assert len(table) == len(MODELS) * len(CLASSES)
    expected = study_table(scores()).set_index(["fusion", "ratio", "class"])["iou_mean"]
    found = table.set_index(["fusion", "ratio", "class"])["iou_mean"]
    assert (found - expected).abs().max() <= 5.1e-5
    every = pd.read_csv(tables[1], sep="\t", keep_default_na=False)
    assert len(every) == 2 * len(scores())
    # the lines of all models draw the same figure
    again = tmp_path / "again.svg"
    draw_study(overlaps(every), {again: ".svg"}, ratio=4, style=STYLE)
    assert again.read_bytes() == figures[0].read_bytes()
    assert figures[0].read_text().startswith("<?xml")
    assert figures[1].read_bytes().startswith(b"%PDF")
    assert figures[2].read_bytes().startswith(b"\x89PNG")
