"""Activations that turn scores into class probabilities, heatmaps or refined bands."""

from __future__ import annotations

from torch import Tensor

from parafovea.settings.networks import Activation


def activated(scores: Tensor, activation: Activation, base: Tensor | None = None) -> Tensor:
    """Apply an activation to a network's scores.

    Parameters
    ----------
    scores : Tensor
        (N, class, [z,] y, x), of a float type.
    activation : {"softmax", "sigmoid", "none", "residual"}
        `Recipe.activation`: "softmax" for exclusive classes, "sigmoid" for independent ones,
        "none" for scores that are probabilities already, "residual" adds the scores to `base` and
        clips the sum to [0, 1].
    base : Tensor, optional
        The input's own bands, in the shape of `scores`; for "residual".

    Returns
    -------
    Tensor
        Values in [0, 1], in the shape and dtype of `scores`.
    """
    if activation == "residual":
        if base is None:
            raise ValueError("activation residual needs the bands that it is added to: pass `base`")
        return (base + scores).clamp(0, 1)
    if activation == "none":
        return scores
    return scores.softmax(dim=1) if activation == "softmax" else scores.sigmoid()
