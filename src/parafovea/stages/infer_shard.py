"""Stage infer: weighted sums of the network's predictions over one shard's windows."""

from __future__ import annotations

import logging
from pathlib import Path

from parafovea.devices import choose_device, choose_dtype
from parafovea.inference.engine import predicted
from parafovea.inference.engines import choose_engine
from parafovea.inference.inputs import ModelInputs, SampleInputs
from parafovea.inference.predictor import Predictor
from parafovea.inference.settings import InferenceSettings
from parafovea.inference.shard import Shard, open_sums
from parafovea.models.folder import load_model
from parafovea.models.spec import Overrides
from parafovea.progress import tracked

logger = logging.getLogger(__name__)

_NONE = Overrides()


def infer_shard(
    inputs: ModelInputs,
    model: Path,
    output: Path,
    *,
    shard: int,
    settings: InferenceSettings,
    overrides: Overrides = _NONE,
) -> None:
    """Predict one shard's windows and write their weighted sums.

    Parameters
    ----------
    inputs : ModelInputs
        The sample's volume and features.
    model : Path
        Model folder.
    output : Path
        Zarr to write: (class, z, y, x) int64, weight times probability in fixed point, over the
        voxels that the shard's windows touch.
    shard : int
        Which shard, from 1 to `settings.shards`.
    settings : InferenceSettings
        Windows, blending and precision.
    overrides : Overrides
        Properties of the model that the inputs were made with others of, on purpose.

    Raises
    ------
    ModelError
        If the model folder is wrong, or was made for other inputs.
    GridError
        If the window does not fit the network, or there is no such shard.
    ConfigError
        If the engine does not run on the device, or cannot compile the network.
    MissingExtraError
        If the engine is not installed.
    """
    spec, network = load_model(model)
    opened = SampleInputs(inputs, spec.model_copy(update=overrides.given))
    share = Shard.of(opened, spec, settings, number=shard)
    device = choose_device()
    dtype = choose_dtype(settings.precision, device)
    engine = choose_engine(settings.engine, device, compiled=settings.compile)
    facts = (share.part.size, share.layout.window, device, dtype, engine)
    logger.info("%d windows of %s on %s, %s, by %s", *facts)
    predictor = Predictor(
        network,
        device=device,
        dtype=dtype,
        batch_size=settings.batch_size,
        engine=engine,
        compiled=settings.compile,
    )
    windows = predicted(share.inputs, predictor, share.layout, share.part)
    with open_sums(output, share, dtype=dtype, engine=engine, overrides=overrides) as sums:
        for box, probabilities in tracked(windows, share.part.size, "windows"):
            sums.add(box, probabilities)
