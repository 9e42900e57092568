"""Scores that are not finite: found at once, and traced to the layer that made them.

A NaN would pass through every activation, and become a number when sums are stored as integers; an
infinite score would become a certain prediction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parafovea.errors import ModelError, ScoreError
from parafovea.geometry.grid import Box
from parafovea.models.folder import finite_problem
from parafovea.models.networks.inference_unet import InferenceUNet

#: Layers of a prepared network, and their names in the model folder.
_NAMES = (
    (r"encoder\.(\d+)", "enc{}"),
    (r"fusions\.(\d+)", "context_fusion{}"),
    (r"join\.(\d+)(\.layer)?", "dec{}.0"),
    (r"decoder\.(\d+)", "dec{}"),
    (r"films\.(\d+)", "film{}"),
)

Inputs = tuple[Tensor, Sequence[Tensor] | None, Tensor | None]


def all_finite(values: Tensor) -> bool:
    """Return whether all values of a tensor are finite, without memory for a mask if they are."""
    # A finite sum has finite terms only; that of finite terms may overflow.
    if bool(torch.isfinite(values.sum())):
        return True
    return bool(torch.isfinite(values).all())


def require_finite_scores(
    scores: Tensor,
    boxes: Sequence[Box],
    *,
    precision: torch.dtype,
    origin: Callable[[], str] | None = None,
) -> None:
    """Raise `ScoreError` if scores are not finite.

    Parameters
    ----------
    scores : Tensor
        (window, output, z, y, x) float32.
    boxes : sequence of Box
        The windows, as boxes of the volume.
    precision : torch.dtype
        Precision of the network.
    origin : callable, optional
        Returns where such scores begin.

    Raises
    ------
    ScoreError
        With the window, the voxel and the value, and where it comes from.
    """
    if all_finite(scores):
        return
    wrong = ~torch.isfinite(scores)
    window, output, z, y, x = (int(n) for n in wrong.nonzero()[0])
    box = boxes[window]
    voxel = (box.start[0] + z, box.start[1] + y, box.start[2] + x)
    value = float(scores[window, output, z, y, x])
    name = str(precision).removeprefix("torch.")
    count = int(wrong[window].sum())
    where = "" if origin is None else f" {origin()},"
    raise ScoreError(
        f"{count} of {wrong[window].numel()} scores of the window {box} are not finite: output "
        f"{output} is {value} at voxel {voxel},{where} in {name}: check the "
        "sample's values and the model's normalization, or use inference.precision: float32 if "
        "the network overflows"
    )


def require_finite_layers(network: InferenceUNet, precision: torch.dtype) -> None:
    """Raise `ModelError` if a layer is not finite after folding normalizations and rounding."""
    problem = finite_problem(network.state_dict())
    if problem is not None:
        name = str(precision).removeprefix("torch.")
        raise ModelError(
            f"{_original(problem)}, once the normalizations are folded into the kernels and these "
            f"are rounded to {name}: use inference.precision: float32, or train the model again"
        )


def first_layer(network: InferenceUNet, inputs: Inputs) -> str:
    """Return where values that are not finite begin, by running a prepared network again.

    Parameters
    ----------
    network : InferenceUNet
        The prepared network.
    inputs : tuple
        Its inputs, as from `Predictor.assemble`.
    """
    features, guides, conditions = inputs
    named = {
        "the projected features": [features],
        "the projected context": guides or [],
        "the conditions": [] if conditions is None else [conditions],
    }
    for what, tensors in named.items():
        if not all(map(all_finite, tensors)):
            return f"from {what}"
    found: list[str] = []

    def note(name: str) -> Any:
        def hook(_layer: nn.Module, _inputs: Any, result: Any) -> None:
            if not found and isinstance(result, Tensor) and not all_finite(result):
                found.append(name)

        return hook

    hooks = [
        layer.register_forward_hook(note(name)) for name, layer in network.named_modules() if name
    ]
    try:
        network(features, guides, conditions)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return "from the engine, while torch computes finite values"
    return f"from layer {_original(found[0])}"


def _original(name: str) -> str:
    """Return the name of a layer, or a text with it, as in the model folder."""
    for pattern, original in _NAMES:

        def renamed(match: re.Match[str], original: str = original) -> str:
            return original.format(int(match[1]) + 1)

        name = re.sub(pattern, renamed, name)
    return name
