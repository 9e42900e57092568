"""From a network's scores to probabilities: of classes that exclude each other, or of each."""

from __future__ import annotations

from torch import Tensor

from parafovea.models.spec import Activation


def probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """Return probabilities for a network's scores.

    Parameters
    ----------
    logits : Tensor
        (N, class, [z,] y, x), of a float type.
    activation : {"softmax", "sigmoid"}
        `Recipe.activation`: softmax makes classes that add up to 1, sigmoid judges each alone.

    Returns
    -------
    Tensor
        Of the shape and type of `logits`, in [0, 1].
    """
    return logits.softmax(dim=1) if activation == "softmax" else logits.sigmoid()
