"""What a service predicts: the tasks of its config, their models, and configs that clients send."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import prod
from pathlib import Path

from parafovea.config import Settings, Task
from parafovea.config.guide_config import read_guide_config
from parafovea.config.loading import read_document
from parafovea.errors import ConfigError, describe
from parafovea.geometry.windows import stride_of
from parafovea.kinds import kind_named
from parafovea.service.refusal import Refusal

#: What a config of a client may ask for: most windows of a forward pass, most voxels of a window,
#: and of all windows of a pass.
MOST_BATCH, MOST_WINDOW, MOST_PASS = 64, 2**24, 2**26

#: Most windows over each voxel: overlaps of 7/8 in three directions.
MOST_COVERED = 512


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What a job is predicted with.

    Parameters
    ----------
    settings : Settings
        A config with its task.
    notes : tuple of str
        What the config of the client says that has no effect.
    """

    settings: Settings
    notes: tuple[str, ...] = ()


def takes_config(task: Task) -> bool:
    """Return whether a task takes a config of the guide, which is one of detections."""
    return kind_named(task.kind).tables_as_truth


def require_task(settings: Settings, task: str) -> None:
    """Refuse a task that the config does not have."""
    if task not in settings.tasks:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"there is no such task: tasks are {', '.join(settings.tasks)}",
        )


def models(settings: Settings) -> Mapping[str, str]:
    """Return the folders of the models that configs of clients may name, by name."""
    found: dict[str, str] = {}
    for task in settings.tasks.values():
        if takes_config(task):
            found.setdefault(Path(str(task.model)).name, str(task.model))
    return found


def job_settings(settings: Settings, task: str, config: Path | None) -> JobSettings:
    """Return what a job is predicted with.

    Parameters
    ----------
    settings : Settings
        The service's own.
    task : str
        Name of a task in them.
    config : Path or None
        Config of the guide that came with the upload. It names a model of the service, or none.

    Raises
    ------
    Refusal
        If the config is invalid, names a path, or does not fit the task.
    """
    require_task(settings, task)
    if config is None:
        return JobSettings(settings)
    chosen = settings.tasks[task]
    if not takes_config(chosen):
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"a config is for tasks of detection, and this one is of {chosen.kind}: send none",
        )
    try:
        checkpoint = _model(settings, config, str(chosen.model))
        guide = read_guide_config(config, checkpoint=checkpoint, task=task)
    except ConfigError as error:
        reason = describe(error)
        # messages name files below the current folder without it
        for place in (str(config.absolute()), str(config), os.path.relpath(config)):
            reason = reason.replace(place, "config")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from error
    batch = guide.settings.tasks[task].inference.batch_size
    if batch > MOST_BATCH:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"config: inference.batch_size is {batch}: use at most {MOST_BATCH}",
        )
    inference = guide.settings.tasks[task].inference
    window, stride = inference.stated_window, inference.stride
    if window is not None:
        if isinstance(inference.overlap, float):
            stride = stride_of(window, inference.overlap)
        require_modest(window, stride, batch)
    notes = [note for note in guide.notes if not note.startswith("model.checkpoint ")]
    if guide.device is not None:
        notes.append(f"device {guide.device} has no effect: the service chooses the device")
    return JobSettings(
        guide.settings.model_copy(update={"results": settings.results}), tuple(notes)
    )


def require_modest(window: Sequence[int], stride: Sequence[int] | None, batch: int) -> None:
    """Refuse windows of a client's config that would take all memory, or days.

    Parameters
    ----------
    window : sequence of int
        Voxels along z, y, x.
    stride : sequence of int or None
        Voxels from one window to the next, None if they follow from the model.
    batch : int
        Windows of a forward pass.

    Raises
    ------
    Refusal
        422.
    """
    problem = ""
    if prod(window) > MOST_WINDOW:
        problem = (
            f"a window of {' x '.join(map(str, window))} voxels is larger than the {MOST_WINDOW} "
            "that the service computes at once: use mode sliding_window and a smaller patch_size"
        )
    elif prod(window) * batch > MOST_PASS:
        problem = (
            f"a batch of {batch} windows of {' x '.join(map(str, window))} voxels is larger than "
            f"the {MOST_PASS} voxels that the service computes at once: use a smaller batch_size"
        )
    elif stride is not None and prod(window) > MOST_COVERED * prod(stride):
        problem = (
            f"a stride of {' x '.join(map(str, stride))} voxels puts more than {MOST_COVERED} "
            "windows over each voxel: use a larger stride or a smaller overlap"
        )
    if problem:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"config: {problem}")


def _model(settings: Settings, config: Path, default: str) -> str:
    """Return the folder of the model that a config names."""
    block = read_document(config).get("model")
    stated = block.get("checkpoint") if isinstance(block, dict) else None
    if stated is None:
        return default
    known = models(settings)
    if not isinstance(stated, str) or stated not in known:
        raise ConfigError(
            "config: model.checkpoint must be the name of a model of this service, since it opens "
            f"no path of a client: remove it, or use one of {', '.join(known)}"
        )
    return known[stated]
