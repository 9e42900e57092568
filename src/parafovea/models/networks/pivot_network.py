"""Networks of PIVOT, for nodules in CT: a 3D UNet with a head for each task, as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from parafovea.errors import ModelError, shown
from parafovea.models.folder import fill, finite_problem, layer_problem
from parafovea.models.networks.image_network import ModuleNetwork
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec

#: Heads that a network may have; `size` is pooled to three values of a window.
HEADS = ("segmentation", "center", "size", "triage")

#: Most levels of a network.
MOST_LEVELS = 8

#: The second convolution of a level, and its first.
LAST, FIRST = "conv.double_conv.3.weight", "conv.double_conv.0.weight"


@dataclass(frozen=True)
class PivotShape:
    """The architecture of a network, as the shapes of its weights state it.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    widths : tuple of int
        Channels of each level, the bottleneck last.
    deepest_first : bool
        Whether the first of the decoders follows the bottleneck.
    features : int
        Channels that the heads take.
    heads : mapping of str to tuple of int
        Channels of each head, and voxels of its kernel along an axis.
    """

    in_channels: int
    widths: tuple[int, ...]
    deepest_first: bool
    features: int
    heads: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> PivotShape:
        """Return the architecture of weights.

        Raises
        ------
        ModelError
            If they are not those of such a network.
        """
        levels = 0
        while f"backbone.encoders.{levels}.{LAST}" in tensors and levels <= MOST_LEVELS:
            levels += 1
        names = [f"backbone.encoders.{level}." for level in range(levels)]
        names.append("backbone.bottleneck.")
        first, last = f"{names[0]}{FIRST}", f"backbone.decoders.{levels - 1}.upsample.weight"
        kernels = {name: tensors.get(f"{name}_head.conv.weight") for name in HEADS}
        heads = {
            name: (kernel.shape[0], kernel.shape[2])
            for name, kernel in kernels.items()
            if kernel is not None and kernel.ndim == 5
        }
        wanted = [first, *(f"{name}{LAST}" for name in names), last]
        wanted += ["backbone.output_conv.weight", "backbone.decoders.0.upsample.weight"]
        missing = [name for name in wanted if name not in tensors or tensors[name].ndim != 5]
        if missing or not heads or not 1 <= levels <= MOST_LEVELS:
            counted = f"{len(heads)} heads, {levels} levels"
            reason = f"{missing[0]} is missing" if missing else counted
            raise ModelError(
                f"no network of PIVOT ({reason}): its weights are backbone.encoders.N.conv, "
                f"backbone.bottleneck.conv, backbone.decoders.N, and a head of {', '.join(HEADS)}"
            )
        widths = tuple(tensors[f"{name}{LAST}"].shape[0] for name in names)
        return cls(
            tensors[first].shape[1],
            widths,
            tensors["backbone.decoders.0.upsample.weight"].shape[0] == widths[-1],
            tensors["backbone.output_conv.weight"].shape[0],
            heads,
        )


class PivotNetwork(nn.Module):
    """A 3D UNet whose heads give logits of voxels, and pooled values.

    Parameters
    ----------
    shape : PivotShape
        Its architecture.
    """

    def __init__(self, shape: PivotShape) -> None:
        super().__init__()
        self.backbone = _Backbone(shape)
        self._heads = tuple(shape.heads)
        for name, (channels, kernel) in shape.heads.items():
            self.add_module(f"{name}_head", _Head(shape.features, channels, kernel))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the output of each head by name: (window, channel, z, y, x), or (window, channel).

        Parameters
        ----------
        images : Tensor
            (window, channel, z, y, x).
        """
        features = self.backbone(images)
        found = {name: getattr(self, f"{name}_head")(features) for name in self._heads}
        if "size" in found:
            found["size"] = found["size"].mean(dim=(2, 3, 4))
        return found


class _Double(nn.Module):
    """Two convolutions, each normalized."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(taken, given, 3, padding=1, bias=False),
            nn.BatchNorm3d(given),
            nn.ReLU(inplace=True),
            nn.Conv3d(given, given, 3, padding=1, bias=False),
            nn.BatchNorm3d(given),
            nn.ReLU(inplace=True),
        )

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.double_conv(values)
        return result


class _Level(nn.Module):
    """A level of the encoder."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.conv = _Double(taken, given)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.conv(values)
        return result


class _Decoder(nn.Module):
    """A level of the decoder, which joins the encoder's values to those from below."""

    def __init__(self, below: int, given: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose3d(below, given, 2, stride=2)
        self.conv = _Double(2 * given, given)

    def forward(self, below: Tensor, skipped: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat([skipped, self.upsample(below)], dim=1))
        return result


class _Head(nn.Module):
    """A convolution."""

    def __init__(self, taken: int, given: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(taken, given, kernel, padding=kernel // 2)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.conv(values)
        return result


class _Backbone(nn.Module):
    def __init__(self, shape: PivotShape) -> None:
        super().__init__()
        *levels, deepest = shape.widths
        taken = (shape.in_channels, *levels)
        self.encoders = nn.ModuleList(map(_Level, taken, levels))
        self.bottleneck = _Level(levels[-1], deepest)
        decoders = list(map(_Decoder, shape.widths[1:], levels))
        self._deepest_first = shape.deepest_first
        self.decoders = nn.ModuleList(decoders[::-1] if shape.deepest_first else decoders)
        self.output_conv = nn.Conv3d(levels[0], shape.features, 1)

    def forward(self, images: Tensor) -> Tensor:
        values, skipped = images, []
        for level in self.encoders:
            values = level(values)
            skipped.append(values)
            values = functional.max_pool3d(values, 2)
        values = self.bottleneck(values)
        decoders = list(self.decoders)
        for decoder in decoders if self._deepest_first else decoders[::-1]:
            values = decoder(values, skipped.pop())
        result: Tensor = self.output_conv(values)
        return result


def build(tensors: Mapping[str, Tensor]) -> tuple[PivotNetwork, str | None]:
    """Return the network of weights, on the device "meta", and why they do not fit it, if so.

    Raises
    ------
    ModelError
        If they are not those of such a network.
    """
    with torch.device("meta"):
        network = PivotNetwork(PivotShape.of(tensors))
    return network, layer_problem(tensors, network) or finite_problem(tensors)


def load(folder: Path, spec: ModelSpec) -> ModuleNetwork:
    """Read a network of PIVOT from a model folder.

    Raises
    ------
    ModelError
        If the weights are damaged, not finite, or not those of such a network.
    """
    network = spec.network
    if not isinstance(network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    weights = folder / NETWORK_FILES["pivot"]
    try:
        tensors = load_file(weights)
        module, problem = build(tensors)
    except (SafetensorError, ModelError) as error:
        raise ModelError(
            f"{weights}: {shown(' '.join(str(error).split()))}: import the network again"
        ) from error
    if problem is not None:
        raise ModelError(f"{weights}: {problem}; import the network again")
    fill(module, tensors)
    return ModuleNetwork(network, module.eval().requires_grad_(False), spec.name)
