"""From a network's scores to its output: probabilities of classes, heatmaps, or refined bands."""

from __future__ import annotations

from torch import Tensor

from parafovea.settings.recipe import Activation


def activated(scores: Tensor, activation: Activation, base: Tensor | None = None) -> Tensor:
    """Return a network's output for its scores.

    Parameters
    ----------
    scores : Tensor
        (N, class, [z,] y, x), of a float type.
    activation : {"softmax", "sigmoid", "residual"}
        `Recipe.activation`: softmax makes classes that add up to 1, sigmoid judges each alone,
        residual adds the scores to `base` and cuts the sum to [0, 1].
    base : Tensor, optional
        The input's own bands, of the shape of `scores`; for a residual.

    Returns
    -------
    Tensor
        Of the shape and type of `scores`, in [0, 1].
    """
    if activation == "residual":
        if base is None:
            raise ValueError("a residual needs the bands that it is added to: give `base`")
        return (base + scores).clamp(0, 1)
    return scores.softmax(dim=1) if activation == "softmax" else scores.sigmoid()
