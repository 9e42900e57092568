"""EfficientNet-Lite0, restated, so that published weights alone are a network.

Its blocks, without squeeze-and-excite and with ReLU6: an inverted residual each, of which those of
stride 2 are padded at the end of an axis more than at its start, as TensorFlow does.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parafovea.errors import ModelError
from parafovea.models.folder import fill, finite_problem, layer_problem
from parafovea.runtime.optional_packages import import_extra
from parafovea.upstream.safe_pickle import read_pickle

#: Architectures by the name in `parafovea import-backbone --architecture`.
ARCHITECTURES = ("efficientnet_lite0",)

#: Of each stage: blocks, kernel, stride of the first, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

#: Channels of the first and the last convolution, and classes of ImageNet.
FIRST, LAST, CLASSES = 32, 1280, 1000

EPSILON = 1e-3


class PaddedConv(nn.Conv2d):
    """A convolution without bias whose output has ceil(n / stride) pixels for whole strides."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)
        total = kernel - stride
        self.before, self.after = total // 2, total - total // 2

    def forward(self, images: Tensor) -> Tensor:
        """Return the filtered images."""
        if self.after:
            images = F.pad(images, (self.before, self.after, self.before, self.after))
        found: Tensor = super().forward(images)
        return found


class InvertedResidual(nn.Module):
    """Expansion, a filter of each channel, projection; the input is added where shapes allow."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expanded, self.residual = expansion != 1, stride == 1 and channels == out
        if self.expanded:
            self._expand_conv = PaddedConv(channels, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._depthwise_conv = PaddedConv(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._project_conv = PaddedConv(inner, out, 1)
        self._bn2 = nn.BatchNorm2d(out, eps=EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """Return the block's features."""
        seen = images
        if self.expanded:
            seen = F.relu6(self._bn0(self._expand_conv(seen)))
        seen = F.relu6(self._bn1(self._depthwise_conv(seen)))
        found: Tensor = self._bn2(self._project_conv(seen))
        return found + images if self.residual else found


class EfficientNetLite0(nn.Module):
    """The network, under the names of the published weights; its outputs are `output_names`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = PaddedConv(3, FIRST, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(FIRST, eps=EPSILON)
        blocks, channels = [], FIRST
        for count, kernel, stride, expansion, out in STAGES:
            for number in range(count):
                first = stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, out, kernel, first, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = PaddedConv(channels, LAST, 1)
        self._bn1 = nn.BatchNorm2d(LAST, eps=EPSILON)
        self._fc = nn.Linear(LAST, CLASSES)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs: the stem, each block, the head, the scores of the classes."""
        blocks = (f"block_{number}" for number in range(len(self._blocks)))
        return ("stem", *blocks, "head", "classes")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs for images (image, 3, row, column)."""
        seen = F.relu6(self._bn0(self._conv_stem(images)))
        found = [seen]
        for block in self._blocks:
            seen = block(seen)
            found.append(seen)
        seen = F.relu6(self._bn1(self._conv_head(seen)))
        found.append(seen)
        found.append(self._fc(seen.mean(dim=(2, 3))))
        return tuple(found)


def load_efficientnet_lite0(path: Path) -> EfficientNetLite0:
    """Return the network with the weights of a file, in evaluation mode.

    Parameters
    ----------
    path : Path
        A pickle of tensors by name, of any version of torch; it is read as data.

    Raises
    ------
    ModelError
        If the file is damaged or holds other things, or its tensors are not of this network.
    """
    content = read_pickle(path)
    tensors = content if isinstance(content, dict) else {}
    if not tensors or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
    ):
        raise ModelError(f"{path} is no dictionary of tensors by name: give a state dict")
    with torch.device("meta"):
        network = EfficientNetLite0()
    problem = layer_problem(tensors, network) or finite_problem(tensors)
    if problem is not None:
        raise ModelError(f"{path} does not fit efficientnet_lite0: {problem}")
    fill(
        network,
        {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()},
    )
    return network.eval()


def export_architecture(path: Path, architecture: str, folder: Path) -> Path:
    """Write the ONNX file of a known architecture with the weights of a file.

    Parameters
    ----------
    path : Path
        The weights.
    architecture : str
        One of `ARCHITECTURES`.
    folder : Path
        Folder to write to.

    Returns
    -------
    Path
        The file, for images of any height and width.

    Raises
    ------
    ModelError
        If the architecture is not known, or the weights do not fit it.
    MissingExtraError
        If onnx or onnxscript is not installed.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"architecture {architecture!r} is not known: use {', '.join(ARCHITECTURES)}"
        )
    network = load_efficientnet_lite0(path)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for package in ("onnx", "onnxscript"):
        import_extra(package)
    written = folder / f"{architecture}.onnx"
    sides = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 128, 160),),
            written,
            output_names=list(network.output_names),
            dynamic_shapes=(sides,),
            opset_version=18,
            external_data=False,
            verbose=False,
        )
    return written
