"""A stage of the chain, declared once.

The Snakemake rule, the run in one process, `plan`, `status`, `clean` and the tables of the docs
read the same declaration. A driver fills the places of a job, calls the stage's function with
inputs and outputs as paths and arguments as plain values, and knows nothing else of it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from parafovea.chain.cost import FREE, Cost, Rates

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.settings.inference import InferenceSettings
    from parafovea.settings.recipe import Recipe

#: Values of the wildcards of a job, such as the sample and the number of the shard.
Wildcards = Mapping[str, str]

#: One path, several, or none.
Paths = str | Sequence[str] | None

#: Where something lies: a path with wildcards below the folder of results, or a function of the
#: project and the wildcards that returns whole paths.
Place = str | Callable[["Project", Wildcards], Paths]


class Ageless(str):
    """A file whose content counts by other means than its time: a new time means nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Caption:
    """How Snakemake's own report shows an output.

    Parameters
    ----------
    name : str
        Of the file `workflow/report/NAME.rst`.
    category : str
        Under which it is listed.
    content : str
        What it shows, in a few words.
    patterns : tuple of str
        Of the files in an output that is a folder; a wildcard in it may stand in `content`.
    """

    name: str
    category: str
    content: str
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder that a stage makes.

    Parameters
    ----------
    path : str
        Below the folder of results, with wildcards in braces.
    folder : bool
        Whether it is a folder.
    temporary : bool
        Whether it may be deleted once it was used, where the config does not keep features.
    wanted : bool
        Whether a run asks for it by name: it is made again where somebody deleted it.
    caption : Caption, optional
        How the report shows it.
    made : callable, optional
        Whether a project has it at all; always by default.
    """

    path: str
    folder: bool = False
    temporary: bool = False
    wanted: bool = False
    caption: Caption | None = None
    made: Callable[[Project], bool] | None = None


def one_job(recipe: Recipe, inference: InferenceSettings) -> Sequence[Wildcards]:
    """Return the jobs of a stage that is one job a sample."""
    return ({},)


def no_waits(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the files that a stage waits for beside its inputs: none."""
    return []


#: A path, and whether its bands are read by name.
Read = tuple[str | None, bool]


