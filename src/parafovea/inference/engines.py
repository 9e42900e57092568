"""Inference engines of a prepared network: torch, torch.compile and OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from parafovea.errors import ConfigError
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.inference_unet import InferenceUNet
from parafovea.runtime.devices import computes_bfloat16
from parafovea.runtime.optional_packages import import_openvino, is_installed, older_torch_allowed
from parafovea.settings.inference import EngineChoice, EngineName

Guides = Sequence[Tensor] | None


class Engine(Protocol):
    """Engine that runs a network on batches."""

    def logits(self, features: Tensor, guides: Guides, conditions: Tensor | None = None) -> Tensor:
        """Return class scores of a batch, (N, classes, [z,] y, x).

        Parameters
        ----------
        features : Tensor
            (N, base_channels, [z,] y, x), projected local input, channels last in memory.
        guides : sequence of Tensor or None
            Context at each level, as for `InferenceUNet.forward`.
        conditions : Tensor, optional
            (N, channel), for a network with conditions.
        """
        ...


def choose_engine(
    engine: EngineChoice, device: torch.device, *, compiled: bool = False
) -> EngineName:
    """Return the engine to use, resolving `engine: auto`.

    auto selects the engine that was faster, with small windows: of 64³ voxels (two cores, the model
    `cell`), OpenVINO took 1.01 times torch's time in bfloat16, and in float32, which a CPU without
    such instructions computes in, 0.69. In the windows that are chosen by default, 3 to 10 times as
    large, both take about the same time in float32 (0.92 to 1.1, with AVX-512 and with AVX2 alone),
    after 2 seconds for OpenVINO's compilation, so that it is not installed by default. The rows
    `engines` of the benchmarks show it for a machine.

    Parameters
    ----------
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        The setting.
    device : torch.device
        Device of the network; OpenVINO is used on CPUs only.
    compiled : bool
        Whether torch.compile is requested; auto is then torch.

    Raises
    ------
    ConfigError
        If OpenVINO is requested on a device other than a CPU, or onnxruntime, which runs imported
        networks only.
    """
    if engine == "onnxruntime":
        raise ConfigError(
            "engine: onnxruntime runs imported ONNX networks, not the FusedUNet: use engine: auto"
        )
    if engine == "openvino" and device.type != "cpu":
        raise ConfigError(
            f"engine: openvino runs on CPUs, but this job runs on {device}: use engine: auto, or "
            "set PARAFOVEA_DEVICE=cpu"
        )
    if engine != "auto":
        return engine
    slow = device.type == "cpu" and not computes_bfloat16(device)
    return "openvino" if slow and not compiled and is_installed("openvino") else "torch"


def make_engine(
    name: EngineName,
    network: FusedUNet,
    prepared: InferenceUNet,
    *,
    dtype: torch.dtype,
    compiled: bool = False,
) -> Engine:
    """Return an engine.

    Parameters
    ----------
    name : {"torch", "openvino"}
        Engine from `choose_engine`.
    network : FusedUNet
        The network as trained, float32; not modified.
    prepared : InferenceUNet
        The prepared network on its device, in `dtype` and channels-last format.
    dtype : torch.dtype
        Precision of the convolutions.
    compiled : bool
        Whether to use torch.compile.

    Raises
    ------
    MissingExtraError
        If OpenVINO is selected but not installed.
    """
    if name == "openvino":
        return OpenVinoEngine(network, dtype=dtype)
    if not compiled:
        return TorchEngine(prepared)
    order = torch.channels_last if network.dimensions == 2 else torch.channels_last_3d
    device = next(prepared.parameters()).device
    plain = InferenceUNet(network, plain=True).to(device, dtype)
    return CompiledEngine(plain.to(memory_format=order))  # type: ignore[call-overload]


class TorchEngine:
    """Engine that runs the network in torch's eager mode.

    Parameters
    ----------
    network : InferenceUNet
        Network on its device, in its precision.
    """

    def __init__(self, network: InferenceUNet) -> None:
        self._network = network

    def logits(self, features: Tensor, guides: Guides, conditions: Tensor | None = None) -> Tensor:
        """Return class scores; see `Engine.logits`."""
        return cast(Tensor, self._network(features, guides, conditions))


class CompiledEngine:
    """Engine that runs the network with torch.compile, compiled at the first batch of a shape.

    Parameters
    ----------
    network : InferenceUNet
        Network with `plain=True`, on its device, in its precision.
    """

    def __init__(self, network: InferenceUNet) -> None:
        with older_torch_allowed():
            self._network = torch.compile(network, dynamic=False)

    def logits(self, features: Tensor, guides: Guides, conditions: Tensor | None = None) -> Tensor:
        """Return class scores; see `Engine.logits`.

        Raises
        ------
        ConfigError
            If the network cannot be compiled, usually because no compiler is installed.
        """
        # Loading the compiler takes seconds.
        from torch._dynamo.exc import TorchDynamoException

        try:
            return cast(Tensor, self._network(features, guides, conditions))
        except TorchDynamoException as error:
            lines = [line.strip() for line in str(error).splitlines()]
            # The first line names the backend; the reason follows.
            reason = next((line for line in lines if line and not line.endswith(":")), "")
            raise ConfigError(
                f"compile: true failed ({reason}): install a C++ compiler such as g++ and the "
                "headers of Python, set CXX to another compiler, or set compile: false"
            ) from error


class OpenVinoEngine:
    """Engine that runs the network with OpenVINO, converted at the first batch of a shape.

    It uses as many threads as torch, without pinning them to cores, so that several jobs can share
    a machine.

    Parameters
    ----------
    network : FusedUNet
        Network in evaluation mode, float32; not modified.
    dtype : torch.dtype
        Precision of its convolutions; without bfloat16 instructions, OpenVINO uses float32.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    """

    def __init__(self, network: FusedUNet, *, dtype: torch.dtype) -> None:
        self._openvino = import_openvino()
        self._network = _ChannelsLast(InferenceUNet(network, plain=True)).eval()
        self._properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: dict[tuple[torch.Size, ...], Any] = {}

    def logits(self, features: Tensor, guides: Guides, conditions: Tensor | None = None) -> Tensor:
        """Return class scores in float32; see `Engine.logits`."""
        known = [] if conditions is None else [conditions]
        arrays = [_channels_last(values) for values in (features, *known, *(guides or ()))]
        shapes = tuple(array.shape for array in arrays)
        if shapes not in self._compiled:
            self._compiled[shapes] = self._compile(shapes)
        inputs = [array.numpy() for array in arrays]
        scores = self._compiled[shapes](inputs, share_inputs=True)[0]
        return torch.from_numpy(scores).movedim(-1, 1)

    def _compile(self, shapes: Sequence[torch.Size]) -> Any:
        with torch.inference_mode(False), torch.no_grad(), older_torch_allowed():
            examples = tuple(torch.zeros(shape) for shape in shapes)
            model = self._openvino.convert_model(torch.export.export(self._network, examples))
        return self._openvino.Core().compile_model(model, "CPU", self._properties)


def _channels_last(values: Tensor) -> Tensor:
    """Return (N, channel, ...) as (N, ..., channel) float32; no copy if channels are last."""
    return values.movedim(1, -1).float().contiguous()


class _ChannelsLast(nn.Module):
    """A network with channels-last inputs and output, as in memory."""

    def __init__(self, network: InferenceUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, *others: Tensor) -> Tensor:
        """Return class scores (N, [z,] y, x, classes); conditions come before guides."""
        known = len(self.network.films) > 0
        first = [guide.movedim(-1, 1) for guide in others[int(known) :]]
        conditions = others[0] if known else None
        scores = self.network(features.movedim(-1, 1), first or None, conditions)
        return cast(Tensor, scores.movedim(1, -1))
