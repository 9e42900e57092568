"""The loss curve: the same bytes for the same history."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from parafovea.training.monitoring import draw_curve


def test_the_same_history_is_the_same_picture(tmp_path: Path) -> None:
    history = pd.DataFrame({"step": [2.0, 4.0], "loss": [1.0, 0.5], "validation_iou": [0.1, 0.6]})
    history["iou.dark"] = history["validation_iou"]
    draw_curve(history, tmp_path / "one.png", title="tiny", loss="Dice", score="IoU")
    draw_curve(history, tmp_path / "two.png", title="tiny", loss="Dice", score="IoU")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    history["loss"] *= 2
    draw_curve(history, tmp_path / "other.png", title="tiny", loss="Dice", score="IoU")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()
