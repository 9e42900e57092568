"""Export of a model to TorchScript, ONNX or OpenVINO, verified against torch."""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parafovea import __version__
from parafovea.errors import ConfigError, ModelError
from parafovea.models.activation import activated
from parafovea.models.folder import load_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.runtime.optional_packages import (
    import_extra,
    import_onnxruntime,
    import_openvino,
    older_torch_allowed,
)
from parafovea.settings.networks import Activation
from parafovea.settings.recipe import ModelSpec
from parafovea.storage.store import replacing

#: Name of the metadata: an extra file in a TorchScript archive, a section in OpenVINO's.
METADATA = "parafovea"

INPUTS = ("features", "context")
OUTPUT = "probabilities"


class Format(Protocol):
    """An export format.

    Raises
    ------
    MissingExtraError
        On construction, if a package for the format is not installed.
    """

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network.

        Parameters
        ----------
        network : Module
            Maps features and, optionally, context to probabilities; in evaluation mode.
        inputs : sequence of Tensor
            Example inputs; other batch sizes, and other sizes in multiples of 16, must work too.
        path : Path
            File or folder to write.
        metadata : mapping of str to str
            Metadata to store with the network.
        """
        ...

    def run(self, path: Path, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
        """Read a network back and return its probabilities."""
        ...


class TorchScriptFormat:
    """A file for `torch.jit.load`, from Python or C++; `_extra_files` reads the metadata.

    torch deprecates TorchScript, but has no successor whose files `torch.jit.load` reads.
    """

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network; as `Format.write`."""
        with older_torch_allowed():
            # Verified afterwards, from the file.
            traced = torch.jit.trace(network, tuple(inputs), check_trace=False)  # type: ignore[no-untyped-call]
            extra = {f"{METADATA}.json": json.dumps(dict(metadata))}
            content = io.BytesIO()
            torch.jit.save(traced, content, _extra_files=extra)
        # Leave out the debug records: source locations with the paths of this machine.
        with zipfile.ZipFile(content) as full, zipfile.ZipFile(path, "w") as kept:
            for record in full.infolist():
                if not record.filename.endswith(".debug_pkl"):
                    kept.writestr(record, full.read(record))

    def run(self, path: Path, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
        """Read a network back and return its probabilities."""
        with older_torch_allowed():
            network = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
        return cast(NDArray[np.float32], network(*inputs).numpy())


class OnnxFormat:
    """One ONNX file with metadata as properties, and named inputs and output."""

    def __init__(self) -> None:
        import_extra("onnxscript")
        self._runtime = import_onnxruntime()

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network; as `Format.write`."""
        # It warns about missing packages whose operators are not used here.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with older_torch_allowed():
            # Features and context share their axis names on purpose.
            warnings.filterwarnings("ignore", "# The axis name", UserWarning)
            program = torch.onnx.export(
                network,
                tuple(inputs),
                input_names=INPUTS[: len(inputs)],
                output_names=[OUTPUT],
                dynamic_shapes=_dynamic(inputs),
                verbose=False,
            )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        model = program.model
        for node in model.graph.all_nodes():
            # Source locations with the paths of this machine.
            node.metadata_props.clear()
        model.metadata_props.update(metadata)
        model.producer_name, model.producer_version = "parafovea", metadata["parafovea_version"]
        program.save(str(path), external_data=False)

    def run(self, path: Path, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
        """Read a network back and return its probabilities."""
        session = self._runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        named = dict(zip(INPUTS, (values.numpy() for values in inputs), strict=False))
        return cast(NDArray[np.float32], session.run([OUTPUT], named)[0])


class OpenVinoFormat:
    """A folder with OpenVINO's `model.xml` and `model.bin`, metadata as runtime information."""

    files = frozenset({"model.xml", "model.bin"})

    def __init__(self) -> None:
        self._openvino = import_openvino()

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network; as `Format.write`."""
        with older_torch_allowed():
            program = torch.export.export(
                network, tuple(inputs), dynamic_shapes=tuple(_dynamic(inputs))
            )
            model = self._openvino.convert_model(program)
        model.output(0).set_names({OUTPUT})
        for name, value in metadata.items():
            model.set_rt_info(value, [METADATA, name])
        path.mkdir()
        # In float32 instead of the default half precision, since it is verified against float32.
        self._openvino.save_model(model, path / "model.xml", compress_to_fp16=False)

    def run(self, path: Path, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
        """Read a network back and return its probabilities."""
        properties = {"INFERENCE_PRECISION_HINT": "f32"}
        network = self._openvino.Core().compile_model(path / "model.xml", "CPU", properties)
        named = dict(zip(INPUTS, (values.numpy() for values in inputs), strict=False))
        return cast(NDArray[np.float32], network(named)[OUTPUT])


def _dynamic(inputs: Sequence[Tensor]) -> list[dict[int, Any]]:
    """Return the dynamic axes of the inputs: the batch, and spatial axes in multiples of 16."""
    batch = torch.export.Dim("batch", min=1)
    axes = "zyx"[-(inputs[0].ndim - 2) :]
    spatial = [16 * torch.export.Dim(f"{axis}_over_16", min=1) for axis in axes]
    return [{0: batch, **dict(enumerate(spatial, start=2))} for _ in inputs]


FormatName = Literal["torchscript", "onnx", "openvino"]

FORMATS: dict[FormatName, type[Format]] = {
    "torchscript": TorchScriptFormat,
    "onnx": OnnxFormat,
    "openvino": OpenVinoFormat,
}

#: Maximum difference between an exported network's probabilities and those of torch in float32.
TOLERANCE = 1e-4

#: Input shape along z, y, x for tracing a network, and another one for verifying it.
TRACED, CHECKED = (32, 48, 64), (16, 64, 32)


class StandaloneUNet(nn.Module):
    """A FusedUNet from features at full resolution to probabilities.

    Parameters
    ----------
    network : FusedUNet
        Network in evaluation mode.
    activation : {"softmax", "sigmoid", "residual"}
        Activation of the model.
    base : sequence of int
        Indices of the bands (the first channels of the features) that a residual is added to.
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
    """Export a model's network to a format of other runtimes.

    The network takes `features`, (N, input_channels, [z,] y, x) float32 at full resolution with
    the normalized voxels as the first channels if the model has `raw_input`, and, if it has a
    context, `context`, (N, context_channels, [z,] y, x) of the same size. It returns
    `probabilities`, (N, classes, [z,] y, x) float32: they add up to 1 in a segmentation, are
    heatmaps in a detection, and bands in a refinement. N and the sizes, in multiples of 16, are
    dynamic. The file contains the result of `metadata`.

    The file is read back and compared with torch on random input of another size; only a verified
    file is written.

    Parameters
    ----------
    folder : Path
        Model folder.
    output : Path
        File to write; for openvino, a folder for `model.xml` and `model.bin`. Replaced if it
        exists.
    form : {"torchscript", "onnx", "openvino"}
        The format.

    Returns
    -------
    float
        Maximum difference of a probability from torch in float32.

    Raises
    ------
    ModelError
        If the model folder is invalid, or the exported network gives different results.
    ConfigError
        If `output` exists and is not an earlier export.
    MissingExtraError
        If a package for the format is not installed.
    """
    _check_output(output, form)
    spec, network = load_model(folder)
    if spec.conditions:
        raise ModelError(
            f"{folder} takes the conditions {', '.join(spec.conditions)}, which exported "
            "networks do not support: run it in the workflow or with parafovea run"
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
                f"than {TOLERANCE:.0e}, and was not written: use another format, or other versions "
                "of the packages listed by `parafovea doctor`"
            )
    return difference


def metadata(spec: ModelSpec) -> dict[str, str]:
    """Return the metadata of an exported network: values as JSON, except for plain strings.

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
    """Return random features and, if the model has one, context; the same at every call.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model, for the channels.
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
    """Raise `ConfigError` if replacing `output` would remove anything but an earlier export."""
    if form != "openvino":
        if output.is_dir():
            raise ConfigError(f"{output} is a folder: give a file to write for format {form}")
    elif output.is_file():
        raise ConfigError(f"{output} is a file: give a folder to write for format openvino")
    elif output.is_dir() and {path.name for path in output.iterdir()} - OpenVinoFormat.files:
        raise ConfigError(
            f"{output} contains files other than an exported model, which would be lost: give a "
            "new or empty folder"
        )
