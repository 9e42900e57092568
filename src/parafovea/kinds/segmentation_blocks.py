"""Segmentation of volumes in several blocks: a job a block, and short jobs that unite them.

Jobs of blocks read and write the parts of their own block. What concerns several blocks are tables,
which one job unites, and of which a block reads its own share. Two things are read beyond a block,
from a folder of parts: the classes around an object that is split, and the pieces of objects that
another block split. The job that joins the objects has those parts as inputs, so that they
are there until then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parafovea.chain.block_stages import (
    block_jobs,
    join_cost,
    joined_levels,
    of_block,
    part,
    parts_of,
)
from parafovea.chain.cleaning import cleanings_of, splits_objects
from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.division import Division
from parafovea.chain.stage import Output, Paths, Place, Stage, Wildcards
from parafovea.chain.volume_stages import PREDICTION
from parafovea.storage import layout
from parafovea.storage.blocks import LABEL_SHARD, PREDICTION_SHARD

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work

#: Bytes of a voxel of a file of labels while it is labelled, and of a class while it is chosen.
LABELLED, CHOSEN = 30, 16

#: Bytes of a class and of the number of a piece, stored until objects and classes are joined.
CLASS, PIECE = 1, 4

#: Memory in bytes per component of a block, and per component in the job that unites all blocks.
COMPONENT, UNITED = 250, 450

#: Voxels per component that are assumed; a job with more is repeated with more memory.
VOXELS_PER_COMPONENT = 1e6

#: Memory of splitting the largest object, in bytes, and per voxel of a small volume.
SPLITTING, SPLIT_VOXEL = 3e9, 100

#: Seconds per voxel and class of choosing classes, per voxel of labelling and writing them, of
#: splitting, and per component of uniting them.
CHOOSING, LABELLING, CUTTING, UNITING = 1e-8, 3e-8, 1e-6, 5e-6


def _path(*parts: str) -> str:
    return layout.in_sample(layout.BLOCKS, *parts)


def _classes(state: str) -> str:
    return _path(state, "{block}.zarr")


def _components(state: str) -> str:
    return _path(state, "components", "{block}.npz")


def _surface(state: str) -> str:
    return _path(state, "surface", "{block}.npz")


#: State of the classes before any change; those after are named after the change.
CLASSIFIED = "classified"

SMALL_DECIDED, HOLES_DECIDED = _path("small", "decided"), _path("holes", "decided")
WHOLES, IDS = _path("wholes"), _path("ids")
PIECES, PIECE_TABLE = _path("pieces", "{block}.zarr"), _path("pieces", "{block}.npz")
OBJECT_PART = _path("objects", "{block}.zarr")


def _plain_classes(division: Division) -> list[Any]:
    """Return the settings of classes as plain values."""
    return list(division.settings.get("postprocess", {}).get("classes", {}).values())


def _cleanings(division: Division) -> tuple[str, ...]:
    return cleanings_of(_plain_classes(division))


def _splitting_wanted(division: Division) -> bool:
    return splits_objects(_plain_classes(division))


def _last(division: Division, before: str | None = None) -> str:
    """Return the state of the classes after all changes, or before one of them."""
    states = [CLASSIFIED, *_cleanings(division)]
    return states[-1] if before is None else states[states.index(before) - 1]


def _wanted(cleaning: str) -> Callable[[Division], Sequence[Wildcards]]:
    """Return the jobs of uniting blocks for a change of classes: one, if it is needed."""

    def jobs(division: Division) -> Sequence[Wildcards]:
        return [{}] if cleaning in _cleanings(division) else []

    return jobs


def _wanted_blocks(cleaning: str) -> Callable[[Division], Sequence[Wildcards]]:
    """Return a job per block if a change of classes is needed."""

    def jobs(division: Division) -> Sequence[Wildcards]:
        return block_jobs(division) if cleaning in _cleanings(division) else []

    return jobs


def _unite_jobs(division: Division) -> Sequence[Wildcards]:
    return [{}] if _splitting_wanted(division) else []


def _split_jobs(division: Division) -> Sequence[Wildcards]:
    return block_jobs(division) if _splitting_wanted(division) else []


#: A function that returns the path of a state's file.
_Of = Callable[[str], str]


def _of_state(path: _Of, before: str | None = None) -> Callable[[Project, Wildcards], str]:
    """Return a place: the block's file of the last state, or of that before a change."""

    def place(project: Project, wildcards: Wildcards) -> str:
        state = _last(project.division(wildcards["sample"]), before)
        return f"{project.settings.results}/{path(state).format_map(wildcards)}"

    return place


