"""Networks of MONAI, by class name and arguments, with weights as safetensors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from parafovea.errors import ModelError, describe, shown
from parafovea.models.folder import fill, finite_problem, layer_problem
from parafovea.models.networks.image_network import ModuleNetwork
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec

#: The networks that map an image to scores of its voxels, by class name in `monai.networks.nets`.
ARCHITECTURES = (
    "AHNet",
    "AttentionUnet",
    "BasicUNet",
    "BasicUNetPlusPlus",
    "DynUNet",
    "FlexibleUNet",
    "HighResNet",
    "MedNeXt",
    "SegResNet",
    "SegResNetDS",
    "SegResNetDS2",
    "SegResNetVAE",
    "SwinUNETR",
    "UNet",
    "UNETR",
    "VNet",
)

#: Arguments that would fetch weights from elsewhere.
REFUSED = ("pretrained",)

#: Most tensors, and most numbers in them, of a network.
MOST_TENSORS, MOST_NUMBERS = 1 << 14, 1 << 32

#: Largest number among the arguments, and most items of a list of them.
MOST_ARGUMENT, MOST_ITEMS = 1 << 16, 1 << 10

#: Layers that MONAI's transformers have and do not use, and that earlier versions do not have.
UNUSED = (".norm_cross_attn.", ".cross_attn.")


def require_known(architecture: str, source: str) -> None:
    """Raise `ModelError` if a class that `source` names is not one of `ARCHITECTURES`."""
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{source}: the network {shown(architecture)!r} is not one of MONAI's that predict "
            f"voxels: {', '.join(ARCHITECTURES)}"
        )


def build(architecture: str, arguments: Mapping[str, Any], *, source: str) -> nn.Module:
    """Return a network of MONAI with weights on the device "meta".

    Parameters
    ----------
    architecture : str
        Name of the class, one of `ARCHITECTURES`.
    arguments : mapping
        Its arguments by name, plain values.
    source : str
        Where they are stated, for messages.

    Raises
    ------
    ModelError
        If the class is not one of the list, does not take the arguments, or would be too large.
    """
    require_known(architecture, source)
    refused = [name for name in REFUSED if arguments.get(name)]
    if refused:
        raise ModelError(
            f"{source}: the argument {refused[0]} of {architecture} would download weights: set it "
            "to false, and give the weights as a file"
        )
    for name, value in arguments.items():
        _require_small(value, f"{source}: the argument {shown(name)} of {architecture}")
    known = inspect.signature(_class_of(architecture)).parameters
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise ModelError(
            f"{source}: {architecture} has no argument {shown(unknown[0])!r}: it has "
            f"{', '.join(known)}"
        )
    missing = [
        name
        for name, each in known.items()
        if each.default is inspect.Parameter.empty and name not in arguments
    ]
    if missing:
        raise ModelError(
            f"{source}: {architecture} needs the arguments {', '.join(missing)}, which are missing"
        )
    with _bounded(source, architecture), torch.device("meta"), _SmallTables():
        return _instance(architecture, arguments, source=source)


def with_shared(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a network under every name that it has for them.

    A network may hold a layer twice, of which a file may have either name or both; layers that
    MONAI does not use are 0 where the file lacks them, and left out where the network lacks them.

    Parameters
    ----------
    module : nn.Module
        The network; may be on the device "meta".
    tensors : mapping of str to Tensor
        Weights by name.
    """
    named: dict[int, str] = {}
    wanted = module.state_dict(keep_vars=True)
    for name, tensor in wanted.items():
        if name in tensors:
            named.setdefault(id(tensor), name)
    found = {
        name: tensor
        for name, tensor in tensors.items()
        if name in wanted or not any(part in name for part in UNUSED)
    }
    for name, tensor in wanted.items():
        if name in found:
            continue
        if id(tensor) in named:
            found[name] = tensors[named[id(tensor)]]
        elif any(part in name for part in UNUSED):
            found[name] = torch.zeros(tensor.shape)
    return found


def without_shared(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of `with_shared` under the first name that a network has for each."""
    kept: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        kept.setdefault(id(tensor), name)
    names = set(kept.values())
    return {name: tensor for name, tensor in tensors.items() if name in names}


def weights_problem(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """Return why weights are not those of a network; None if they are.

    Parameters
    ----------
    module : nn.Module
        The network; may be on the device "meta".
    tensors : mapping of str to Tensor
        Weights by name, from `with_shared`.
    """
    return layer_problem(tensors, module) or finite_problem(tensors)


def load(folder: Path, spec: ModelSpec) -> ModuleNetwork:
    """Read a network of MONAI from a model folder.

    Raises
    ------
    ModelError
        If the weights are damaged, not finite, or do not fit the network.
    """
    network = spec.network
    if not isinstance(network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    weights, source = folder / NETWORK_FILES["monai"], str(folder / "model.json")
    module = build(network.architecture, network.arguments, source=source)
    tensors: dict[str, Tensor] = {}
    try:
        tensors = with_shared(module, load_file(weights))
        problem = weights_problem(module, tensors)
    except SafetensorError as error:
        problem = shown(" ".join(str(error).split()))
    if problem is not None:
        raise ModelError(
            f"{weights} does not fit {network.architecture} with the arguments in model.json: "
            f"{problem}; import the network again"
        )
    fill(module, tensors)
    if any(each.is_meta for each in module.buffers()):
        # buffers that are no weights are computed by the class; its size is known to be right
        module = _instance(network.architecture, network.arguments, source=source)
        fill(module, tensors)
    return ModuleNetwork(network, module.eval().requires_grad_(False), spec.name)


def _class_of(architecture: str) -> Any:
    # MONAI takes more than a second to load
    import monai.networks.nets as nets

    return getattr(nets, architecture)


def _instance(architecture: str, arguments: Mapping[str, Any], *, source: str) -> nn.Module:
    try:
        network: nn.Module = _class_of(architecture)(**arguments)
    except ModelError:
        raise
    # whatever a class raises at an argument that it was not written for
    except Exception as error:
        raise ModelError(
            f"{source}: {architecture} does not take its arguments {shown(dict(arguments))}: "
            f"{shown(' '.join(describe(error).split()), longest=300)}"
        ) from error
    return network


def _require_small(value: Any, what: str) -> None:
    """Raise `ModelError` for numbers and lists that no network has, before they take memory."""
    if isinstance(value, int | float) and not abs(value) <= MOST_ARGUMENT:
        raise ModelError(f"{what} has the number {shown(value)}: at most {MOST_ARGUMENT} is taken")
    if isinstance(value, list | tuple | dict):
        if len(value) > MOST_ITEMS:
            raise ModelError(f"{what} has {len(value)} items: at most {MOST_ITEMS} are taken")
        for item in value.values() if isinstance(value, dict) else value:
            _require_small(item, what)


class _SmallTables(TorchFunctionMode):
    """Computes tables on the CPU whose numbers a constructor reads, under the device "meta"."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.linspace:
            given["device"] = "cpu"
        return func(*args, **given)


@contextmanager
def _bounded(source: str, architecture: str) -> Iterator[None]:
    """Raise `ModelError` as soon as a network that is built has too many layers or weights."""
    tensors = numbers = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, numbers
        tensors += 1
        numbers += 0 if parameter is None else parameter.numel()
        if tensors > MOST_TENSORS or numbers > MOST_NUMBERS:
            raise ModelError(
                f"{source}: {architecture} has more than {MOST_TENSORS} tensors or {MOST_NUMBERS} "
                "numbers with its arguments: check them"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
