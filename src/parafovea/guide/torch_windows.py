"""Any torch network on the windows of a scan in memory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.config.guide_config import BLENDINGS
from parafovea.errors import GridError, ModelError, ScoreError
from parafovea.geometry.grid import shape3
from parafovea.geometry.resample import read_reflected_array
from parafovea.geometry.windows import Layout
from parafovea.guide.arguments import chosen_device
from parafovea.inference.array_inputs import checked_volume
from parafovea.inference.array_windows import blended
from parafovea.inference.blending import fixed_weights, importance_map

#: Largest score times number of windows in a voxel that the fixed-point sums of windows hold.
_MOST = 2.0**15


def sliding_window_inference(
    model: Callable[[torch.Tensor], torch.Tensor],
    scan: NDArray[Any],
    patch_size: Sequence[int],
    stride: Sequence[int],
    batch_size: int = 1,
    device: str | None = None,
    *,
    blending: str = "gaussian",
    sigma: float | None = None,
) -> NDArray[np.float32]:
    """Apply a torch network to overlapping windows of a scan, and blend its outputs.

    Parameters
    ----------
    model : torch.nn.Module or callable
        From (N, 1, z, y, x) float32 to (N, class, z, y, x) of the same size. It is put into
        evaluation mode, on `device`. For a model folder, use `InferencePipeline`.
    scan : ndarray
        (z, y, x), as the network takes it: neither resampled nor normalized here.
    patch_size, stride : sequence of int
        Voxels of a window, and from one window to the next, along z, y, x. The scan is mirrored
        where a window is larger.
    batch_size : int
        Windows per forward pass.
    device : str, optional
        "cpu", "cuda" or "cuda:1"; by default a GPU if there is one.
    blending : str
        "gaussian", "linear" or "average", or another importance map of this package.
    sigma : float, optional
        Width of the Gaussian as a share of the window; 0.125 by default.

    Returns
    -------
    ndarray
        (class, z, y, x) float32.

    Raises
    ------
    GridError
        If the scan is no volume, or windows leave voxels uncovered.
    ModelError
        If `model` is no network, or its output has another shape or values that are too large.
    ScoreError
        If an output is not finite.
    """
    if not callable(model):
        raise ModelError(
            f"model {model!r} is no torch network: for a model folder, use "
            "InferencePipeline(checkpoint).predict(scan, spacing)"
        )
    if batch_size < 1:
        raise GridError(f"batch_size {batch_size} must be at least 1")
    window, steps = shape3(patch_size, "patch_size"), shape3(stride, "stride")
    values = np.asarray(checked_volume(scan, "scan"), np.float32)
    layout = Layout.strided(values.shape, window, stride=steps)
    weights = importance_map(cast(Any, BLENDINGS.get(blending, blending)), window, sigma=sigma)
    overlaps = int(np.prod([-(-n // s) for n, s in zip(window, steps, strict=True)]))
    chosen = chosen_device(device)

    def outputs() -> Iterator[tuple[Any, NDArray[np.float32]]]:
        boxes = list(layout.windows())
        for first in range(0, len(boxes), batch_size):
            batch = boxes[first : first + batch_size]
            stack = np.stack([read_reflected_array(values, box) for box in batch])[:, None]
            scores = model(torch.from_numpy(stack).to(chosen))
            yield from zip(batch, _checked_scores(scores, stack, _MOST / overlaps), strict=True)

    with torch.inference_mode(), _evaluating(model, chosen):
        results = outputs()
        box, window_scores = next(results)
        every = itertools.chain([(box, window_scores)], results)
        return blended(every, layout, fixed_weights(weights), classes=len(window_scores))


def _checked_scores(scores: Any, stack: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    """Return the scores of a batch (N, class, z, y, x), or raise an error."""
    if not isinstance(scores, torch.Tensor):
        raise ModelError(
            f"the model returns a {type(scores).__name__}, not one tensor: wrap it in a function "
            "that returns the scores, such as lambda batch: model(batch)[0]"
        )
    size = (len(stack), *stack.shape[2:])
    if scores.ndim != 5 or (len(scores), *scores.shape[2:]) != size:
        raise ModelError(
            f"the model returns the shape {tuple(scores.shape)} for {stack.shape}: it must return "
            "(N, class, z, y, x) of the same size"
        )
    values = np.ascontiguousarray(scores.float().cpu().numpy())
    highest = float(np.abs(values).max())
    if not np.isfinite(highest):
        raise ScoreError("the model returns values that are NaN or infinite: check its input")
    if highest > most:
        raise ModelError(
            f"the model returns values up to {highest:g}, more than {most:g}, which weighted sums "
            "cannot hold: let it return probabilities"
        )
    return values


@contextlib.contextmanager
def _evaluating(model: Any, device: str) -> Iterator[None]:
    """Put a network on a device in evaluation mode, and each part back into its mode."""
    if not isinstance(model, torch.nn.Module):
        yield
        return
    modes = [(part, part.training) for part in model.modules()]
    model.to(device).eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
