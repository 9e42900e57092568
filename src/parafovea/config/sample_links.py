"""Checks of samples whose source or truth is the result of another sample."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from parafovea.config.messages import suggestion
from parafovea.config.schema import Settings
from parafovea.config.sheet import Sample
from parafovea.config.sources import (
    is_tile_folder,
    kind_of,
    references,
    referred,
    source_layout,
)
from parafovea.formats.metadata.column import parse_metadata
from parafovea.kinds.kind import LayoutName
from parafovea.settings.recipe import Recipe


def is_predicted(sample: Sample, settings: Settings) -> bool:
    """Return whether a sample is predicted: training samples only with `predict_training`."""
    task = settings.tasks[sample.task]
    training = task.training
    return (
        training is None
        or task.predict_training
        or sample.name not in training.samples + training.validation
    )


def link_problems(sheet: Path, samples: Mapping[str, Sample], settings: Settings) -> list[str]:
    """Return the problems of references to other samples that do not depend on models.

    Parameters
    ----------
    sheet : Path
        The sample sheet.
    samples : mapping of str to Sample
        By name.
    settings : Settings
        The config.

    Returns
    -------
    list of str
        "file:line: problem and fix": unknown samples, samples without a result, circular
        references, tiles as the truth of a volume or the reverse.
    """
    found = []
    for sample in samples.values():
        for what, name in _named_links(sample):
            text = _link_problem(sample, what, name, sheet, samples, settings)
            found += [] if text is None else [f"{sheet}:{sample.line}: {text}"]
    if found:
        return found
    circle = _circle(samples, settings)
    if circle is not None:
        line, text = circle
        return [f"{sheet}:{line}: {text}"]
    return [
        f"{sheet}:{sample.line}: {text}"
        for sample in samples.values()
        for text in _truth_problems(sample, samples, settings)
    ]


def _named_links(sample: Sample) -> Iterator[tuple[str, str]]:
    for what, path in (("source", sample.source), ("truth", sample.truth)):
        name = referred(path)
        if name is not None:
            yield what, name


def _link_problem(
    sample: Sample,
    what: str,
    name: str,
    sheet: Path,
    samples: Mapping[str, Sample],
    settings: Settings,
) -> str | None:
    where = f"{what} '@{name}' of sample {sample.name!r}"
    if name == sample.name:
        return f"{where} refers to the sample itself: name another sample, or give a path"
    if name not in samples:
        others = [each for each in samples if each != sample.name]
        hint = suggestion(name, others) or f": samples are {', '.join(others) or 'none'}"
        return f"{where} is not a sample of {sheet}{hint}"
    other = samples[name]
    if other.task in settings.tasks and not is_predicted(other, settings):
        return (
            f"{where} has no result, since {name} is for training only: set "
            f"tasks.{other.task}.predict_training: true, or name another sample"
        )
    return None


def _truth_problems(
    sample: Sample, samples: Mapping[str, Sample], settings: Settings
) -> Iterator[str]:
    if sample.truth is None:
        return
    name = referred(sample.truth)
    if any(referred(p) is None and not Path(p).exists() for p in (sample.source, sample.truth)):
        return  # the layout of what is not there is unknown
    own = source_layout(sample, samples, settings)
    there: LayoutName = own
    if name is not None:
        there = source_layout(samples[name], samples, settings)
    elif own == "tiles" and Path(sample.truth).is_file():
        there = "volume"
    elif is_tile_folder(sample.truth, results=settings.results):
        there = "tiles"
    words = {"tiles": "a folder of tiles", "volume": "a volume"}
    if own != there:
        yield (
            f"truth {sample.truth!r} of sample {sample.name!r} is {words[there]}, but its source "
            f"is {words[own]}: give a truth of the same layout"
        )


#: Node of the dependency graph: the input or the result of a sample, or a trained model.
_Node = tuple[str, str]


def _circle(samples: Mapping[str, Sample], settings: Settings) -> tuple[int, str] | None:
    """Return the line and the message about a circular dependency, if there is one."""
    sorter = TopologicalSorter(dict(_needs(samples, settings)))
    try:
        sorter.prepare()
    except CycleError as error:
        # each node of the error is a dependency of the next one
        nodes: list[_Node] = list(reversed(error.args[1]))[:-1]
    else:
        return None
    names = [f"model {name}" if what == "model" else name for what, name in nodes]
    names = [name for name, _ in itertools.groupby(names)]
    if len(names) > 1 and names[0] == names[-1]:
        names.pop()
    given = [samples[name] for name in names if name in samples]
    if not given:
        return None  # of models that start from each other, which the config's checks name
    first = min(given, key=lambda sample: sample.line)
    begin = names.index(first.name)
    chain = [*names[begin:], *names[: begin + 1]]
    return first.line, (
        f"circular dependency between samples: {' needs '.join(chain)}: give one of them a "
        "source or a truth that is not another sample's result"
    )


def _needs(
    samples: Mapping[str, Sample], settings: Settings
) -> Iterator[tuple[_Node, tuple[_Node, ...]]]:
    """Yield the dependencies of the input and result of each sample and of each trained model."""
    trained = {task.model for task in settings.tasks.values() if task.training is not None}
    for sample in samples.values():
        task = settings.tasks.get(sample.task)
        model = () if task is None or task.model not in trained else (("model", task.model),)
        yield ("input", sample.name), tuple(("result", name) for name in references(sample))
        yield ("result", sample.name), (("input", sample.name), *model)
    for task in settings.tasks.values():
        if task.training is not None:
            learned = task.training.samples + task.training.validation
            start = task.training.start
            first = () if start is None or start not in trained else (("model", start),)
            yield ("model", task.model), (*(("input", name) for name in learned), *first)


def upstream(name: str, samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """Return the direct and indirect dependencies of a sample, in topological order.

    Parameters
    ----------
    name : str
        Name of the sample, which is not in the result.
    samples : mapping of str to Sample
        All samples, without circular references.
    """
    found: dict[str, None] = {}

    def visit(each: str) -> None:
        for other in references(samples[each]):
            if other not in found:
                visit(other)
                found[other] = None

    visit(name)
    return tuple(found)


def band_problems(
    sheet: Path,
    samples: Mapping[str, Sample],
    settings: Settings,
    recipes: Mapping[str, Recipe],
) -> list[str]:
    """Return the samples whose source is a result that their model cannot take.

    Parameters
    ----------
    sheet, samples, settings
        As for `link_problems`.
    recipes : mapping of str to Recipe
        Of each used task.

    Returns
    -------
    list of str
        "file:line: problem and fix".
    """
    found = []
    for sample in samples.values():
        name = referred(sample.source)
        if name is None:
            continue
        other = samples[name]
        kind = kind_of(other, settings)
        problem = band_problem(
            recipes[other.task].classes if kind is not None and kind.banded else (),
            recipes[sample.task].bands,
            tiles=source_layout(sample, samples, settings) == "tiles",
            chosen=parse_metadata(sample.metadata, folder=Path()).channel is not None,
        )
        if problem is not None:
            model = settings.tasks[sample.task].model
            found.append(
                f"{sheet}:{sample.line}: source '@{name}' of sample {sample.name!r} does not fit "
                f"its model {model}: {problem}"
            )
    return found


def band_problem(
    given: Sequence[str], taken: Sequence[str], *, tiles: bool, chosen: bool = False
) -> str | None:
    """Return why a model cannot take a result, None if it can.

    Parameters
    ----------
    given, taken : sequence of str
        Band names of the result and of the model's input; empty for one unnamed channel.
    tiles : bool
        Whether the result is a folder of NPZ tiles, whose bands are identified by order.
    chosen : bool
        Whether the sheet selects one channel of the source.
    """
    fix = "use a sample whose result has them, or a task whose model takes the available bands"
    if not taken:
        if len(given) < 2 or (chosen and not tiles):
            return None
        choice = "" if tiles else "select one with channel=0, ... in the metadata, or "
        return f"it takes one channel, but the result has {', '.join(given)}: {choice}{fix}"
    fits = tuple(taken) == tuple(given) if tiles else set(taken) <= set(given)
    if fits:
        return None
    have = ", ".join(given) if given else "one unnamed channel"
    return f"it takes the bands {', '.join(taken)}, but the result has {have}: {fix}"
