"""Declaration of a stage.

The Snakemake rules, the run in one process, `plan`, `status`, `clean` and the tables of the docs
all read it. A driver resolves the paths of a job and calls the stage's function with inputs and
outputs as paths and with arguments as plain values.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from parafovea.chain.cost import FREE, Cost, Rates
from parafovea.runtime.optional_packages import extras_named
from parafovea.storage.layout import COHORT, PHANTOMS, STUDY, TRAINING, record_place

if TYPE_CHECKING:
    from parafovea.chain.division import Division
    from parafovea.config.project import Project

#: Wildcard values of a job, such as the sample and the shard's number.
Wildcards = Mapping[str, str]

#: Regular expressions of the wildcards' values.
CONSTRAINTS: Mapping[str, str] = {
    "sample": f"(?!(?:{PHANTOMS}|{TRAINING}|{COHORT}|{STUDY})/)[A-Za-z0-9_-][A-Za-z0-9._-]*",
    "shard": r"[1-9]\d*",
    "block": r"[1-9]\d*",
    "scan": r"[1-9]",
    "augmentation": "[a-z0-9_+]+",
    "kind": "[a-z]+",
    "seed": r"\d+",
    "member": "[A-Za-z0-9_-][A-Za-z0-9._-]*",
    "view": "[a-z0-9]+",
    "figure": "[a-z][a-z0-9_]*",
    "variant": "[a-z][a-z0-9]*(?:_context)?",
}

#: One path, several, or none.
Paths = str | Sequence[str] | None

#: Location of a file: a path with wildcards relative to the results folder, or a function of the
#: project and the wildcards that returns complete paths.
Place = str | Callable[["Project", Wildcards], Paths]


class AncientPath(str):
    """A path whose modification time is ignored, as with Snakemake's `ancient`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Caption:
    """Entry of an output in Snakemake's report.

    Parameters
    ----------
    name : str
        Name of the caption file `workflow/report/NAME.rst`.
    category : str
        Category in the report.
    content : str
        Short description of the content.
    patterns : tuple of str
        Patterns of files, for an output that is a folder; `content` may use their wildcards.
    """

    name: str
    category: str
    content: str
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """An output file or folder of a stage.

    Parameters
    ----------
    path : str
        Path relative to the results folder, with wildcards in braces.
    folder : bool
        Whether it is a folder.
    temporary : bool
        Whether it is deleted after use if `keep_features` is false.
    part : bool
        Whether it is a part of another result, deleted after use in any case.
    placed : bool
        Whether its path is complete, instead of relative to the results folder.
    caption : Caption, optional
        Its entry in the report.
    made : callable, optional
        Function of a project that returns whether the output exists; by default it always does.
    """

    path: str
    folder: bool = False
    temporary: bool = False
    part: bool = False
    placed: bool = False
    caption: Caption | None = None
    made: Callable[[Project], bool] | None = None

    @property
    def kept(self) -> bool:
        """Whether it is a result in any case, whatever `keep_features` says."""
        return not (self.temporary or self.part)


