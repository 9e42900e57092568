"""Description of a kind of task, and the lookup of kinds by name.

A module of this package that defines a `KIND` is a kind.
"""

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

#: Layout of a sample: one volume, or a folder of many small images.
LayoutName = Literal["volume", "tiles"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of task. Code in higher layers is given by `Reference`, and loaded when it is used.

    Parameters
    ----------
    name : str
        Name in the config and in `model.json`.
    meaning : str
        Description of its result, for the parameter table.
    scores : str
        Meaning of the network's scores, for the parameter table.
    classes : str
        Meaning of the recipe's `classes`, for the parameter table.
    exclusive : bool
        Whether every voxel has exactly one class, the first being the background (softmax).
        Otherwise each class has its own sigmoid.
    residual : bool
        Whether the scores may be added to the input's bands.
    check_recipe : callable
        Takes a recipe and raises `ValueError` if it does not fit the kind.
    blocks : mapping of str to Reference
        Config blocks specific to tasks of this kind, each a pydantic model.
    stages : mapping of str to tuple of Stage
        Stages after the prediction, by layout; layouts without an entry are not supported.
    results : mapping of str to str
        Main result, relative to the sample's folder, by layout; "tiles/" is a folder.
    metrics : Reference
        Function of a recipe, the task's settings and the layouts in use that returns the names of
        all metrics.
    tile_measures : Reference, optional
        Class that scores and renders tiles of this kind.
    objective : Reference, optional
        Training objective of networks of this kind.
    cohort_page : mapping of str to Reference
        Function that gathers a sample's results for the cohort report, by layout.
    count : Reference, optional
        Function of a sample's folder that returns the number of objects or detections in it.
    counted : str
        What `count` counts.
    on_source_grid : bool
        Whether a volume's result lies on the grid of its source instead of the prediction's.
    banded : bool
        Whether the result has bands, named after the recipe's classes.
    images_are_tiles : bool
        Whether a folder of images is a folder of tiles rather than a stack of slices.
    tables_as_truth : bool
        Whether a truth may be a table of findings.
    skips_empty : bool
        Whether windows without body may be skipped; their prediction is 0.
    problems : Reference, optional
        Function of a task's name, its settings and its recipe that returns further problems, as
        pairs of a key's path and a text.
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
    counted: str = ""
    on_source_grid: bool = False
    banded: bool = False
    images_are_tiles: bool = False
    tables_as_truth: bool = False
    skips_empty: bool = False
    problems: Reference | None = None

    @property
    def facts(self) -> dict[str, bool]:
        """Properties that change results; part of the code fingerprint of a sample's stages."""
        return {
            "exclusive": self.exclusive,
            "residual": self.residual,
            "banded": self.banded,
            "skips_empty": self.skips_empty,
        }


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds by name, the default kind first."""
    modules = (
        importlib.import_module(f"{parafovea.kinds.__name__}.{found.name}")
        for found in pkgutil.iter_modules(parafovea.kinds.__path__)
    )
    found: list[Kind] = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: -kind.exclusive)}


def kind_named(name: str) -> Kind:
    """Return a kind by name, or raise `KeyError` if there is none."""
    return kinds()[name]
