"""All stages by name, and those of a sample by what it is."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from parafovea.chain import (
    cohort_stages,
    phantom_stages,
    study_stages,
    tile_stages,
    training_stages,
    volume_stages,
)
from parafovea.chain.stage import Stage
from parafovea.kinds.kind import Kind, LayoutName, kinds
from parafovea.storage.layout import is_within


@functools.cache
def stages() -> Mapping[str, Stage]:
    """Return all stages by name, those of samples in the order in which they run."""
    of_kinds = [
        stage for kind in kinds().values() for each in kind.stages.values() for stage in each
    ]
    found = (
        *phantom_stages.STAGES,
        *volume_stages.STAGES,
        *of_kinds,
        *tile_stages.STAGES,
        training_stages.train_model,
        cohort_stages.summarize_cohort,
        *study_stages.STAGES,
    )
    return {stage.name: stage for stage in found}


def sample_stages(kind: Kind, layout: LayoutName) -> tuple[Stage, ...]:
    """Return the stages of a sample, in the order in which they run.

    Parameters
    ----------
    kind : Kind
        Of its task.
    layout : {"volume", "tiles"}
        How it comes.
    """
    shared = volume_stages.STAGES if layout == "volume" else ()
    return (*shared, *kind.stages.get(layout, ()))


@functools.cache
def steps() -> Mapping[str, tuple[str, ...]]:
    """Return what each step writes below a sample's folder, as patterns, in their order.

    What two steps write, such as the table of tiles, belongs to the first; what lies in a folder
    of the same step is not named beside it.
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
    """Return the step that writes a path, relative to its sample's folder, or into it."""
    for step, patterns in steps().items():
        if is_within(path, patterns):
            return step
    return None


def removable() -> Mapping[str, tuple[str, ...]]:
    """Return what each step, and each stage of samples, writes below a sample's folder."""
    return {**{s.name: s.patterns for s in stages().values() if s.step}, **steps()}