def one_job(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of a stage with one job per sample."""
    return ({},)


def no_waits(project: Project, wildcards: Wildcards) -> list[str]:
    """Return no files to wait for besides the inputs."""
    return []


#: A path, and whether bands are read from it by name.
Read = tuple[str | None, bool]


def reads_nothing(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return no sources or truths, for a stage that opens none."""
    return ()


def reads_source(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return a sample's source."""
    sample = wildcards["sample"]
    return ((project.source(sample), project.reads_bands(sample)),)


def reads_truth(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return a sample's truth and the truth of its objects."""
    sample = wildcards["sample"]
    truth = (project.truth(sample), project.reads_bands(sample))
    return (truth, (project.true_objects(sample), False))


def reads_both(project: Project, wildcards: Wildcards) -> Sequence[Read]:
    """Return a sample's source and truths."""
    return (*reads_source(project, wildcards), *reads_truth(project, wildcards))


def no_content(project: Project, wildcards: Wildcards) -> str:
    """Return an empty content hash, for a stage without `AncientPath` folders."""
    return ""


def no_arguments(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    """Return no arguments."""
    return {}


def no_cost(work: Any, rates: Rates) -> Cost:
    """Return the cost of a stage whose cost does not depend on a sample's size."""
    return FREE


def nothing_stored(work: Any) -> int:
    """Return 0 stored bytes, for a stage with negligible outputs."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage.

    Parameters
    ----------
    name : str
        Name of the rule and, unless `function` is given, of the script, module and function.
    step : str
        Step that it belongs to in `status` and `clean`.
    function : str
        Name of the script, module and function, if shared with another stage.
    package : str
        Package of the module.
    inputs : mapping of str to Place
        Input paths by parameter of the function.
    waits : callable
        Files that a job depends on but that the function opens by itself: sources, models.
    outputs : mapping of str to Output
        Outputs by parameter of the function.
    beside : tuple of str
        Further paths that it writes and that Snakemake must not remove, in the form of outputs.
    beside_is_there : str
        Reference to a function that takes the first output's path and returns whether everything
        that it lists is there; "" for a stage that writes nothing beside its outputs.
    arguments : callable
        Takes the project and the wildcards; returns the function's other arguments as plain values.
    content : callable
        Returns a hash of the content of `AncientPath` folders.
    reads : callable
        Returns the sources and truths that it opens; the readers of their formats are part of the
        stage's code.
    references : tuple of str
        Names of the arguments that refer to code, which is part of the stage's code, too.
    extra : str
        Extra of parafovea with packages that its module imports; "" if the core is enough.
    device : {"cpu", "gpu"}
        Device of its jobs.
    jobs : callable
        Takes the division of a sample; returns the wildcards of each job besides the sample.
    blockwise : bool or None
        Whether it applies to samples of several blocks only, of one block only (False), or to all
        (None).
    sized_by : {"sample", "phantom", "training", "study", "cohort"}
        What the size of its jobs depends on.
    cost : callable
        Takes the size of a sample and rates; returns the `Cost` of one job.
    stored : callable
        Takes the size of a sample; returns the bytes that all jobs store, before compression.
    stores : str
        Name of the stored data in the table of `plan`.
    short : bool
        Whether its jobs are submitted as one job array, with the request of the largest.
    clock : bool
        Whether its result may state a time; the function then takes a `clock`.
    states_code : bool
        Whether its result states the fingerprint of its code; the function then takes a `code`.
    """

    name: str
    step: str = ""
    function: str = ""
    package: str = "parafovea.stages"
    inputs: Mapping[str, Place] = field(default_factory=dict)
    waits: Callable[[Project, Wildcards], Sequence[str]] = no_waits
    outputs: Mapping[str, Output]
    beside: tuple[str, ...] = ()
    beside_is_there: str = ""
    arguments: Callable[[Project, Wildcards], dict[str, Any]] = no_arguments
    content: Callable[[Project, Wildcards], str] = no_content
    reads: Callable[[Project, Wildcards], Sequence[Read]] = reads_nothing
    references: tuple[str, ...] = ()
    extra: str = ""
    device: Literal["cpu", "gpu"] = "cpu"
    jobs: Callable[[Division], Sequence[Wildcards]] = one_job
    blockwise: bool | None = None
    sized_by: Literal["sample", "phantom", "training", "study", "cohort"] = "sample"
    cost: Callable[[Any, Rates], Cost] = no_cost
    stored: Callable[[Any], int] = nothing_stored
    stores: str = ""
    short: bool = False
    clock: bool = False
    states_code: bool = False

    @property
    def script(self) -> str:
        """Name of the script, module and function."""
        return self.function or self.name

    @property
    def module(self) -> str:
        """Dotted name of the stage's module."""
        return f"{self.package}.{self.script}"

    @functools.cached_property
    def wildcards(self) -> frozenset[str]:
        """Names of the wildcards in the outputs."""
        found = (re.findall(r"{([a-z]+)", output.path) for output in self.outputs.values())
        return frozenset(name for each in found for name in each)

    @functools.cached_property
    def patterns(self) -> tuple[str, ...]:
        """Glob patterns of the outputs, relative to a sample's folder."""
        paths = (*(output.path for output in self.outputs.values()), *self.beside)
        own = (path.removeprefix("{sample}/") for path in paths if path.startswith("{sample}/"))
        return tuple(_pattern(path) for path in own)

    def load(self) -> Callable[..., Any]:
        """Import the stage's module and return its function.

        Raises
        ------
        MissingExtraError
            If an optional package that it needs is not installed.
        """
        with extras_named():
            module = importlib.import_module(self.module)
        found: Callable[..., Any] = getattr(module, self.script)
        return found

    def input_paths(self, project: Project, wildcards: Wildcards) -> dict[str, Paths]:
        """Return the paths of a job's inputs by parameter, without missing ones."""
        found = {
            name: filled(place, project, wildcards)
            if isinstance(place, str)
            else place(project, wildcards)
            for name, place in self.inputs.items()
        }
        return {name: paths for name, paths in found.items() if paths}

    def output_paths(self, project: Project, wildcards: Wildcards) -> dict[str, str]:
        """Return the paths of a job's outputs by parameter, without missing ones."""
        return {
            name: output.path.format_map(wildcards)
            if output.placed
            else filled(output.path, project, wildcards)
            for name, output in self.outputs_of(project).items()
        }

    def record(self, project: Project, wildcards: Wildcards) -> str:
        """Return the path of the record of what made a job's outputs."""
        name, output = next(iter(self.outputs.items()))
        return record_place(self.output_paths(project, wildcards)[name], folder=output.folder)

    def outputs_of(self, project: Project) -> dict[str, Output]:
        """Return the outputs that a project has."""
        return {
            name: output
            for name, output in self.outputs.items()
            if output.made is None or output.made(project)
        }


def filled(path: str, project: Project, wildcards: Wildcards) -> str:
    """Return a path in the results folder with its wildcards filled in."""
    plain = re.sub(r"{([a-z]+),[^}]*}", r"{\1}", path)
    return f"{project.settings.results}/{plain.format_map(wildcards)}"


def _pattern(path: str) -> str:
    """Return a path with `*` for each wildcard."""
    return re.sub(r"{[^}]*}", "*", path)