def _of_all(path: _Of, before: str | None = None) -> Callable[[Project, Wildcards], list[str]]:
    """Return a place: the files of all blocks of the last state, or of that before a change."""

    def place(project: Project, wildcards: Wildcards) -> list[str]:
        state = _last(project.division(wildcards["sample"]), before)
        return parts_of(path(state))(project, wildcards)

    return place


def _splits(project: Project, wildcards: Wildcards) -> bool:
    return _splitting_wanted(project.division(wildcards["sample"]))


def _unsplit_surfaces(project: Project, wildcards: Wildcards) -> Paths:
    return None if _splits(project, wildcards) else _of_all(_surface)(project, wildcards)


def _wholes(project: Project, wildcards: Wildcards) -> Paths:
    if not _splits(project, wildcards):
        return None
    return f"{project.settings.results}/{WHOLES.format_map(wildcards)}"


def _if_split(path: str) -> Callable[[Project, Wildcards], Paths]:
    def place(project: Project, wildcards: Wildcards) -> Paths:
        return parts_of(path)(project, wildcards) if _splits(project, wildcards) else None

    return place


def _steps(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    settings = project.block(wildcards["sample"], "postprocess")
    return {"connectivity": settings["connectivity"], "class_settings": settings["classes"]}


def _of_one(project: Project, wildcards: Wildcards, **more: Any) -> dict[str, Any]:
    blocks = project.division(wildcards["sample"]).blocks
    return of_block({**_steps(project, wildcards), **more}, wildcards, blocks)


def _folder(project: Project, wildcards: Wildcards, path: str) -> str:
    """Return the folder of the parts of all blocks."""
    filled = path.format_map({**wildcards, "block": ""})
    return f"{project.settings.results}/{filled.rpartition('/')[0]}"


def _classifying(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    method = project.block(wildcards["sample"], "postprocess")["method"]
    return _of_one(project, wildcards, method=method)


def _deciding(cleaning: str) -> Callable[[Project, Wildcards], dict[str, Any]]:
    def arguments(project: Project, wildcards: Wildcards) -> dict[str, Any]:
        return {**_steps(project, wildcards), "cleaning": cleaning}

    return arguments


def _cleaning(cleaning: str) -> Callable[[Project, Wildcards], dict[str, Any]]:
    def arguments(project: Project, wildcards: Wildcards) -> dict[str, Any]:
        return _of_one(project, wildcards, cleaning=cleaning)

    return arguments


def _splitting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    state = _last(project.division(wildcards["sample"]))
    return _of_one(project, wildcards, classes=_folder(project, wildcards, _classes(state)))


def _numbering(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return _of_one(project, wildcards, pieces=_folder(project, wildcards, PIECES))


def _voxels(work: Work) -> float:
    """Return the voxels of a block."""
    return math.prod(work.predicted) / work.blocks


def _tile_memory(work: Work) -> float:
    """Return the memory of labelling a file, with the components of its block."""
    tile = math.prod(min(n, m) for n, m in zip(work.predicted, LABEL_SHARD, strict=True))
    components = _voxels(work) / VOXELS_PER_COMPONENT
    return PLAIN + LABELLED * tile + COMPONENT * components


def _classify_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of choosing the classes of a file, and of labelling it."""
    classes = len(work.recipe.classes)
    chosen = CHOSEN * classes * math.prod(PREDICTION_SHARD)
    return Cost(_tile_memory(work) + chosen, (CHOOSING * classes + LABELLING) * _voxels(work))


def _label_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of labelling a file and of writing what follows."""
    return Cost(_tile_memory(work), LABELLING * _voxels(work))


def _clean_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of labelling a file before and after a change of its classes."""
    once = _label_cost(work, rates)
    return Cost(once.memory, 2 * once.seconds)


def _split_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of splitting objects, one at a time."""
    largest = min(SPLITTING, SPLIT_VOXEL * math.prod(work.predicted))
    return Cost(PLAIN + largest, CUTTING * _voxels(work))


def _unite_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding the tables of all blocks."""
    components = math.prod(work.predicted) / VOXELS_PER_COMPONENT
    return Cost(PLAIN + UNITED * components, UNITING * components + 0.02 * work.blocks)


def objects_join_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of linking the files of classes and objects, and of their coarse levels."""
    joined, levels = join_cost(work, rates), joined_levels(math.prod(work.predicted), 2)
    return Cost(joined.memory + levels.memory, 2 * joined.seconds + levels.seconds)


def _scanned(state: str) -> dict[str, Output]:
    """Return the outputs of a job that changes the classes of a block and scans it."""
    return {
        "classes": part(_classes(state)),
        "components": Output(_components(state), part=True),
        "surface": Output(_surface(state), part=True),
    }


def _deciding_stage(name: str, cleaning: str, decided: str) -> Stage:
    return Stage(
        name=name,
        step="postprocess",
        function="decide_components",
        blockwise=True,
        inputs={"prediction": PREDICTION, "surfaces": _of_all(_surface, cleaning)},
        outputs={"decided": part(decided)},
        arguments=_deciding(cleaning),
        jobs=_wanted(cleaning),
        cost=_unite_cost,
    )


def _cleaning_stage(name: str, cleaning: str, decided: str) -> Stage:
    return Stage(
        name=name,
        step="postprocess",
        function="clean_block",
        blockwise=True,
        inputs={
            "before": _of_state(_classes, cleaning),
            "scanned": _of_state(_components, cleaning),
            "decided": decided,
        },
        outputs=_scanned(cleaning),
        arguments=_cleaning(cleaning),
        jobs=_wanted_blocks(cleaning),
        cost=_clean_cost,
        stored=lambda work: CLASS * math.prod(work.predicted),
    )


classify_block = Stage(
    name="classify_block",
    step="postprocess",
    blockwise=True,
    inputs={"prediction": PREDICTION},
    outputs=_scanned(CLASSIFIED),
    arguments=_classifying,
    jobs=block_jobs,
    cost=_classify_cost,
)

decide_small = _deciding_stage("decide_small", "small", SMALL_DECIDED)
remove_small_block = _cleaning_stage("remove_small_block", "small", SMALL_DECIDED)
decide_holes = _deciding_stage("decide_holes", "holes", HOLES_DECIDED)
fill_holes_block = _cleaning_stage("fill_holes_block", "holes", HOLES_DECIDED)

unite_objects = Stage(
    name="unite_objects",
    step="postprocess",
    blockwise=True,
    inputs={"prediction": PREDICTION, "surfaces": _of_all(_surface)},
    outputs={"wholes": part(WHOLES)},
    arguments=_steps,
    jobs=_unite_jobs,
    cost=_unite_cost,
)

split_block = Stage(
    name="split_block",
    step="postprocess",
    blockwise=True,
    inputs={"prediction": PREDICTION, "wholes": WHOLES},
    outputs={"pieces": part(PIECES), "table": Output(PIECE_TABLE, part=True)},
    arguments=_splitting,
    jobs=_split_jobs,
    cost=_split_cost,
    stored=lambda work: PIECE * math.prod(work.predicted),
)

number_objects = Stage(
    name="number_objects",
    step="postprocess",
    blockwise=True,
    inputs={
        "prediction": PREDICTION,
        "surfaces": _unsplit_surfaces,
        "wholes": _wholes,
        "pieces": _if_split(PIECE_TABLE),
    },
    outputs={"ids": part(IDS)},
    arguments=_steps,
    cost=_unite_cost,
)

number_block = Stage(
    name="number_block",
    step="postprocess",
    blockwise=True,
    inputs={
        "classes": _of_state(_classes),
        "components": _of_state(_components),
        "ids": IDS,
    },
    outputs={"objects": part(OBJECT_PART)},
    arguments=_numbering,
    jobs=block_jobs,
    cost=_label_cost,
)

#: In execution order, up to the parts of the objects.
STAGES = (
    classify_block,
    decide_small,
    remove_small_block,
    decide_holes,
    fill_holes_block,
    unite_objects,
    split_block,
    number_objects,
    number_block,
)

#: Inputs of the job that joins the parts of classes and objects.
PARTS: dict[str, Place] = {
    "class_parts": _of_all(_classes),
    "object_parts": parts_of(OBJECT_PART),
    "pieces": _if_split(PIECES),
    "ids": IDS,
}