def reads_nothing(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return the sources and truths that a stage opens: none."""
    return ()


def reads_source(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return the source of a sample."""
    sample = wildcards["sample"]
    return ((project.source(sample), bool(project.recipe(sample).bands)),)


def reads_truth(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return the truth of a sample, and that of its objects."""
    sample = wildcards["sample"]
    bands = bool(project.recipe(sample).bands)
    return ((project.truth(sample), bands), (project.true_objects(sample), False))


def reads_both(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return the source and the truth of a sample."""
    return (*reads_source(project, wildcards), *reads_truth(project, wildcards))


def no_content(project: Project, wildcards: Wildcards) -> str:
    """Return what stands for the content of `Ageless` folders: nothing."""
    return ""


def no_arguments(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    """Return the arguments of a stage that has none."""
    return {}


def no_cost(work: Any, rates: Rates) -> Cost:
    """Return the cost of a stage that is not planned by the size of a sample."""
    return FREE


def nothing_stored(work: Any) -> int:
    """Return the bytes that a stage stores, where they are too few to count."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage.

    Parameters
    ----------
    name : str
        Of its rule and, unless it says otherwise, of its script, module and function.
    step : str
        The part of the chain that it belongs to, as `status` and `clean` call it.
    function : str
        Name of script, module and function, where another stage runs the same one.
    package : str
        In which the module lies.
    inputs : mapping of str to Place
        What the function reads, by the name of its parameter.
    waits : callable
        Files that a job waits for and that the function finds by itself: sources, models.
    outputs : mapping of str to Output
        What the function makes, by the name of its parameter.
    beside : tuple of str
        What it also writes, as outputs have it: things that Snakemake must not remove.
    arguments : callable
        Takes the project and the wildcards; returns the function's other arguments as plain values.
    content : callable
        A hash of what is in folders that a job waits for and whose time means nothing.
    reads : callable
        Which sources and truths it opens: what reads their formats is part of its code.
    references : tuple of str
        Names of arguments that name code: it is part of the stage's code, too.
    device : {"cpu", "gpu"}
        Where its jobs run.
    jobs : callable
        Takes a sample's recipe and inference settings, with its number of shards; returns the
        wildcards of each job beside the sample.
    sized_by : {"sample", "phantom", "training", "study", "cohort"}
        What the size of its jobs follows from.
    cost : callable
        Takes the size of a sample and rates; returns the `Cost` of one job.
    stored : callable
        Takes the size of a sample; returns the bytes that all jobs store, before compression.
    stores : str
        What that is, for the table of `plan`.
    short : bool
        Whether a cluster takes its jobs as one array, all asking for what the largest needs.
    clock : bool
        Whether its result may state when it was made: the function takes a `clock`.
    states_code : bool
        Whether its result states the fingerprint of its code: the function takes a `code`.
    """

    name: str
    step: str = ""
    function: str = ""
    package: str = "parafovea.stages"
    inputs: Mapping[str, Place] = field(default_factory=dict)
    waits: Callable[[Project, Wildcards], Sequence[str]] = no_waits
    outputs: Mapping[str, Output]
    beside: tuple[str, ...] = ()
    arguments: Callable[[Project, Wildcards], dict[str, Any]] = no_arguments
    content: Callable[[Project, Wildcards], str] = no_content
    reads: Callable[[Project, Wildcards], Sequence[Read]] = reads_nothing
    references: tuple[str, ...] = ()
    device: Literal["cpu", "gpu"] = "cpu"
    jobs: Callable[[Recipe, InferenceSettings], Sequence[Wildcards]] = one_job
    sized_by: Literal["sample", "phantom", "training", "study", "cohort"] = "sample"
    cost: Callable[[Any, Rates], Cost] = no_cost
    stored: Callable[[Any], int] = nothing_stored
    stores: str = ""
    short: bool = False
    clock: bool = False
    states_code: bool = False

    @property
    def script(self) -> str:
        """Name of its script, module and function."""
        return self.function or self.name

    @property
    def module(self) -> str:
        """Dotted name of the module that does the work."""
        return f"{self.package}.{self.script}"

    @property
    def wildcards(self) -> frozenset[str]:
        """Names of the wildcards in its outputs."""
        found = (re.findall(r"{([a-z]+)", output.path) for output in self.outputs.values())
        return frozenset(name for each in found for name in each)

    @property
    def patterns(self) -> tuple[str, ...]:
        """What it writes below a sample's folder, as patterns of a shell."""
        paths = (*(output.path for output in self.outputs.values()), *self.beside)
        own = (path.removeprefix("{sample}/") for path in paths if path.startswith("{sample}/"))
        return tuple(_pattern(path) for path in own)

    def load(self) -> Callable[..., Any]:
        """Import the stage's module and return its function."""
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.script)
        return found

    def input_paths(self, project: Project, wildcards: Wildcards) -> dict[str, Paths]:
        """Return the paths of a job's inputs by parameter; those that it has none of left out."""
        found = {
            name: filled(place, project, wildcards)
            if isinstance(place, str)
            else place(project, wildcards)
            for name, place in self.inputs.items()
        }
        return {name: paths for name, paths in found.items() if paths}

    def output_paths(self, project: Project, wildcards: Wildcards) -> dict[str, str]:
        """Return the paths of a job's outputs by parameter; those that it has none of left out."""
        return {
            name: filled(output.path, project, wildcards)
            for name, output in self.outputs_of(project).items()
        }

    def outputs_of(self, project: Project) -> dict[str, Output]:
        """Return the outputs that a project has."""
        return {
            name: output
            for name, output in self.outputs.items()
            if output.made is None or output.made(project)
        }


def filled(path: str, project: Project, wildcards: Wildcards) -> str:
    """Return a path below the folder of results with its wildcards filled in."""
    plain = re.sub(r"{([a-z]+),[^}]*}", r"{\1}", path)
    return f"{project.settings.results}/{plain.format_map(wildcards)}"


def _pattern(path: str) -> str:
    """Return a path with a star for each wildcard."""
    return re.sub(r"{[^}]*}", "*", path)
