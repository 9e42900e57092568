"""What a kind of task is, as data: its recipe's rules, its config, its stages and its result."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import parafovea.kinds
from parafovea.kinds.reference import Reference

if TYPE_CHECKING:
    from parafovea.chain.stage import Stage
    from parafovea.settings.recipe import Recipe

#: How a sample comes: one volume, or a folder of many small images.
LayoutName = Literal["volume", "tiles"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of task. It names what lies above it by `Reference`, so that naming loads nothing.

    Parameters
    ----------
    name : str
        As in the config and in `model.json`.
    meaning : str
        What its result is, for the parameter table.
    scores : str
        What the network's scores mean, for the parameter table.
    classes : str
        What the recipe's `classes` name, for the parameter table.
    exclusive : bool
        Every voxel is of exactly one class, the first of which is the background: a softmax makes
        the output of the scores. Else each class has a sigmoid of its own.
    residual : bool
        Whether scores may be added to the input's bands.
    check_recipe : callable
        Takes a recipe and raises `ValueError` where it does not fit the kind.
    blocks : mapping of str to Reference
        The config blocks that only tasks of this kind have, each a pydantic model.
    stages : mapping of str to tuple of Stage
        What is run after the prediction, by layout; a kind without an entry has no such layout.
    results : mapping of str to str
        What a sample is made for, below its folder, by layout; "tiles/" is a folder.
    metrics : Reference
        A function of a recipe, the task's settings and the layouts in use that returns the names
        of all metrics.
    tile_measures : Reference, optional
        The class that scores and shows a tile of this kind.
    objective : Reference, optional
        The class by which a network of this kind learns.
    cohort_page : mapping of str to Reference
        What gathers a sample's results for the page of all samples, by layout.
    count : Reference, optional
        A function of a sample's folder that returns how many things were found in it.
    on_source_grid : bool
        Whether a volume's result has the voxels of its source, instead of the prediction's.
    banded : bool
        Whether the result has bands, named as the recipe's classes.
    images_are_tiles : bool
        Whether a folder of images is one of tiles, and no stack of slices.
    tables_as_truth : bool
        Whether a truth may be a table of findings.
    skips_empty : bool
        Whether windows in which the scan shows no body may be left out, as predicted 0.
    problems : Reference, optional
        A function of a task's name, its settings and its recipe that returns what else is wrong,
        as pairs of the path of a key and a text.
    """

    name: str
    meaning: str
    scores: str
    classes: str = "names of the output's channels"
    exclusive: bool = False
    residual: bool = False
    check_recipe: Callable[[Recipe], None] = field(default=lambda _: None)
    blocks: Mapping[str, Reference] = field(default_factory=dict)
    stages: Mapping[LayoutName, tuple[Stage, ...]] = field(default_factory=dict)
    results: Mapping[LayoutName, str] = field(default_factory=dict)
    metrics: Reference
    tile_measures: Reference | None = None
    objective: Reference | None = None
    cohort_page: Mapping[LayoutName, Reference] = field(default_factory=dict)
    count: Reference | None = None
    on_source_grid: bool = False
    banded: bool = False
    images_are_tiles: bool = False
    tables_as_truth: bool = False
    skips_empty: bool = False
    problems: Reference | None = None

    @property
    def facts(self) -> dict[str, bool]:
        """What of it changes results: part of the code of the stages of its samples."""
        return {
            "exclusive": self.exclusive,
            "residual": self.residual,
            "banded": self.banded,
            "skips_empty": self.skips_empty,
        }


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds by name; the default of a config that names none comes first."""
    modules = (
        importlib.import_module(f"{parafovea.kinds.__name__}.{found.name}")
        for found in pkgutil.iter_modules(parafovea.kinds.__path__)
    )
    found: list[Kind] = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: -kind.exclusive)}


def kind_named(name: str) -> Kind:
    """Return the kind of a name, or raise `KeyError` where there is none."""
    return kinds()[name]
