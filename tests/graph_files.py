"""Small networks of other projects, as files of ONNX, TorchScript and torch.export."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from parafovea.runtime.optional_packages import older_torch_allowed


def seeded_unet(*, dimensions: int = 3, channels: int = 1, classes: int = 3) -> nn.Module:
    """Return a UNet of MONAI with weights that are the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = UNet(
            spatial_dims=dimensions,
            in_channels=channels,
            out_channels=classes,
            channels=(4, 8),
            strides=(2,),
            num_res_units=1,
        )
    return network.eval()


class Outputs(nn.Module):
    """A network with a dictionary of outputs, the second of which is another's scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"coarse": images[:, :, ::2], "scores": self.network(images)}


def write_onnx(
    path: Path,
    network: nn.Module,
    shape: Sequence[int],
    *,
    free: bool = True,
    outputs: Sequence[str] = ("scores",),
    **options: Any,
) -> Path:
    """Write a network as ONNX, with sizes that are free but for the channels unless told."""
    axes = {0: "batch"} | {n: f"side_{n}" for n in range(2, len(shape))}
    # the exporter by tracing takes a tenth of the time of the newer one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(tuple(shape)),),
            str(path),
            input_names=["images"],
            output_names=list(outputs),
            dynamic_axes={"images": axes, **dict.fromkeys(outputs, axes)} if free else None,
            opset_version=17,
            dynamo=False,
            **options,
        )
    return path


def write_torchscript(path: Path, network: nn.Module, shape: Sequence[int]) -> Path:
    """Write a network as TorchScript, traced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, (torch.rand(tuple(shape)),), strict=False)
        torch.jit.save(traced, str(path))
    return path


def write_exported(
    path: Path, network: nn.Module, shape: Sequence[int], *, free: int | None = 2
) -> Path:
    """Write a network by torch.export, for multiples of `free`, or for this shape alone."""
    shapes = None
    if free is not None:
        sides = {n: free * torch.export.Dim(f"s{n}", min=2) for n in range(2, len(shape))}
        shapes = ({0: torch.export.Dim("batch", min=1), **sides},)
    with older_torch_allowed():
        program = torch.export.export(network, (torch.rand(tuple(shape)),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path
