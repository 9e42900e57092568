"""Samples whose source or truth is the result of another sample: what can be wrong about that."""

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
from parafovea.formats.metadata import parse_metadata
from parafovea.kinds.kind import LayoutName
from parafovea.settings.recipe import Recipe


def is_predicted(sample: Sample, settings: Settings) -> bool:
    """Tell whether a sample is predicted: unless it is for training, and its task wants no more."""
    task = settings.tasks[sample.task]
    training = task.training
    return (
        training is None
        or task.predict_training
        or sample.name not in training.samples + training.validation
    )


def link_problems(sheet: Path, samples: Mapping[str, Sample], settings: Settings) -> list[str]:
    """Return what is wrong with references to other samples, before any model is known.

    Parameters
    ----------
    sheet : Path
        Where the samples were read from.
    samples : mapping of str to Sample
        By name.
    settings : Settings
        The config.

    Returns
    -------
    list of str
        "file:line: what is wrong and the fix": samples that are not there, that have no result,
        that refer to themselves or in a circle, tiles as the truth of a volume or the reverse.
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
        return f"{where} is the sample itself: name another sample, or give a path"
    if name not in samples:
        others = [each for each in samples if each != sample.name]
        hint = suggestion(name, others) or f": samples are {', '.join(others) or 'none'}"
        return f"{where} is no sample of {sheet}{hint}"
    other = samples[name]
    if other.task in settings.tasks and not is_predicted(other, settings):
        return (
            f"{where} has no result, since {name} is for training alone: set "
            f"tasks.{other.task}.predict_training: true, or name another sample"
        )
    return None


def _truth_problems(
    sample: Sample, samples: Mapping[str, Sample], settings: Settings
) -> Iterator[str]:
    if sample.truth is None:
        return
    name = referred(sample.truth)
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
            f"is {words[own]}: give a truth of the same sort"
        )


#: Of a sample: its source and truth, or what is made of them; of a model folder: its training.
_Node = tuple[str, str]


def _circle(samples: Mapping[str, Sample], settings: Settings) -> tuple[int, str] | None:
    """Return the line and the text about samples that wait for each other, if any do."""
    sorter = TopologicalSorter(dict(_needs(samples, settings)))
    try:
        sorter.prepare()
    except CycleError as error:
        # each node of the error is needed by the next one
        nodes: list[_Node] = list(reversed(error.args[1]))[:-1]
    else:
        return None
    names = [f"model {name}" if what == "model" else name for what, name in nodes]
    names = [name for name, _ in itertools.groupby(names)]
    if len(names) > 1 and names[0] == names[-1]:
        names.pop()
    first = min((samples[name] for name in names if name in samples), key=lambda s: s.line)
    begin = names.index(first.name)
    chain = [*names[begin:], *names[: begin + 1]]
    return first.line, (
        f"samples wait for each other in a circle: {' needs '.join(chain)}: give one of them a "
        "source or a truth that is no other sample's result"
    )


def _needs(
    samples: Mapping[str, Sample], settings: Settings
) -> Iterator[tuple[_Node, tuple[_Node, ...]]]:
    """Yield what the input and the result of each sample, and each trained model, wait for."""
    trained = {task.model for task in settings.tasks.values() if task.training is not None}
    for sample in samples.values():
        task = settings.tasks.get(sample.task)
        model = () if task is None or task.model not in trained else (("model", task.model),)
        yield ("input", sample.name), tuple(("result", name) for name in references(sample))
        yield ("result", sample.name), (("input", sample.name), *model)
    for task in settings.tasks.values():
        if task.training is not None:
            learned = task.training.samples + task.training.validation
            yield ("model", task.model), tuple(("input", name) for name in learned)


def upstream(name: str, samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """Return the samples whose results a sample needs, at any distance, each after its own needs.

    Parameters
    ----------
    name : str
        Of the sample; it is not in the answer.
    samples : mapping of str to Sample
        All samples, in no circle.
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
    """Return which samples have a model that cannot take the result that is their source.

    Parameters
    ----------
    sheet, samples, settings
        As for `link_problems`.
    recipes : mapping of str to Recipe
        Of each used task.

    Returns
    -------
    list of str
        "file:line: what is wrong and the fix".
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
    """Return why a model cannot take a result, None where it can.

    Parameters
    ----------
    given, taken : sequence of str
        Names of the bands of the result and of the model's input; empty for one without a name.
    tiles : bool
        Whether the result is a folder of NPZ tiles: their bands are told by their order alone.
    chosen : bool
        Whether the sheet chooses one channel of the source.
    """
    fix = "name a sample whose result has them, or a task whose model takes what is there"
    if not taken:
        if len(given) < 2 or (chosen and not tiles):
            return None
        choice = "" if tiles else "choose one by channel=0, ... in the metadata, or "
        return f"it takes one channel, and there are {', '.join(given)}: {choice}{fix}"
    fits = tuple(taken) == tuple(given) if tiles else set(taken) <= set(given)
    if fits:
        return None
    have = ", ".join(given) if given else "one channel without a name"
    return f"it takes the bands {', '.join(taken)}, and there is {have}: {fix}"
