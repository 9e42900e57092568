"""Networks of MONAI, by class name and arguments, with weights as safetensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from parafovea.errors import ModelError, describe, shown
from parafovea.models.folder import fill, finite_problem, layer_problem
from parafovea.models.networks.image_network import ModuleNetwork
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec

#: The networks that map an image to scores of its voxels, by class name in `monai.networks.nets`.
ARCHITECTURES = (
    "AttentionUnet",
    "BasicUNet",
    "BasicUNetPlusPlus",
    "DynUNet",
    "FlexibleUNet",
    "SegResNet",
    "SegResNetDS",
    "SegResNetVAE",
    "SwinUNETR",
    "UNet",
    "UNETR",
    "VNet",
)

#: Arguments that would fetch weights from elsewhere.
REFUSED = ("pretrained",)


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
        If the class is not one of the list, or does not take the arguments.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{source}: the network {shown(architecture)!r} is not one of MONAI's that predict "
            f"voxels: {', '.join(ARCHITECTURES)}"
        )
    refused = [name for name in REFUSED if arguments.get(name)]
    if refused:
        raise ModelError(
            f"{source}: the argument {refused[0]} of {architecture} would download weights: set it "
            "to false, and give the weights as a file"
        )
    # MONAI takes more than a second to load
    import monai.networks.nets as nets

    kind = getattr(nets, architecture)
    known = inspect.signature(kind).parameters
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise ModelError(
            f"{source}: {architecture} has no argument {shown(unknown[0])!r}: it has "
            f"{', '.join(known)}"
        )
    try:
        with torch.device("meta"):
            network: nn.Module = kind(**arguments)
    except (TypeError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
        raise ModelError(
            f"{source}: {architecture} does not take its arguments {dict(arguments)}: "
            f"{shown(describe(error))}"
        ) from error
    return network


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
    weights = folder / NETWORK_FILES["monai"]
    module = build(network.architecture, network.arguments, source=str(folder / "model.json"))
    try:
        tensors = load_file(weights)
        problem = layer_problem(tensors, module) or finite_problem(tensors)
    except SafetensorError as error:
        problem = shown(" ".join(str(error).split()))
    if problem is not None:
        raise ModelError(
            f"{weights} does not fit {network.architecture} with the arguments in model.json: "
            f"{problem}; import the network again"
        )
    fill(module, tensors)
    return ModuleNetwork(network, module.eval().requires_grad_(False), spec.name)
