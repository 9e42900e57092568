"""Checks of a sample sheet and a config against each other and against the files."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping, Sequence, Set
from pathlib import Path

from parafovea.config.messages import Origin, locate, suggestion
from parafovea.config.model_recipes import used_tasks
from parafovea.config.sample_files import is_phantom, source_paths
from parafovea.config.sample_links import link_problems, upstream
from parafovea.config.schema import Phantoms, Settings, Task
from parafovea.config.sheet import Sample
from parafovea.config.sources import referred, source_layout
from parafovea.config.training_checks import Problems, training_problems
from parafovea.errors import GridError, ModelError, ParafoveaError, describe
from parafovea.formats.channel_files import paths_of
from parafovea.formats.location import TABLE_SUFFIXES, files_named, read_headers
from parafovea.formats.metadata.column import (
    SOURCE_KEYS,
    meaningless_keys,
    parse_metadata,
    sidecar_path,
)
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.registry import NPZ_SUFFIX
from parafovea.geometry.symmetry import require_fit
from parafovea.kinds.kind import LayoutName, kind_named
from parafovea.kinds.reference import resolve
from parafovea.settings.backbones.model_inputs import check_backbone
from parafovea.settings.backbones.parsing import ENCODERS
from parafovea.settings.inference import check_stride
from parafovea.settings.recipe import Recipe

PHANTOM = re.compile(r"(?P<kind>[a-z]+)_seed(?P<seed>\d+)(?P<part>(?:_[a-z]+)?(?:\.[a-z.]+)?)")

#: File endings of a phantom volume, further ones of a chest, and those of a landscape.
PARTS = tuple(f"{part}.ome.zarr" for part in ("", "_truth", "_objects"))
SCAN_PARTS = (
    *(f"{part}.nii.gz" for part in ("", "_truth", "_objects", "_regions")),
    "_nodules.csv",
)
TILE_PARTS = ("", "_truth", "_classes", "_sar")


def sample_problems(sheet: Path, samples: Mapping[str, Sample], settings: Settings) -> list[str]:
    """Return the problems of samples, whatever their files: links, tasks, metadata, phantoms.

    Parameters
    ----------
    sheet : Path
        The sample sheet.
    samples : mapping of str to Sample
        By name.
    settings : Settings
        The config; its phantoms need not exist yet.

    Returns
    -------
    list of str
        "file:line: problem and fix".
    """
    found = link_problems(sheet, samples, settings)
    # the layout of a sample is known only once the samples it refers to are valid
    linked = not found
    for sample in samples.values():
        wrong = []
        if sample.task not in settings.tasks:
            hint = suggestion(sample.task, settings.tasks)
            wrong.append(
                f"task {sample.task!r} of sample {sample.name!r} is not in the config"
                f"{hint or ':'} tasks are {', '.join(settings.tasks)}"
            )
        wrong += _path_problems(sample, settings)
        if linked and not wrong:
            wrong += _layout_problems(sample, samples, settings)
        found += [f"{sheet}:{sample.line}: {text}" for text in wrong]
    return found


def _path_problems(sample: Sample, settings: Settings) -> list[str]:
    """Return the paths and the metadata of a sample that cannot be right, whatever the files."""
    try:
        objects = parse_metadata(sample.metadata, folder=Path()).objects
    except ParafoveaError as error:
        if sidecar_path(sample.metadata, folder=Path()) is not None:
            return []
        return [f"sample {sample.name!r}: {describe(error)}"]
    wrong: list[str] = []
    task = settings.tasks.get(sample.task)
    if task is not None and sample.truth and sample.truth.lower().endswith(TABLE_SUFFIXES):
        blocks = [task.block(name) for name in kind_named(task.kind).blocks]
        if any(getattr(block, "needs_masks", False) for block in blocks):
            wrong.append(
                f"truth {sample.truth!r} of sample {sample.name!r} is a table, but the rule by "
                f"which task {sample.task!r} is scored compares masks: give a mask of the lesions"
            )
    for what, path in (("source", sample.source), ("truth", sample.truth), ("objects", objects)):
        if referred(path) is not None:
            if what == "objects":
                wrong.append(
                    f"objects {path!r} of sample {sample.name!r}: another sample's result can be a "
                    "source or a truth, but not objects: give a path"
                )
            continue
        several = () if path is None else paths_of(path)
        if what != "source" and len(several) > 1:
            wrong.append(
                f"{what} {path!r} of sample {sample.name!r} names {len(several)} files, but only a "
                "source has one file a channel: give one path"
            )
            continue
        for each in several:
            wrong += _one_path_problems(what, each, sample, settings)
            if len(several) > 1 and each.startswith("@"):
                wrong.append(
                    f"source of sample {sample.name!r} has {each!r} as one of its files, but "
                    "another sample's result can only be the whole source: give the path of a file"
                )
    return wrong


def _one_path_problems(what: str, path: str, sample: Sample, settings: Settings) -> list[str]:
    """Return what cannot be right with a path of a sample, whatever the files."""
    wrong = []
    own = os.path.normpath(f"{settings.results}/{sample.name}")
    if _lies_in(path, own):
        wrong.append(
            f"{what} of sample {sample.name!r}: {path} lies in {own}, where the results of "
            "this sample go: name another folder of results, or move it"
        )
    if is_phantom(path, settings.results):
        match = PHANTOM.fullmatch(path.rstrip("/").rpartition("/")[2])
        if match is None or match["part"] not in _parts(match["kind"]):
            wrong.append(
                f"{what} {path!r} of sample {sample.name!r} is not a phantom that the "
                f"workflow makes: {settings.results}/phantoms can hold {_made(match)}"
            )
    return wrong


def _layout_problems(
    sample: Sample, samples: Mapping[str, Sample], settings: Settings
) -> list[str]:
    """Return the problem of a sample whose kind of task does not take what its source is."""
    kind = kind_named(settings.tasks[sample.task].kind)
    try:
        layout = source_layout(sample, samples, settings)
    except ParafoveaError:
        # a problem of this sample's files alone: see `absent_files`
        return []
    if layout in kind.stages:
        return []
    what, instead = {
        "tiles": ("a folder of tiles", "volumes"),
        "volume": ("a volume", "folders of tiles"),
    }[layout]
    return [
        f"source of sample {sample.name!r}: {sample.source} is {what}, but the task "
        f"{sample.task!r} is a {kind.name}, which takes only {instead}: give another source, or a "
        "task of another kind"
    ]


def _lies_in(path: str, folder: str) -> bool:
    """Return whether a path, or one that its pattern selects, is a folder or lies in it."""
    inside, outside = os.path.realpath(path), os.path.realpath(folder)
    return inside == outside or inside.startswith(f"{outside}{os.sep}")


def word_problems(
    sheet: Path,
    samples: Mapping[str, Sample],
    settings: Settings,
    recipes: Mapping[str, Recipe],
    *,
    absent: Container[str] = (),
) -> list[str]:
    """Return the words of metadata columns that have no meaning for the source of their sample.

    Parameters
    ----------
    sheet : Path
        The sample sheet.
    samples : mapping of str to Sample
        By name.
    settings : Settings
        The config.
    recipes : mapping of str to Recipe
        Recipe of each used task.
    absent : container of str
        Samples whose files are not there, which are left out with what is made of them.

    Returns
    -------
    list of str
        "file:line: problem and fix".
    """
    found = []
    for sample in samples.values():
        if any(name in absent for name in (sample.name, *upstream(sample.name, samples))):
            continue
        recipe = recipes[sample.task]
        form = "mosaic" if recipe.is_image else "volume"
        if recipe.volume_channels:
            form = "volume of channels"
        if source_layout(sample, samples, settings) == "tiles":
            form = "folder of tiles"
        said = parse_metadata(sample.metadata, folder=Path())
        keys, allowed = meaningless_keys(said, form), SOURCE_KEYS[form]
        if not keys and said.tiles.key is not None and not _holds_arrays(sample, settings):
            keys, form = ("key",), "folder of images"
            allowed = tuple(key for key in allowed if key != "key")
        problem = _needless(said, recipes[sample.task])
        if problem and not keys:
            found.append(f"{sheet}:{sample.line}: metadata of sample {sample.name!r}: {problem}")
        if keys:
            one = len(keys) == 1
            found.append(
                f"{sheet}:{sample.line}: metadata of sample {sample.name!r}: {', '.join(keys)} "
                f"{'has' if one else 'have'} no meaning for a {form}, which takes "
                f"{', '.join(allowed)}: remove {'it' if one else 'them'}"
            )
    return found


def _needless(said: SourceMetadata, recipe: Recipe) -> str:
    """Return why it is of no use to state what numbers of a band are; "" if it is of use."""
    stated = (("radar", said.tiles.radar), ("elevation", said.tiles.elevation))
    given = {key: forms for key, forms in stated if forms}
    if not given:
        return ""
    try:
        ranges = recipe.ranges
    except ModelError:  # a problem of the task, and named there
        return ""
    for key, forms in given.items():
        if not any(band in ranges for band in forms):
            return (
                f"{key}= states what the numbers of bands are, but the model does not state the "
                f"range of {', '.join(forms)} in its input (ranges of its backbone), so that they "
                "are read as they are: remove it"
            )
    return ""


def _holds_arrays(sample: Sample, settings: Settings) -> bool:
    """Return whether the tiles of a sample are NPZ files, as those that do not exist yet are."""
    path = sample.source
    if referred(path) is not None or is_phantom(path, settings.results):
        return True
    return next(files_named(path, (NPZ_SUFFIX,)), None) is not None


def absent_files(samples: Mapping[str, Sample], settings: Settings) -> dict[str, str]:
    """Return the samples whose files are missing or of no known format, with the reasons.

    A source, truth or metadata file that is not there is a problem of its own sample. It is no
    reason to stop the others, and none to stop this one if its results are finished.

    Parameters
    ----------
    samples : mapping of str to Sample
        By name, without circular references.
    settings : Settings
        The config; its phantoms and the results of other samples need not exist yet.

    Returns
    -------
    dict of str to str
        The first problem of each sample that has one, such as "source: a.tif does not exist: ...".
    """
    named = ((sample.source, sample.truth) for sample in samples.values())
    read_headers(path for paths in named for path in paths if path is not None)
    found = {name: _absent(sample, samples, settings) for name, sample in samples.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _absent(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> str | None:
    task = settings.tasks.get(sample.task)
    tables = task is None or kind_named(task.kind).tables_as_truth
    what = "metadata"
    try:
        objects = parse_metadata(sample.metadata, folder=Path()).objects
        parts = (("source", sample.source), ("truth", sample.truth), ("objects", objects))
        for what, path in parts:
            if referred(path) is None:
                source_paths(path, sample, samples, settings, table=what == "truth" and tables)
    except ParafoveaError as error:
        return f"{what}: {describe(error)}"
    return None


def _parts(kind: str) -> tuple[str, ...]:
    """Return the file endings of a phantom of a kind; empty for an unknown kind."""
    parts = {
        "cell": PARTS,
        "chest": (*PARTS, *SCAN_PARTS),
        "patient": (*PARTS, *SCAN_PARTS),
        "landscape": TILE_PARTS,
        "scene": TILE_PARTS,
    }
    return parts.get(kind, ())


def _made(match: re.Match[str] | None) -> str:
    """Return the valid names of phantoms, for a message."""
    if match is not None and match["kind"] in Phantoms.kinds():
        stem = f"{match['kind']}_seed{match['seed']}"
        return ", ".join(stem + part for part in _parts(match["kind"]))
    return (
        "cell_seedNUMBER.ome.zarr, chest_seedNUMBER.nii.gz, patient_seedNUMBER.nii.gz, and the "
        "folders landscape_seedNUMBER and scene_seedNUMBER"
    )


def task_problems(
    settings: Settings,
    samples: Mapping[str, Sample],
    files: Sequence[Origin],
    *,
    recipes: Mapping[str, Recipe] | None = None,
    absent: Container[str] = (),
) -> list[str]:
    """Return the problems of tasks: samples for training and, given recipes, classes.

    Parameters
    ----------
    settings : Settings
        The config.
    samples : mapping of str to Sample
        The sheet, by name.
    files : sequence of Path or mapping
        Config files and values of the command line, to locate keys in messages.
    recipes : mapping of str to Recipe, optional
        Recipe of each used task. Without it, class names, windows and augmentations are not
        checked.
    absent : container of str
        Samples without their files, whose layout is unknown.

    Returns
    -------
    list of str
        "file:line: key: problem and fix".
    """
    found = []
    for name in used_tasks(settings.tasks, (sample.task for sample in samples.values())):
        if recipes is None:
            problems = training_problems(name, settings, samples)
        else:
            problems = _kind_problems(name, settings, recipes[name])
            types = {
                source_layout(sample, samples, settings)
                for sample in samples.values()
                if sample.task == name and sample.name not in absent
            }
            problems = problems or _result_problems(name, settings, recipes[name], types)
            problems += _window_problems(name, settings, recipes[name])
            problems += _backbone_problems(name, settings, recipes[name])
        for path, text in problems:
            keys = ".".join(str(key) for key in path)
            found.append(f"{locate(files, path)}: {keys}: {text}")
    return found


def _window_problems(name: str, settings: Settings, recipe: Recipe) -> Problems:
    """Return the inference settings that do not fit the model: windows and augmentations."""
    inference = settings.tasks[name].inference
    path = ("tasks", name, "inference")
    found: Problems = []
    window = inference.stated_window or recipe.window
    try:
        recipe.check_window(window)
    except ValueError as error:
        found.append(((*path, "window"), str(error)))
    if inference.stride is not None:
        try:
            check_stride(window, inference.stride)
        except ValueError as error:
            found.append(((*path, "stride"), str(error)))
    for index, view in enumerate(inference.tta):
        try:
            for seen in (recipe, recipe.context):
                if seen is not None:
                    require_fit(view, seen.spacing, dimensions=recipe.network.dimensions)
        except GridError as error:
            found.append(((*path, "tta", index), str(error)))
    return found


def _backbone_problems(name: str, settings: Settings, recipe: Recipe) -> Problems:
    """Return the arguments of backbones that are invalid, or do not fit the rest of the recipe."""
    trained = settings.tasks[name].training is not None
    found: Problems = []
    for view, part in (((), recipe), (("context",), recipe.context)):
        if part is None or part.backbone not in recipe.backbones:
            continue
        # what a model folder says of other backbones is read where they are loaded
        if not (trained or part.backbone.name in (*ENCODERS, "network")):
            continue
        path: tuple[str | int, ...] = ("tasks", name, "model")
        if trained:
            path = ("tasks", name, "training", "recipe", *view, "backbone", "arguments")
        try:
            check_backbone(part.backbone, recipe)
        except ModelError as error:
            found.append((path, str(error)))
    if not found:
        try:
            recipe.ranges  # noqa: B018  (raises where both views disagree)
        except ModelError as error:
            found.append((("tasks", name, "model"), str(error)))
    return found


def _kind_problems(name: str, settings: Settings, recipe: Recipe) -> Problems:
    """Return the problem of a task whose kind differs from its model's."""
    task = settings.tasks[name]
    if kind_named(task.kind) is kind_named(recipe.kind):
        return []
    text = f"{task.kind} needs a model of this kind, but {task.model} is a {recipe.kind} model: "
    return [(("tasks", name, "kind"), f"{text}set kind: {recipe.kind}, or use another model")]


