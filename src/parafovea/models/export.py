"""A model as one file for other runtimes: no Parafovea needed to run it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from parafovea import __version__
from parafovea.errors import ConfigError, ModelError
from parafovea.models.activation import activated
from parafovea.models.folder import load_model
from parafovea.models.formats import (
    Format,
    OnnxFormat,
    OpenVinoFormat,
    TorchScriptFormat,
)
from parafovea.models.network import FusedUNet
from parafovea.models.spec import Activation, ModelSpec
from parafovea.store import replacing

FormatName = Literal["torchscript", "onnx", "openvino"]

FORMATS: dict[FormatName, type[Format]] = {
    "torchscript": TorchScriptFormat,
    "onnx": OnnxFormat,
    "openvino": OpenVinoFormat,
}

#: Largest difference between an exported network's probabilities and those of torch in float32.
TOLERANCE = 1e-4

#: Voxels along z, y, x that a network is traced with, and others that it is then checked with.
TRACED, CHECKED = (32, 48, 64), (16, 64, 32)


class StandaloneUNet(nn.Module):
    """A FusedUNet from features at full resolution to probabilities.

    Parameters
    ----------
    network : FusedUNet
        In evaluation mode.
    activation : {"softmax", "sigmoid", "residual"}
        `activation` of the model's description.
    base : sequence of int
        Its `base`: the bands, which are the first channels of the features, that a residual is
        added to.
    """

    def __init__(
        self, network: FusedUNet, activation: Activation, base: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self.activation: Activation = activation
        self.base = list(base)

    def forward(self, features: Tensor, context: Tensor | None = None) -> Tensor:
        """Return class probabilities; inputs and shapes as of `FusedUNet.forward`."""
        scores = cast(Tensor, self.network(features, context))
        return activated(scores, self.activation, features[:, self.base] if self.base else None)


def export_model(folder: Path, output: Path, *, form: FormatName) -> float:
    """Write a model's network in a format that other runtimes read.

    The network takes `features`, (N, input_channels, [z,] y, x) float32 at full resolution with
    the normalized voxels as the first channels where the model has `raw_input`, and, where it has a
    context, `context`, (N, context_channels, [z,] y, x) of the same size. It returns
    `probabilities`, (N, classes, [z,] y, x) float32, which add up to 1 in a segmentation, and are
    one heatmap each in a detection, and the output's bands in a refinement. N is free, and so are
    the sizes, in multiples of 16. What `metadata` says is in the file.

    The file is read back and compared to torch on random input of another size; it appears
    whole and checked, or not at all.

    Parameters
    ----------
    folder : Path
        Model folder.
    output : Path
        File to write; for openvino, a folder for `model.xml` and `model.bin`. Replaced if there.
    form : {"torchscript", "onnx", "openvino"}
        The format.

    Returns
    -------
    float
        Largest difference of a probability to torch in float32.

    Raises
    ------
    ModelError
        If the model folder is wrong, or the exported network computes something else.
    ConfigError
        If `output` is something that must not be replaced.
    MissingExtraError
        If a package for the format is not installed.
    """
    _check_output(output, form)
    spec, network = load_model(folder)
    if spec.network.conditions:
        raise ModelError(
            f"{folder} takes the conditions {', '.join(spec.network.conditions)}, which exported "
            "networks cannot be given: use it by the workflow or by parafovea run"
        )
    standalone = StandaloneUNet(network, spec.activation, spec.base).eval().requires_grad_(False)
    with replacing(output) as partial, torch.no_grad():
        written = FORMATS[form]()
        written.write(standalone, random_inputs(spec, TRACED, count=2), partial, metadata(spec))
        inputs = random_inputs(spec, CHECKED, count=1)
        found = torch.from_numpy(written.run(partial, inputs))
        difference = float((found - standalone(*inputs)).abs().max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"the network of {folder} as {form} differs from torch by {difference:.1e}, more "
                f"than {TOLERANCE:.0e}, and was not kept: use another format, or other versions "
                "of the packages that `parafovea doctor` lists"
            )
    return difference


def metadata(spec: ModelSpec) -> dict[str, str]:
    """Return what a user of the exported network must know, each as JSON but for plain text.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    """
    facts: dict[str, Any] = {
        "name": spec.name,
        "kind": spec.kind,
        "inputs": ["features", "context"] if spec.context else ["features"],
        "output": "probabilities",
        "axes": "N, channel, z, y, x" if spec.network.dimensions == 3 else "N, channel, y, x",
        "size_multiple": 16,
        "classes": spec.classes,
        "spacing": spec.spacing,
        "unit": spec.unit,
        "normalization": spec.normalization.model_dump(mode="json"),
        "bands": spec.bands,
        "raw_input": spec.raw_input,
        "backbone": spec.backbone.model_dump(mode="json"),
        "context": None if spec.context is None else spec.context.model_dump(mode="json"),
        "weights_sha256": spec.weights_sha256,
        "parafovea_version": __version__,
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in facts.items()
    }


def random_inputs(spec: ModelSpec, size: tuple[int, int, int], *, count: int) -> tuple[Tensor, ...]:
    """Return random features and, where the model has one, context; the same at every call.

    Parameters
    ----------
    spec : ModelSpec
        Gives the channels.
    size : tuple of int
        Voxels along z, y, x.
    count : int
        Batch size.

    Returns
    -------
    tuple of Tensor
        (count, channel, [z,] y, x) float32 each.
    """
    generator = torch.Generator().manual_seed(0)
    spatial = size[-spec.network.dimensions :]
    channels = [spec.input_channels] + ([spec.context_channels] if spec.context else [])
    return tuple(torch.randn(count, n, *spatial, generator=generator) for n in channels)


def _check_output(output: Path, form: FormatName) -> None:
    """Raise `ConfigError` where replacing `output` would remove something else than an export."""
    if form != "openvino":
        if output.is_dir():
            raise ConfigError(f"{output} is a folder: name the file to write, for {form}")
    elif output.is_file():
        raise ConfigError(f"{output} is a file: name a folder to write to, for openvino")
    elif output.is_dir() and {path.name for path in output.iterdir()} - OpenVinoFormat.files:
        raise ConfigError(
            f"{output} holds other files than an exported model, which would be lost: name a "
            "folder that is new or empty"
        )
