"""ONNX graphs, run by ONNX Runtime or OpenVINO."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parafovea.errors import ConfigError, MissingExtraError, ModelError, describe, shown
from parafovea.models.networks.image_network import ImageNetwork, Runner
from parafovea.models.networks.openvino_runner import openvino_precision, openvino_runner
from parafovea.runtime.optional_packages import import_onnxruntime, import_openvino, is_installed
from parafovea.settings.inference import EngineChoice, EngineName
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec

#: Name by which ONNX Runtime knows a graphics card of NVIDIA.
CUDA = "CUDAExecutionProvider"

#: Parts of messages of ONNX Runtime that say that memory is exhausted.
EXHAUSTED = (
    "Failed to allocate memory",
    "bad allocation",
    "std::bad_alloc",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

_NUMBERS = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/\S+\.(?:h|cc|cpp):\d+ [^(]*\([^)]*\) ")


class OnnxNetwork(ImageNetwork):
    """An ONNX graph, opened by its engine on first use.

    Parameters
    ----------
    spec : ImageNetworkSpec
        Its description.
    path : Path
        The file, with the files of its external data beside it.
    name : str
        Name of the model, for messages.
    """

    def __init__(self, spec: ImageNetworkSpec, path: Path, name: str) -> None:
        super().__init__(spec, name)
        self._path = path

    def choose_engine(self, engine: EngineChoice, device: torch.device) -> EngineName:
        """Return the engine; see `ImageNetwork.choose_engine`.

        auto is onnxruntime where it is installed, otherwise openvino on a CPU.
        """
        if engine == "torch":
            raise ConfigError(
                f"engine: torch does not run {self.name}, which is an ONNX network: use engine: "
                "auto, onnxruntime or openvino"
            )
        if engine == "openvino" and device.type != "cpu":
            raise ConfigError(
                f"engine: openvino runs on CPUs, but this job runs on {device}: use engine: auto, "
                "or set PARAFOVEA_DEVICE=cpu"
            )
        if engine != "auto":
            return engine
        if is_installed("onnxruntime"):
            return "onnxruntime"
        if is_installed("openvino") and device.type == "cpu":
            return "openvino"
        raise MissingExtraError(
            f"{self.name} is an ONNX network, and onnxruntime, which runs it, is not installed: "
            'run `pip install "parafovea[onnx]"`, or on a CPU also "parafovea[openvino]"'
        )

    def precision(self, dtype: torch.dtype, engine: EngineName) -> torch.dtype:
        """Return the precision; see `ImageNetwork.precision`.

        ONNX Runtime computes in the types of the graph.
        """
        return openvino_precision(dtype) if engine == "openvino" else torch.float32

    def runner(self, device: torch.device, dtype: torch.dtype, engine: EngineName) -> Runner:
        """Return a function that runs the graph, of which outputs have names.

        Raises
        ------
        ModelError
            If the engine cannot open the graph.
        MissingExtraError
            If the engine is not installed.
        """
        if engine == "openvino":
            core = import_openvino().Core()

            def read(shape: tuple[int, ...]) -> Any:
                return core.read_model(self._path)

            return openvino_runner(read, dtype, name=self.name)
        return _Session(self._path, device, self.name)


class _Session:
    """A session of ONNX Runtime, as a runner."""

    def __init__(self, path: Path, device: torch.device, name: str) -> None:
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # what goes wrong is raised as well; its log would reach the terminal
        options.log_severity_level = 4
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda" and CUDA in runtime.get_available_providers():
            providers.insert(0, (CUDA, {"device_id": device.index or 0}))
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        # its exceptions have no common base but this one
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot open {path}: {shown(_text(error), longest=300)}"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._device, self._name = device, name

    def __call__(self, images: Tensor) -> dict[str, Any]:
        """Return the outputs by name."""
        arrays = np.ascontiguousarray(images.cpu().numpy())
        try:
            found = self._session.run(self._outputs, {self._input: arrays})
        except Exception as error:
            if any(text in str(error) for text in EXHAUSTED):
                raise MemoryError(_text(error)) from error
            raise ModelError(
                f"onnxruntime cannot run {self._name} on an input of the shape "
                f"{tuple(images.shape)}: {shown(_text(error), longest=400)}"
            ) from error
        return {
            name: self._tensor(values) for name, values in zip(self._outputs, found, strict=True)
        }

    def _tensor(self, values: Any) -> Any:
        """Return numbers as a tensor, and anything else as it is."""
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            return values
        return torch.from_numpy(values).to(self._device)


def _text(error: Exception) -> str:
    """Return a message of ONNX Runtime without its numbers and places of its own source."""
    return _PLACE.sub("", _NUMBERS.sub("", " ".join(describe(error).split())))


def onnx_session(path: Path, device: torch.device) -> Callable[[Tensor], dict[str, Any]]:
    """Return a function that runs an ONNX graph, of which outputs have names.

    Parameters
    ----------
    path : Path
        The file, which was checked.
    device : torch.device
        Where it runs, if ONNX Runtime has a provider for it; on the CPU otherwise.

    Raises
    ------
    ModelError
        If ONNX Runtime cannot open the graph.
    MissingExtraError
        If it is not installed.
    """
    return _Session(path, device, str(path))


def load(folder: Path, spec: ModelSpec) -> OnnxNetwork:
    """Return the ONNX network of a model folder, whose files were checked."""
    if not isinstance(spec.network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    return OnnxNetwork(spec.network, folder / NETWORK_FILES["onnx"], spec.name)