def _result_problems(
    name: str, settings: Settings, recipe: Recipe, layouts: Set[LayoutName]
) -> Problems:
    """Return the settings that do not fit the results of a task's model."""
    task = settings.tasks[name]
    kind = kind_named(recipe.kind)
    found: Problems = [] if kind.problems is None else resolve(kind.problems)(name, task, recipe)
    if found or not layouts:
        return found
    return _metric_problems(name, settings, resolve(kind.metrics)(recipe, task, layouts))


def triage_problems(name: str, task: Task, recipe: Recipe) -> Problems:
    """Return the problems of a detection's triage."""
    calibration = task.block("triage").calibration
    if calibration is None or Path(calibration).is_file():
        return []
    path = ("tasks", name, "triage", "calibration")
    return [
        (path, f"{calibration!r} does not exist: create it with parafovea calibrate, or set null")
    ]


def class_problems(name: str, task: Task, recipe: Recipe) -> Problems:
    """Return the settings for classes that a segmentation model does not have."""
    classes = recipe.classes
    found: Problems = []
    for label in task.block("postprocess").classes:
        if label not in classes[1:]:
            path = ("tasks", name, "postprocess", "classes", label)
            found.append(
                (
                    path,
                    f"class {label!r} is not one of {task.model}"
                    f"{suggestion(label, classes[1:]) or ':'} classes are {', '.join(classes[1:])}"
                    f" (and {classes[0]!r}, the background, which has no settings)",
                )
            )
    return found


def _metric_problems(name: str, settings: Settings, metrics: Sequence[str]) -> Problems:
    """Return the limits on metrics that a task's results do not have."""
    found: Problems = []
    for metric in settings.tasks[name].quality.limits:
        if metric not in metrics:
            path = ("tasks", name, "quality", "limits", metric)
            hint = suggestion(metric, metrics) or ":"
            found.append(
                (path, f"metric {metric!r} is not measured{hint} metrics are {', '.join(metrics)}")
            )
    return found
