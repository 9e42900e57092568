"""Weights of the encoders of images with bands: files of tensors, read without running code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from parafovea.errors import ModelError, shown

Tensors = dict[str, torch.Tensor]


def read_tensors(path: Path, *, backbone: str, source: str) -> Tensors:
    """Return the tensors of a file by name.

    Parameters
    ----------
    path : Path
        Safetensors, or a pickle of tensors alone.
    backbone : str
        Name of the backbone, for messages.
    source : str
        Where the file is published and what it is called, for messages.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or holds anything else than tensors.
    """
    if not path.is_file():
        raise ModelError(
            f"backbone {backbone}: file {path} does not exist: download the weights, {source}, and "
            "set the argument `weights` to that file"
        )
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickles that are refused in the next moment
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        EOFError,
        OSError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(
            f"backbone {backbone}: {path} cannot be read as tensors alone, and nothing else in it "
            f"is run: {shown(' '.join(str(error).split()), longest=200)}: download it again"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise ModelError(
            f"backbone {backbone}: {path} is not a dictionary of tensors: use the published weights"
        )
    return content


def fill_network(
    network: nn.Module,
    tensors: Tensors,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    chosen: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    blocks: str,
    what: str,
    unfit: Callable[[str], ModelError],
) -> None:
    """Give a network its weights: finite, of the right shapes, without blocks left over.

    Parameters
    ----------
    network : Module
        Without weights yet, on the device `meta`; in evaluation mode and frozen afterwards.
    tensors : dict of Tensor
        Those of the file under the names of the network; others are ignored.
    shapes : mapping
        Shape in the file of those tensors that have another one in the network.
    chosen : mapping
        What turns these into the tensors of the network, such as a choice of bands.
    blocks : str
        Beginning of the names of blocks, of which none may be left over.
    what : str
        What the architecture follows from: the variant, the size.
    unfit : callable
        Returns the error for a reason.

    Raises
    ------
    ModelError
        As returned by `unfit`.
    """
    found: Tensors = {}
    for name, empty in network.state_dict().items():
        wanted = shapes.get(name, tuple(empty.shape))
        if name not in tensors:
            raise unfit(f"tensor {name} is missing")
        values = tensors[name]
        if tuple(values.shape) != wanted:
            raise unfit(f"{name} is {tuple(values.shape)} in the file, {wanted} in the {what}")
        values = values.float()
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:
            raise unfit(f"{wrong} of {values.numel()} numbers of {name} are not finite")
        found[name] = chosen[name](values).contiguous() if name in chosen else values
    extra = sorted(n for n in tensors if n.startswith(blocks) and n not in found)
    if extra:
        raise unfit(f"{extra[0]} is of a block that the {what} does not have")
    network.load_state_dict(found, assign=True)
    network.eval().requires_grad_(False)
