"""Reading and writing of model folders: `model.safetensors` and `model.json`, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from parafovea.errors import ModelError, shown
from parafovea.models.model_json import read_spec, require_replaceable
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.weights_file import write_weights
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.recipe import ModelSpec
from parafovea.storage.store import replacing

WEIGHTS = "model.safetensors"
CARD = "model.json"


def load_model(folder: str | Path) -> tuple[ModelSpec, FusedUNet]:
    """Read a model folder and return its description and its network, ready to predict.

    Parameters
    ----------
    folder : str or Path
        The model folder.

    Returns
    -------
    spec : ModelSpec
        Content of `model.json`.
    network : FusedUNet
        Network in evaluation mode, float32, on the CPU.

    Raises
    ------
    ModelError
        If a file is missing or damaged, the hash differs, the weights do not fit the architecture,
        or the network is not a FusedUNet.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    if not isinstance(spec.network, FusedUNetSpec):
        raise ModelError(
            f"{folder} has a network of type {spec.network.type}, not a FusedUNet, which is needed "
            "here: use it in the workflow or with parafovea predict"
        )
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"{weights} is missing: copy both files of the model folder")
    found = file_sha256(weights)
    if found != spec.weights_sha256:
        raise ModelError(
            f"{weights} has the hash {found[:12]}…, but {CARD} states {spec.weights_sha256[:12]}…: "
            "the weights were changed or belong to another model; copy the folder again"
        )
    with torch.device("meta"):
        network = FusedUNet.from_spec(spec)
    tensors: dict[str, Tensor] = {}
    try:
        tensors = load_file(weights)
        problem = layer_problem(tensors, network)
    except SafetensorError as error:
        problem = shown(" ".join(str(error).split()))
    if problem is None:
        tensors = {name: tensor.float() for name, tensor in tensors.items()}
        problem = finite_problem(tensors)
    if problem is not None:
        raise ModelError(
            f"{weights} does not match the architecture in {CARD}: {problem}; copy both files of "
            "the folder again, from the same model"
        )
    fill(network, tensors)
    return spec, network.eval()


def layer_problem(tensors: Mapping[str, Tensor], network: nn.Module) -> str | None:
    """Return how tensors differ from the layers of a network; None if they match.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Tensors by layer name; `num_batches_tracked` is optional.
    network : nn.Module
        The network; may be on the device "meta".

    Returns
    -------
    str or None
        The missing or unexpected layers, or the first one with another shape, with both shapes, or
        of whole or complex numbers.
    """
    wanted = network.state_dict()
    missing = [n for n in wanted if n not in tensors and not n.endswith("batches_tracked")]
    extra = [name for name in tensors if name not in wanted]
    for names, what in ((missing, "missing"), (extra, "unexpected")):
        if names:
            some = ", ".join(shown(name, longest=60) for name in names[:3])
            more = ", …" if len(names) > 3 else ""
            return f"{len(names)} layers are {what} ({some}{more})"
    for name in (n for n in wanted if n in tensors):
        found, needed = tuple(tensors[name].shape), tuple(wanted[name].shape)
        if found != needed:
            channels = f"{found[1]} channels, not {needed[1]}" if found[1:2] != needed[1:2] else ""
            takes = f" (it takes {channels})" if channels and len(found) > 1 < len(needed) else ""
            return f"layer {name} has the shape {found}, but must have {needed}{takes}"
        if tensors[name].is_floating_point() != wanted[name].is_floating_point():
            real = "real" if wanted[name].is_floating_point() else "whole"
            return f"layer {name} has the type {tensors[name].dtype}, not {real} numbers"
    return None


def finite_problem(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the first layer with NaN or infinite values; None if there is none."""
    for name, tensor in tensors.items():
        # A sum is finite only if all its terms are; it needs no memory.
        if not tensor.is_floating_point() or torch.isfinite(tensor.sum(dtype=torch.float64)):
            continue
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            named = shown(name, longest=60)
            return f"{wrong} of {tensor.numel()} values of layer {named} are NaN or infinite"
    return None


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Assign tensors to a network on the device "meta", without copying them.

    Parameters
    ----------
    network : nn.Module
        Network on the device "meta".
    tensors : mapping of str to Tensor
        float32 tensors by name; `num_batches_tracked` is optional.

    Raises
    ------
    RuntimeError
        If names or shapes do not match.
    """
    counters = {
        name: torch.zeros((), dtype=tensor.dtype)
        for name, tensor in network.state_dict().items()
        if name.endswith("batches_tracked")
    }
    network.load_state_dict({**counters, **tensors}, assign=True)


def is_exact_in_half(tensor: Tensor) -> bool:
    """Return whether float16 represents every value of a tensor exactly."""
    return tensor.dtype == torch.float16 or torch.equal(tensor.half().to(tensor.dtype), tensor)


def _stored(tensor: Tensor, exact: bool) -> Tensor:
    """Return a tensor as it is stored: kernels in half precision if allowed, the rest exact."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.ndim > 1 and (not exact or is_exact_in_half(tensor)):
        half = tensor.half()
        if bool(torch.isfinite(half).all()):
            return half
    return tensor.float()


def save_model(
    folder: Path, spec: ModelSpec, network: FusedUNet, *, exact: bool = False
) -> ModelSpec:
    """Write a model folder atomically.

    Convolution kernels are rounded to float16, which halves the folder; biases and the
    statistics of normalizations stay float32.

    Parameters
    ----------
    folder : Path
        Folder to write, replaced if it exists.
    spec : ModelSpec
        Description; its hash is set to that of the written weights.
    network : FusedUNet
        Network with the weights.
    exact : bool, default False
        Keep kernels in float32 if float16 would change a value.

    Returns
    -------
    ModelSpec
        The description as written.

    Raises
    ------
    ModelError
        If the folder exists and holds something other than a model, or a weight is not finite.
    """
    require_replaceable(folder)
    tensors = {
        name: _stored(tensor, exact)
        for name, tensor in network.state_dict().items()
        if not name.endswith("batches_tracked")
    }
    problem = finite_problem(tensors)
    if problem is not None:
        raise ModelError(f"{folder} is not written: {problem}, and so would be every prediction")
    with replacing(folder) as partial:
        partial.mkdir()
        write_weights(tensors, partial / WEIGHTS)
        written = spec.model_copy(update={"weights_sha256": file_sha256(partial / WEIGHTS)})
        text = json.dumps(written.model_dump(mode="json"), indent=2)
        (partial / CARD).write_text(text + "\n", encoding="utf-8")
    return written
