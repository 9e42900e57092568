"""Stage infer_shard: weighted sums of the network's predictions over a shard's windows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from parafovea.errors import ModelError
from parafovea.inference.augmentation_views import AugmentedInputs, AugmentedPredictor
from parafovea.inference.execution import Execution
from parafovea.inference.memory import require_memory, run_within_memory
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.inference.scan_orientation import flipped_axes
from parafovea.inference.shard import Shard, open_sums
from parafovea.inference.window_loop import predicted
from parafovea.inference.window_plan import windows_with_body
from parafovea.inference.window_predictors import choose_computation, window_predictor
from parafovea.models.loading import load_network
from parafovea.models.model_json import require_cacheable
from parafovea.preprocess.body_masks import stored_volume_body
from parafovea.runtime.devices import choose_device
from parafovea.runtime.kept_objects import kept
from parafovea.runtime.progress import tracked
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Overrides, Recipe

logger = logging.getLogger(__name__)

_NONE: Mapping[str, Any] = {}


def infer_shard(
    volume: Path,
    features: Path | None = None,
    context: Path | None = None,
    *,
    sums: Path,
    view_features: Sequence[Path] = (),
    view_contexts: Sequence[Path] = (),
    model: str | Path,
    shard: int,
    settings: InferenceSettings | Mapping[str, Any],
    overrides: Overrides | Mapping[str, Any] = _NONE,
) -> None:
    """Predict one shard's windows and write their weighted sums.

    If memory runs out, the shard is computed again with half the batch, and finally on the CPU in
    the same precision: see `inference.memory`. With batch statistics, it falls back to the CPU
    at once.

    Parameters
    ----------
    volume : Path
        The sample's normalized volume.
    features : Path or None
        Its local features, if the model uses features.
    context : Path or None
        Its context features, if the model uses context.
    sums : Path
        Zarr to write: (class, z, y, x) int64, weight times probability in fixed point, over the
        voxels of the shard's windows. For a detection, windows without body are skipped.
    view_features, view_contexts : sequence of Path
        Features and context of each augmented view, in the order of `settings.tta`.
    model : str or Path
        Model folder.
    shard : int
        Number of the shard, from 1 to the number of shards in `settings`.
    settings : mapping
        Windows, blending and precision: the fields of `InferenceSettings`.
    overrides : mapping
        Properties of the model that were overridden for the inputs: the fields of `Overrides`.

    Raises
    ------
    ModelError
        If the model folder is invalid, or does not fit the inputs.
    GridError
        If the window does not fit the network, an augmentation does not fit the model, or the
        shard does not exist.
    MemoryLimitError
        If not even one window fits the memory of the CPU, or the whole volume that of the device.
    StoreError
        If an input is missing or damaged, or the volume of a detection was stored without body.
    ConfigError
        If the engine does not run on the device, or cannot compile the network.
    MissingExtraError
        If the engine is not installed.
    """
    settings = InferenceSettings.model_validate(settings)
    overrides = Overrides.model_validate(overrides)
    folder = Path(model)
    spec, network = kept("model", folder, lambda: load_network(folder))
    require_cacheable(spec, str(folder))
    recipe = spec.model_copy(update=overrides.given)
    opened = SampleInputs(ModelInputs(volume, features, context), recipe)
    augmented = [
        AugmentedInputs(SampleInputs(view, recipe))
        for view in _views(volume, view_features, view_contexts, recipe, settings.tta)
    ]
    flipped = flipped_axes(opened.volume, recipe)
    share = Shard.of(opened, spec, settings, number=shard)
    if spec.skips_empty and settings.skip_empty:
        body = stored_volume_body(volume)
        share = replace(share, wanted=windows_with_body(share.layout, opened.grid, body))
        empty = share.part.size - share.count
        logger.info("%d of %d windows without body are skipped", empty, share.part.size)
    device = choose_device()
    computation = choose_computation(network, settings, device)
    engine, dtype = computation
    # At most the windows of all shards together, so that it is the same for each shard.
    batch_size = min(settings.batch_size, share.layout.lattice.size)
    count = share.count * settings.views
    facts = (count, share.layout.window, device, dtype, engine)
    logger.info("%d windows of %s on %s, %s, by %s", *facts)
    if not settings.do_eval:
        logger.warning(
            "do_eval is false: batch normalization uses the statistics of each batch, so "
            "results depend on which windows share a batch"
        )
    if settings.mode == "whole_volume" and share.count:
        require_memory(spec, share.layout.window, dtype, device)

    def compute(execution: Execution) -> None:
        predictor = window_predictor(
            network, spec, computation, execution, settings, flipped=flipped
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
            sums,
            share,
            dtype=dtype,
            engine=engine,
            overrides=overrides,
            execution=execution,
        ) as written:
            for box, probabilities in tracked(windows, count, "windows"):
                written.add(box, probabilities)

    # With batch statistics, a smaller batch would change the result.
    run_within_memory(compute, Execution(device, batch_size), halving=settings.do_eval)


def _views(
    volume: Path,
    features: Sequence[Path],
    contexts: Sequence[Path],
    recipe: Recipe,
    names: Sequence[str],
) -> list[ModelInputs]:
    """Return the inputs of each augmented view."""
    wanted = len(names) if recipe.uses_features else 0
    if len(features) != wanted or len(contexts) not in (0, wanted):
        raise ModelError(
            f"features of {len(features)} and context of {len(contexts)} augmented views are "
            f"given, but inference.tta is {list(names)}: run extract_features for each view"
        )
    return [
        ModelInputs(volume, tokens, context, name)
        for tokens, context, name in zip_longest(features, contexts, names)
    ]
