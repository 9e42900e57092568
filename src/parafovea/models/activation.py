"""Activations that turn scores into class probabilities, heatmaps or refined bands."""

from __future__ import annotations

from torch import Tensor

from parafovea.models.correction import corrections, held_back
from parafovea.settings.networks import Activation


def activated(
    scores: Tensor, activation: Activation, base: Tensor | None = None, *, caution: float = 1.0
) -> Tensor:
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
        The input's own bands, (N, band, [z,] y, x); for "residual". With as many scores as bands,
        these are added; with more, they filter the bands: see `models.correction`.
    caution : float
        Weight of the expected error of scores that filter: see `correction.held_back`.

    Returns
    -------
    Tensor
        Values in [0, 1], in the dtype of `scores`, and in their shape or that of `base`.
    """
    if activation == "residual":
        if base is None:
            raise ValueError("activation residual needs the bands that it is added to: pass `base`")
        if scores.shape[1] == base.shape[1]:
            return (base + scores).clamp(0, 1)
        return filtered(scores, base, caution=caution)[0]
    if activation == "none":
        return scores
    return scores.softmax(dim=1) if activation == "softmax" else scores.sigmoid()


def filtered(scores: Tensor, base: Tensor, *, caution: float) -> tuple[Tensor, Tensor]:
    """Return the bands that scores filter, and the trust in the change of their brightness.

    Parameters
    ----------
    scores : Tensor
        (N, channel, [z,] y, x), of `corrections`; z is 1.
    base : Tensor
        (N, band, [z,] y, x), the input's own bands.
    caution : float
        See `correction.held_back`.

    Returns
    -------
    bands : Tensor
        (N, band, [z,] y, x), in [0, 1].
    trust : Tensor
        (N, 1, [z,] y, x), in [0, 1].
    """
    flat = scores.dim() == 5
    if flat:
        scores, base = scores.squeeze(2), base.squeeze(2)
    change, trust = held_back(*corrections(scores, base), caution)
    found = (base + change).clamp(0, 1)
    return (found.unsqueeze(2), trust.unsqueeze(2)) if flat else (found, trust)
