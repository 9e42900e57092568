"""The formats of exported networks: how each is written, and run again to check it."""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parafovea.extras import (
    import_extra,
    import_onnxruntime,
    import_openvino,
    older_torch_allowed,
)

#: Name of the extra file in a TorchScript archive, and of the section in OpenVINO's, with metadata.
METADATA = "parafovea"

INPUTS = ("features", "context")
OUTPUT = "probabilities"


class Format(Protocol):
    """A format of exported networks. Making one raises where a package for it is missing.

    Raises
    ------
    MissingExtraError
        If a package is not installed.
    """

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network.

        Parameters
        ----------
        network : Module
            From features and perhaps context to probabilities, in evaluation mode.
        inputs : sequence of Tensor
            Examples of its inputs; other batches and sizes in multiples of 16 must do as well.
        path : Path
            File to write, or folder.
        metadata : mapping of str to str
            Goes with the network.
        """
        ...

    def run(self, path: Path, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
        """Read a network back and return its probabilities."""
        ...


class TorchScriptFormat:
    """A file for `torch.jit.load`, from Python or C++; `_extra_files` reads the metadata.

    torch calls TorchScript deprecated, but has no successor whose files `torch.jit.load` reads.
    """

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network; as `Format.write`."""
        with older_torch_allowed():
            # Compared to torch afterwards, by what reads the file.
            traced = torch.jit.trace(network, tuple(inputs), check_trace=False)  # type: ignore[no-untyped-call]
            extra = {f"{METADATA}.json": json.dumps(dict(metadata))}
            content = io.BytesIO()
            torch.jit.save(traced, content, _extra_files=extra)
        # Where in its source each operation comes from, with the paths of this machine, stays out.
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
    """One ONNX file, metadata as its properties; names of its inputs and output as documented."""

    def __init__(self) -> None:
        import_extra("onnxscript", extra="onnx")
        self._runtime = import_onnxruntime()

    def write(
        self, network: nn.Module, inputs: Sequence[Tensor], path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a network; as `Format.write`."""
        # Says that packages are missing whose operators are not used here.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with older_torch_allowed():
            # Features and context share the names of their axes, as they should.
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
            # Where in Parafovea's source a node comes from, with the paths of this machine.
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
    """A folder with OpenVINO's `model.xml` and `model.bin`, metadata as its runtime information."""

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
        # Not in half precision, which would be the default: the check is against float32.
        self._openvino.save_model(model, path / "model.xml", compress_to_fp16=False)

    def run(self, path: Path, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
        """Read a network back and return its probabilities."""
        properties = {"INFERENCE_PRECISION_HINT": "f32"}
        network = self._openvino.Core().compile_model(path / "model.xml", "CPU", properties)
        named = dict(zip(INPUTS, (values.numpy() for values in inputs), strict=False))
        return cast(NDArray[np.float32], network(named)[OUTPUT])


def _dynamic(inputs: Sequence[Tensor]) -> list[dict[int, Any]]:
    """Return which axes of the inputs are free: the batch, and space in multiples of 16."""
    batch = torch.export.Dim("batch", min=1)
    axes = "zyx"[-(inputs[0].ndim - 2) :]
    spatial = [16 * torch.export.Dim(f"{axis}_over_16", min=1) for axis in axes]
    return [{0: batch, **dict(enumerate(spatial, start=2))} for _ in inputs]
