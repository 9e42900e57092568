"""Engine, precision and predictor of windows for the network of any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from parafovea.errors import ConfigError
from parafovea.inference.engines import choose_engine
from parafovea.inference.execution import Execution
from parafovea.inference.image_predictor import ImagePredictor
from parafovea.inference.predictor import Predictor
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.image_network import ImageNetwork
from parafovea.runtime.devices import choose_dtype
from parafovea.settings.inference import EngineName, InferenceSettings
from parafovea.settings.recipe import ModelSpec

Network = FusedUNet | ImageNetwork


class Computation(NamedTuple):
    """Engine and precision of a network."""

    engine: EngineName
    dtype: torch.dtype


def choose_computation(
    network: Network, settings: InferenceSettings, device: torch.device
) -> Computation:
    """Return the engine and the precision of a network on a device.

    Raises
    ------
    ConfigError
        If the settings do not fit the network or the device.
    MissingExtraError
        If the network needs an engine that is not installed.
    """
    dtype = choose_dtype(settings.precision, device)
    if isinstance(network, FusedUNet):
        by_torch = settings.compile or not settings.do_eval
        return Computation(choose_engine(settings.engine, device, compiled=by_torch), dtype)
    for name, given in (
        ("compile: true", settings.compile),
        ("do_eval: false", not settings.do_eval),
    ):
        if given:
            raise ConfigError(
                f"{name} is for the FusedUNet, and {network.name} has a network of type "
                f"{network.spec.type}: leave it out"
            )
    engine = network.choose_engine(settings.engine, device)
    computed = network.precision(dtype, engine)
    if settings.precision != "auto" and computed != dtype:
        name = str(computed).removeprefix("torch.")
        raise ConfigError(
            f"precision: {settings.precision} is not what {engine} computes {network.name} in, "
            f"which is {name}: set precision: auto"
        )
    return Computation(engine, computed)


def window_predictor(
    network: Network,
    spec: ModelSpec,
    computation: Computation,
    execution: Execution,
    settings: InferenceSettings,
    *,
    flipped: Sequence[int] = (),
    tells_trust: bool = False,
) -> Predictor | ImagePredictor:
    """Return a predictor of windows.

    Parameters
    ----------
    network : FusedUNet or ImageNetwork
        The network of the model.
    spec : ModelSpec
        Description of the model.
    computation : Computation
        Engine and precision.
    execution : Execution
        Device and batch size.
    settings : InferenceSettings
        Whether to compile, and whether to normalize by the statistics of each batch.
    flipped : sequence of int
        Axes along which an `ImageNetwork` sees windows the other way: see `ImagePredictor`.
    tells_trust : bool
        Whether a FusedUNet returns its trust as a further channel: see `Predictor`.
    """
    if not isinstance(network, FusedUNet):
        return ImagePredictor(
            network,
            spec,
            device=execution.device,
            dtype=computation.dtype,
            batch_size=execution.batch_size,
            engine=computation.engine,
            flipped=flipped,
        )
    return Predictor(
        network,
        device=execution.device,
        dtype=computation.dtype,
        batch_size=execution.batch_size,
        batch_statistics=not settings.do_eval,
        engine=computation.engine,
        compiled=settings.compile,
        activation=spec.activation,
        base=spec.base,
        caution=settings.caution,
        tells_trust=tells_trust,
    )
