"""Lookup of stages by name, and by the kind and layout of a sample."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from parafovea.chain import (
    cohort_stages,
    figure_stages,
    phantom_stages,
    study_stages,
    tile_stages,
    training_stages,
    volume_chain,
)
from parafovea.chain.stage import Stage
from parafovea.kinds.kind import Kind, LayoutName, kinds
from parafovea.storage.layout import is_within


@functools.cache
def stages() -> Mapping[str, Stage]:
    """Return all stages by name; those of samples are in execution order."""
    of_kinds = [
        stage for kind in kinds().values() for each in kind.stages.values() for stage in each
    ]
    found = (
        *phantom_stages.STAGES,
        *volume_chain.STAGES,
        *of_kinds,
        *tile_stages.STAGES,
        training_stages.train_model,
        *cohort_stages.STAGES,
        *study_stages.STAGES,
        *figure_stages.STAGES,
    )
    return {stage.name: stage for stage in found}


def sample_stages(kind: Kind, layout: LayoutName, *, blocks: int = 1) -> tuple[Stage, ...]:
    """Return the stages of a sample in execution order.

    Parameters
    ----------
    kind : Kind
        Kind of its task.
    layout : {"volume", "tiles"}
        Layout of the sample.
    blocks : int
        Number of blocks of its arrays.
    """
    shared = volume_chain.STAGES if layout == "volume" else ()
    unfit = blocks == 1
    found = (*shared, *kind.stages.get(layout, ()))
    return tuple(stage for stage in found if stage.blockwise is not unfit)


@functools.cache
def steps() -> Mapping[str, tuple[str, ...]]:
    """Return the glob patterns of each step's outputs, relative to a sample's folder.

    An output of two steps, such as the table of tiles, belongs to the first. Outputs within a
    folder of the same step are not listed separately.
    """
    written: dict[str, dict[str, None]] = {}
    for stage in stages().values():
        if stage.step:
            written.setdefault(stage.step, {}).update(dict.fromkeys(stage.patterns))
    last = ("postprocess", "quality", "report")
    found: dict[str, tuple[str, ...]] = {}
    for step in (*(step for step in written if step not in last), *last):
        before = {pattern for patterns in found.values() for pattern in patterns}
        own = [pattern for pattern in written[step] if pattern not in before]
        found[step] = tuple(
            each for each in own if not is_within(each, (other for other in own if other != each))
        )
    return found


def step_of(path: str) -> str | None:
    """Return the step that writes a path, or into it, relative to the sample's folder."""
    for step, patterns in steps().items():
        if is_within(path, patterns):
            return step
    return None


def removable() -> Mapping[str, tuple[str, ...]]:
    """Return the glob patterns of the outputs of each step and of each stage of samples."""
    return {**{s.name: s.patterns for s in stages().values() if s.step}, **steps()}
