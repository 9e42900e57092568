"""The loss curve: the same bytes for the same history."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from parafovea.training.monitoring import draw_curve

SHARES = {"validation_iou": [0.1, 0.6], "iou.dark": [0.2, 0.8], "iou.light": [0.0, 0.4]}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, which are not written."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    return figures


@pytest.mark.parametrize(
    ("loss", "scores", "labels"),
    [
        ([1.0, 0.5], SHARES, ["dark", "light", "mean"]),
        ([1.0, 0.5], {"validation_iou": [0.1, 0.6], "iou.dark": [0.1, 0.6]}, ["dark"]),
        ([1.0, 0.5], {"validation_iou": [0.1, 0.6]}, ["score"]),
        (
            [-0.05, -0.08],
            {"validation_psnr": [30.4, 31.2], "psnr.input": [27.3, 27.3]},
            ["psnr.input", "score"],
        ),
    ],
)
def test_every_line_is_inside_of_the_picture_and_has_its_name(
    drawn: list[Figure],
    tmp_path: Path,
    loss: list[float],
    scores: dict[str, list[float]],
    labels: list[str],
) -> None:
    history = pd.DataFrame({"step": [2.0, 4.0], "loss": loss, **scores})
    draw_curve(history, tmp_path / "loss.png", title="tiny", loss="Dice", score="score")
    (figure,) = drawn
    left, right = figure.axes
    for axes in (left, right):
        low, high = axes.get_ylim()
        assert low < high
        for line in axes.lines:
            values = line.get_ydata()
            assert all(low <= value <= high for value in values)
    assert [line.get_label() for line in right.lines] == labels
    assert left.get_ylim()[0] == 0 or min(loss) < 0


def test_the_same_history_is_the_same_picture(tmp_path: Path) -> None:
    history = pd.DataFrame({"step": [2.0, 4.0], "loss": [1.0, 0.5], "validation_iou": [0.1, 0.6]})
    history["iou.dark"] = history["validation_iou"]
    draw_curve(history, tmp_path / "one.png", title="tiny", loss="Dice", score="IoU")
    draw_curve(history, tmp_path / "two.png", title="tiny", loss="Dice", score="IoU")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    history["loss"] *= 2
    draw_curve(history, tmp_path / "other.png", title="tiny", loss="Dice", score="IoU")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()
