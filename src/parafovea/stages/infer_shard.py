"""Stage infer: weighted sums of the network's predictions over one shard's windows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from parafovea.errors import ModelError
from parafovea.inference.augmentation_views import AugmentedInputs, AugmentedPredictor
from parafovea.inference.engines import choose_engine
from parafovea.inference.memory import Execution, require_memory, run_within_memory
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.inference.shard import Shard, open_sums
from parafovea.inference.window_loop import predicted
from parafovea.models.folder import load_model
from parafovea.models.model_json import require_cacheable
from parafovea.preprocess.body import windows_with_body
from parafovea.preprocess.body_masks import stored_volume_body
from parafovea.runtime.devices import choose_device, choose_dtype
from parafovea.runtime.progress import tracked
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Overrides

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
    views: Sequence[ModelInputs] = (),
) -> None:
    """Predict one shard's windows and write their weighted sums.

    Where memory runs out, the shard is computed anew with half the batch, and at last on the CPU,
    in the precision that was chosen first: see `inference.memory`. Where the statistics of batches
    count, it goes to the CPU at once.

    Parameters
    ----------
    inputs : ModelInputs
        The sample's volume and features.
    model : Path
        Model folder.
    output : Path
        Zarr to write: (class, z, y, x) int64, weight times probability in fixed point, over the
        voxels that the shard's windows touch. Of a detection, windows without body are left out.
    shard : int
        Which shard, from 1 to the number that `settings` asks for.
    settings : InferenceSettings
        Windows, blending and precision.
    overrides : Overrides
        Properties of the model that the inputs were made with others of, on purpose.
    views : sequence of ModelInputs
        The inputs of each augmented view, in the order of `settings.tta`.

    Raises
    ------
    ModelError
        If the model folder is wrong, or was made for other inputs.
    GridError
        If the window does not fit the network, an augmentation not the model, or there is no such
        shard.
    MemoryLimitError
        If not even one window fits the memory of the CPU, or the whole volume that of the device.
    StoreError
        If an input is missing or damaged, or the volume of a detection was stored without body.
    ConfigError
        If the engine does not run on the device, or cannot compile the network.
    MissingExtraError
        If the engine is not installed.
    """
    spec, network = load_model(model)
    require_cacheable(spec, str(model))
    if [view.augmentation for view in views] != list(settings.tta):
        raise ModelError(
            f"inputs are there for the views {[view.augmentation for view in views]}, but "
            f"inference.tta is {list(settings.tta)}: run extract_features for each"
        )
    recipe = spec.model_copy(update=overrides.given)
    opened = SampleInputs(inputs, recipe)
    augmented = [AugmentedInputs(SampleInputs(view, recipe)) for view in views]
    share = Shard.of(opened, spec, settings, number=shard)
    if spec.kind == "detection" and settings.skip_empty:
        body = stored_volume_body(inputs.volume)
        share = replace(share, wanted=windows_with_body(share.layout, opened.grid, body))
        empty = share.part.size - share.count
        logger.info("%d of %d windows show no body and are left out", empty, share.part.size)
    device = choose_device()
    dtype = choose_dtype(settings.precision, device)
    # No more than all shards together have windows: the same for each of them.
    batch_size = min(settings.batch_size, share.layout.lattice.size)
    count = share.count * settings.views
    by_torch = settings.compile or not settings.do_eval
    engine = choose_engine(settings.engine, device, compiled=by_torch)
    facts = (count, share.layout.window, device, dtype, engine)
    logger.info("%d windows of %s on %s, %s, by %s", *facts)
    if not settings.do_eval:
        logger.warning(
            "do_eval is false: batch normalization takes the statistics of each batch, so that "
            "results depend on which windows share one"
        )
    if settings.mode == "whole_volume" and share.count:
        require_memory(spec, share.layout.window, dtype, device)

    def compute(execution: Execution) -> None:
        predictor = Predictor(
            network,
            device=execution.device,
            dtype=dtype,
            batch_size=execution.batch_size,
            batch_statistics=not settings.do_eval,
            engine=engine,
            compiled=settings.compile,
            activation=spec.activation,
            base=spec.base,
        )
        windows = chain(
            predicted(share.inputs, predictor, share.layout, share.part, share.wanted),
            *(
                predicted(
                    view,
                    AugmentedPredictor(predictor, view),
                    share.layout,
                    share.part,
                    share.wanted,
                )
                for view in augmented
            ),
        )
        with open_sums(
            output,
            share,
            dtype=dtype,
            engine=engine,
            overrides=overrides,
            execution=execution,
        ) as sums:
            for box, probabilities in tracked(windows, count, "windows"):
                sums.add(box, probabilities)

    # With the statistics of batches, a smaller batch would be another result.
    run_within_memory(compute, Execution(device, batch_size), halving=settings.do_eval)
