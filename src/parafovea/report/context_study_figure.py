"""Table and figure of the context study: IoU by fusion and context spacing, over seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from parafovea.report.canvas import new_figure, paper_style, save_forms, styled
from parafovea.report.study_scores import draw_seeds, over_seeds

#: Size in inches: two columns of a journal page.
WIDTH, HEIGHT = 7.2, 3.2

#: Points between the axes and their title.
TITLE_PAD = 7

#: Legend position that covers no data.
BELOW: dict[str, Any] = {
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.16),
    "ncols": 3,
    "columnspacing": 1.2,
}

FUSIONS = {"none": "no context", "concat": "concatenation", "attention": "attention"}

#: Colour of the style and marker of each fusion.
FUSION_LOOKS = {"none": ("C0", "o"), "concat": ("C2", "^"), "attention": ("C1", "s")}

#: Colours of the style and markers of classes.
CLASS_LOOKS = (("C2", "o"), ("C5", "s"), ("C3", "^"), ("C4", "D"), ("C6", "v"), ("C1", "P"))


def overlaps(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores that are the IoU of a class, with the columns class and iou.

    Parameters
    ----------
    scores : DataFrame
        A row for each model and score: fusion, ratio, seed, metric, value.
    """
    chosen = scores[scores["metric"].str.startswith("iou.")]
    names = chosen["metric"].str.removeprefix("iou.")
    facts = chosen.drop(columns=["metric", "value"])
    return facts.assign(**{"class": names, "iou": chosen["value"]}).reset_index(drop=True)


def study_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean and spread over seeds.

    Parameters
    ----------
    scores : DataFrame
        A row for each model and class: fusion, ratio, seed, class, iou.

    Returns
    -------
    DataFrame
        A row for each fusion, ratio and class: seeds, iou_mean, iou_sd (sample standard deviation;
        NaN for one seed), iou_min, iou_max, gain (iou_mean minus that without context).
    """
    table = over_seeds(scores, ["fusion", "ratio", "class"], "iou")
    table = table.rename(columns={each: f"iou_{each}" for each in ("mean", "sd", "min", "max")})
    without = table[table["fusion"] == "none"].set_index("class")["iou_mean"]
    table["gain"] = table["iou_mean"] - table["class"].map(without)
    return table


def draw_study(scores: pd.DataFrame, files: Mapping[Path, str], *, ratio: int, style: Path) -> None:
    """Draw IoU by fusion, and by context spacing, with a dot for each seed.

    Parameters
    ----------
    scores : DataFrame
        See `study_table`.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal scores give equal bytes.
    ratio : int
        Ratio of context spacing to local spacing at which fusions are compared.
    style : Path
        Style file of figures for papers.
    """
    classes = list(dict.fromkeys(scores["class"]))
    with styled(paper_style(style)):
        figure = new_figure(WIDTH, HEIGHT, layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _fusions(left, scores, classes, ratio)
        _spacings(right, scores, classes)
        for axes, letter in ((left, "a"), (right, "b")):
            axes.annotate(
                letter,
                (0, 1),
                xycoords="axes fraction",
                xytext=(-22, TITLE_PAD),
                textcoords="offset points",
                weight="bold",
            )
            axes.grid(axis="y")
        low = float(scores["iou"].min())
        left.set_ylim(max(0.0, np.floor(10 * low - 0.5) / 10), 1)
        save_forms(figure, files)


def _values(scores: pd.DataFrame, **wanted: str | int) -> np.ndarray:
    """Return the IoU by seed of the rows with all given values."""
    chosen = scores
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    return chosen.sort_values("seed")["iou"].to_numpy()


def _fusions(axes: Axes, scores: pd.DataFrame, classes: Sequence[str], ratio: int) -> None:
    """Draw the seeds of each fusion by class, with a line at their mean."""
    for place, name in enumerate(classes):
        for turn, (fusion, (colour, marker)) in enumerate(FUSION_LOOKS.items()):
            near = {"ratio": 1 if fusion == "none" else ratio}
            values = _values(scores, fusion=fusion, **near, **{"class": name})
            x = place + 0.25 * (turn - 1)
            spread = 0.065 * (np.arange(len(values)) - (len(values) - 1) / 2)
            draw_seeds(axes, x + spread, values, colour, marker, reach=0.1)
    axes.set_xticks(range(len(classes)), classes)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("IoU on unseen phantoms")
    axes.set_title(f"Fusion (context {ratio} times coarser)")
    keys = [
        Line2D([], [], color=colour, marker=marker, label=FUSIONS[fusion])
        for fusion, (colour, marker) in FUSION_LOOKS.items()
    ]
    axes.legend(handles=keys, **BELOW)


def _spacings(axes: Axes, scores: pd.DataFrame, classes: Sequence[str]) -> None:
    """Draw the attention models over the context spacing, with no context at the left."""
    attention = scores[scores["fusion"] == "attention"]
    ratios = sorted(int(r) for r in attention["ratio"].unique())
    for place, name in enumerate(classes):
        colour, marker = CLASS_LOOKS[place % len(CLASS_LOOKS)]
        points = [_values(scores, fusion="none", **{"class": name})]
        points += [_values(attention, ratio=r, **{"class": name}) for r in ratios]
        means = [float(values.mean()) for values in points]
        axes.plot(range(1, len(means)), means[1:], color=colour)
        axes.plot([0, 1], means[:2], color=colour, linestyle=":")
        for x, values in enumerate(points):
            axes.plot([x] * len(values), values, marker, color=colour, alpha=0.75)
    axes.set_xticks(range(len(ratios) + 1), ["none", *(f"{r}×" for r in ratios)])
    axes.set_xlim(-0.3, len(ratios) + 0.3)
    axes.set_xlabel("context spacing over local spacing")
    axes.set_title("Spacing (attention)")
    keys = [
        Line2D([], [], color=colour, marker=marker, label=name)
        for name, (colour, marker) in zip(classes, itertools.cycle(CLASS_LOOKS), strict=False)
    ]
    axes.legend(handles=keys, **BELOW)
