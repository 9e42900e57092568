"""Losses: least at the target, and small findings count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_sample import tiny_recipe, tiny_spec

from parafovea.geometry.grid import Grid
from parafovea.settings.training import TrainingSettings
from parafovea.training.heatmap_truth import FULL, Findings, heatmap
from parafovea.training.losses import HeatmapLoss, harm, surprise
from parafovea.training.objectives.segmentation import SegmentationObjective

GRID = Grid((32, 32, 32), (2.0, 2.0, 2.0), unit="millimeter")


def target(*radii: float) -> torch.Tensor:
    """Return a window with findings of these radii side by side, (1, 1, z, y, x)."""
    centres = np.array([(32.0, 32.0, 8.0 + 24 * index) for index in range(len(radii))])
    heat = heatmap(Findings(centres.reshape(-1, 3), np.array(radii)), GRID)
    return torch.from_numpy(heat.astype(np.float32) / FULL)[None, None]


def loss_of(heat: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(HeatmapLoss()(heat.clamp(1e-6, 1 - 1e-6).logit(), wanted))


def test_the_target_itself_has_the_least_loss() -> None:
    wanted = target(3.0, 8.0)
    best = loss_of(wanted, wanted)
    assert best < 1e-4
    for other in (wanted * 0.8, (wanted * 1.3).clamp(max=1), wanted + 0.02, wanted**2):
        assert loss_of(other, wanted) > 10 * best
    logits = wanted.clamp(1e-3, 1 - 1e-3).logit().requires_grad_()
    HeatmapLoss()(logits, wanted).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-3


def test_a_small_finding_costs_as_much_beside_a_window_with_a_large_one() -> None:
    """Missed in one window of a batch; in the other all is found."""
    small, large = target(3.0), target(14.0)
    blank = torch.full_like(small, 1e-6)
    missed = loss_of(torch.cat([blank, large]), torch.cat([small, large]))
    alone = loss_of(torch.cat([blank, small]), torch.cat([small, small]))
    assert missed == pytest.approx(alone, rel=0.1)


def test_a_missed_finding_of_three_millimetres_costs_about_as_much_as_one_of_thirty() -> None:
    small, large, nothing = target(1.5), target(15.0), torch.zeros(1, 1, 32, 32, 32)
    missed = [loss_of(nothing + 0.01, wanted) for wanted in (small, large)]
    assert float(large.sum() / small.sum()) > 300
    assert missed[1] < 10 * missed[0]


def test_a_false_finding_costs_in_a_window_without_any() -> None:
    nothing = torch.zeros(1, 1, 32, 32, 32)
    quiet, false = loss_of(nothing + 1e-4, nothing), loss_of(target(3.0), nothing)
    assert quiet < 0.01
    assert false > 0.5


def test_a_window_that_became_worse_costs_more_than_one_that_improved_as_much() -> None:
    rng = np.random.default_rng(0)
    wanted, base = (
        torch.zeros(2, 4, 16, 16),
        torch.from_numpy(rng.normal(0, 0.05, (2, 4, 16, 16)).astype(np.float32)),
    )
    better, worse = harm(0.5 * base, base, wanted), harm(2 * base, base, wanted)
    same = harm(base, base, wanted)
    assert better < same < worse
    # beyond the logarithm of the error, which both change by equally much
    assert worse - same > 3 * (same - better)


def test_the_expected_error_that_surprises_least_is_that_of_the_errors() -> None:
    wrong = torch.from_numpy(np.random.default_rng(1).normal(0, 0.03, 4000).astype(np.float32))
    expected = {size: float(surprise(wrong, torch.tensor(size))) for size in (0.01, 0.03, 0.1)}
    assert min(expected, key=lambda size: expected[size]) == 0.03


def dice_of(found: torch.Tensor, wanted: torch.Tensor) -> float:
    common, total = float((found * wanted).sum()), float(found.sum() + wanted.sum())
    return 2 * common / total


@pytest.mark.parametrize("batch_dice", [False, True])
def test_the_dice_of_a_class_is_that_of_each_window_or_of_all(batch_dice: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    wanted = torch.zeros((2, 1, 8, 8), dtype=torch.int64)
    wanted[0, 0, :5] = 1
    wanted[1, 0, 0, 0] = 1
    logits = torch.randn((2, 2, 8, 8), generator=rng)
    found, true = logits.softmax(dim=1)[:, 1], wanted[:, 0].float()
    if batch_dice:
        dice = dice_of(found, true)
    else:
        dice = sum(dice_of(*pair) for pair in zip(found, true, strict=True)) / 2
    entropy = torch.nn.functional.cross_entropy(logits, wanted[:, 0])
    recipe = tiny_recipe()
    settings = TrainingSettings(
        recipe=recipe, samples=("a",), validation=("a",), batch_dice=batch_dice
    )
    loss = SegmentationObjective(tiny_spec(recipe), {}, settings).loss(logits, wanted)
    assert float(loss) == pytest.approx(1 - dice + float(entropy), abs=1e-4)
