"""Which results are current: made from what the config, the sheet, the code and the files say now.

Every result has a record of what made it (`storage.records`). This module follows the declarations
of the stages from a result to its sources and compares. It asks neither Snakemake nor modification
times, so that it holds for results of any driver, after a copy, and after a job that was killed.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parafovea.chain.stage import CONSTRAINTS, AncientPath, Paths, Stage, Wildcards
from parafovea.config.project import Project
from parafovea.config.stage_code import code_of
from parafovea.kinds.reference import resolve
from parafovea.kinds.stages import stages
from parafovea.storage.contents import ABSENT, MEMO, Contents
from parafovea.storage.fingerprint import file_fingerprint
from parafovea.storage.records import Order, Record, arguments_digest, identity, read_record

#: current: made from what is there now; missing: no output is there. Otherwise what has changed
#: since: arguments, code, the files that it reads, or the results that it reads; incomplete: files
#: that it lists are not there; unrecorded: it is not known what made it.
State = Literal[
    "current", "missing", "settings", "code", "files", "inputs", "incomplete", "unrecorded"
]

#: stale: there, but a run would make it anew; removed: an intermediate result that is not needed.
Status = Literal["done", "removed", "stale", "missing"]

_WILDCARD = re.compile(r"{([a-z]+)(?:,([^}]*))?}")


def none_passes(path: str) -> bool:
    """Return False: the run removes no results."""
    return False


@dataclass(frozen=True)
class Job:
    """A job: a stage with its wildcards.

    Parameters
    ----------
    stage : Stage
        Declaration of the stage.
    wildcards : tuple of (str, str)
        Sorted names and values.
    """

    stage: Stage
    wildcards: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, stage: Stage, wildcards: Wildcards) -> Job:
        """Return the job of a stage with its wildcards."""
        return cls(stage, tuple(sorted(wildcards.items())))

    def __hash__(self) -> int:
        return hash((self.stage.name, self.wildcards))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Job):
            return NotImplemented
        return (self.stage.name, self.wildcards) == (other.stage.name, other.wildcards)


class Staleness:
    """Compares results with what a run would make.

    Parameters
    ----------
    project : Project
        The checked config and sheet. Relative paths are relative to the working directory.
    scripts : Path, optional
        Folder of the workflow's scripts, which count as code of their stages.
    contents : Contents, optional
        Hashes of files; by default remembered in `MEMO`.
    """

    def __init__(
        self, project: Project, *, scripts: Path | None = None, contents: Contents | None = None
    ) -> None:
        self._project = project
        self._scripts = scripts
        self.contents = Contents(MEMO) if contents is None else contents
        self._orders: dict[Job, Order] = {}
        self._records: dict[str, Record | None] = {}
        self._identities: dict[Job, str] = {}
        self._states: dict[Job, State] = {}
        self._makers: dict[str, Job | None] = {}
        self._digests: dict[str, str] = {}

    def order(self, stage: Stage, wildcards: Wildcards) -> Order:
        """Return what a job is to be made from."""
        return self._order(Job.of(stage, wildcards))

    def state(self, stage: Stage, wildcards: Wildcards) -> State:
        """Return whether the outputs of a job are current, or why they are not."""
        return self._state(Job.of(stage, wildcards))

    def maker(self, path: str) -> Job | None:
        """Return the job that makes a file or folder, None if none does."""
        if path not in self._makers:
            self._makers[path] = self._found(path)
        return self._makers[path]

    def jobs(self, *samples: str) -> tuple[Job, ...]:
        """Return the jobs of samples and all that they depend on, in execution order.

        Parameters
        ----------
        *samples : str
            Names in the sheet; without any, all jobs of the project but those of its study.
        """
        project = self._project
        found: dict[Job, None] = {}
        for sample in samples or project.planned:
            for stage in project.stages(sample):
                for wildcards in project.jobs(stage, sample):
                    self._follow(Job.of(stage, wildcards), found)
        if not samples:
            for model in project.trainable:
                self._follow(Job.of(stages()["train_model"], {"model": model}), found)
            if project.planned:
                self._follow(Job.of(stages()["summarize_cohort"], {}), found)
        return tuple(found)

    def stale(self) -> list[str]:
        """Return all outputs that are there and not current."""
        return [
            path
            for job in self.jobs()
            if self._state(job) not in ("current", "missing")
            for path in job.stage.output_paths(self._project, dict(job.wildcards)).values()
        ]

    def _follow(self, job: Job, found: dict[Job, None]) -> None:
        if job not in found:
            for path in self._order(job).inputs:
                self._follow(self._made_by(path), found)
            found[job] = None

    def statuses(
        self, jobs: Sequence[Job], *, passing: Callable[[str], bool] = none_passes
    ) -> dict[Job, Status]:
        """Return the status of jobs, of which a run would execute the stale and missing ones.

        Parameters
        ----------
        jobs : sequence of Job
            In execution order, with all jobs that they depend on.
        passing : callable
            Takes the path of an output; returns whether the run removes it after use, besides those
            that the stages themselves declare as temporary.
        """
        found: dict[Job, Status] = {}
        needed: set[str] = set()
        for job in reversed(jobs):
            outputs = job.stage.outputs_of(self._project)
            paths = job.stage.output_paths(self._project, dict(job.wildcards))
            missing = {name for name, path in paths.items() if not os.path.exists(path)}  # noqa: PTH110
            asked = any(
                paths[name] in needed or (outputs[name].kept and not passing(paths[name]))
                for name in missing
            )
            state = self._state(job)
            if state not in ("current", "missing"):
                found[job] = "stale"
            elif asked:
                found[job] = "missing"
            else:
                found[job] = "removed" if missing else "done"
            if found[job] in ("stale", "missing"):
                needed.update(self._order(job).inputs)
        return {job: found[job] for job in jobs}

    def _order(self, job: Job) -> Order:
        if job not in self._orders:
            stage, wildcards, project = job.stage, dict(job.wildcards), self._project
            arguments = stage.arguments(project, wildcards)
            content = stage.content(project, wildcards)
            if content:
                arguments = {**arguments, "content": content}
            files: dict[str, None] = {}
            inputs: dict[str, str] = {}
            for path in (
                *_flat(stage.input_paths(project, wildcards).values()),
                *stage.waits(project, wildcards),
            ):
                maker = self.maker(str(path))
                if maker is not None:
                    inputs[str(path)] = maker.stage.record(project, dict(maker.wildcards))
                elif not isinstance(path, AncientPath):
                    files[str(path)] = None
            place = stage.record(project, wildcards)
            code = _joined(code_of(stage, project, wildcards), self._script(stage))
            if not all(map(os.path.exists, files)):
                # of what was archived, neither all files nor their format can be told any more
                record = self._record(place)
                if record is not None:
                    files, code = dict.fromkeys(record.files), record.code
            self._orders[job] = Order(
                place=place,
                stage=stage.name,
                arguments=arguments_digest(arguments),
                code=code,
                files=tuple(files),
                inputs=inputs,
            )
        return self._orders[job]

    def _script(self, stage: Stage) -> str:
        """Return a hash of a stage's script, "" without one."""
        if stage.script not in self._digests:
            script = self._scripts and self._scripts / f"{stage.script}.py"
            self._digests[stage.script] = file_fingerprint(script) if script else ""
        return self._digests[stage.script]

    def _record(self, place: str) -> Record | None:
        if place not in self._records:
            self._records[place] = read_record(place)
        return self._records[place]

    def _state(self, job: Job) -> State:
        if job not in self._states:
            self._states[job] = self._compared(job)
        return self._states[job]

    def _compared(self, job: Job) -> State:
        outputs = job.stage.output_paths(self._project, dict(job.wildcards)).values()
        if not any(os.path.lexists(path) for path in outputs):
            return "missing"
        order = self._order(job)
        record = self._record(order.place)
        if record is None or record.stage != order.stage:
            return "unrecorded"
        if record.arguments != order.arguments:
            return "settings"
        if record.code != order.code:
            return "code"
        if len(record.files) != len(order.files) or any(
            self._digest(path, recorded) != recorded
            for path, recorded in zip(order.files, record.files.values(), strict=True)
        ):
            return "files"
        if len(record.inputs) != len(order.inputs) or any(
            self._identity(self._made_by(path)) != recorded
            for path, recorded in zip(order.inputs, record.inputs.values(), strict=True)
        ):
            return "inputs"
        beside = job.stage.beside_is_there
        if beside and not resolve(beside)(Path(next(iter(outputs)))):
            return "incomplete"
        return "current"

    def _identity(self, job: Job) -> str:
        """Return the identity of the record that a job would write now."""
        if job not in self._identities:
            order = self._order(job)
            record = self._record(order.place)
            known = {} if record is None else record.files
            self._identities[job] = identity(
                order.stage,
                order.arguments,
                order.code,
                tuple(self._digest(path, known.get(path)) for path in order.files),
                tuple(self._identity(self._made_by(path)) for path in order.inputs),
            )
        return self._identities[job]

    def _digest(self, path: str, recorded: str | None) -> str:
        """Return the hash of a file; of one that was archived, that of the record."""
        digest = self.contents.digest(path)
        return recorded if digest == ABSENT and recorded is not None else digest

    def _made_by(self, path: str) -> Job:
        maker = self.maker(path)
        if maker is None:
            raise AssertionError(f"{path} is made by no stage")
        return maker

    def _found(self, path: str) -> Job | None:
        project = self._project
        if path in project.trained:
            return Job.of(stages()["train_model"], {"model": path})
        inside = path.removeprefix(f"{project.settings.results}/")
        if inside == path:
            return None
        sample, _, rest = inside.partition("/")
        if sample in project.samples:
            names = tuple(stage.name for stage in project.makers(sample))
            found = _of_sample(names, rest)
            return found and Job.of(stages()[found[0]], {"sample": sample, **found[1]})
        found = _of_others(inside)
        return found and Job.of(stages()[found[0]], found[1])


def _flat(paths: Sequence[Paths] | Any) -> list[str]:
    return [
        path for each in paths for path in ([each] if isinstance(each, str) else list(each or ()))
    ]


def _joined(code: str, script: str) -> str:
    return f"{code}-{script}" if script else code


@functools.cache
def _of_sample(names: tuple[str, ...], rest: str) -> tuple[str, Mapping[str, str]] | None:
    """Return the stage of a sample that makes a path in its folder, and its other wildcards."""
    return _matched(_patterns(names, "{sample}/"), rest)


@functools.cache
def _of_others(inside: str) -> tuple[str, Mapping[str, str]] | None:
    """Return the stage without a sample that makes a path in the results folder."""
    names = tuple(name for name, stage in stages().items() if "sample" not in stage.wildcards)
    return _matched(_patterns(names, ""), inside)


def _matched(
    patterns: Sequence[tuple[re.Pattern[str], str]], path: str
) -> tuple[str, Mapping[str, str]] | None:
    for pattern, name in patterns:
        found = pattern.fullmatch(path)
        if found:
            return name, found.groupdict()
    return None


@functools.cache
def _patterns(names: tuple[str, ...], prefix: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(
        (re.compile(_expression(output.path.removeprefix(prefix))), name)
        for name in names
        for output in stages()[name].outputs.values()
        if output.path.startswith(prefix) and not output.placed
    )


def _expression(path: str) -> str:
    """Return the regular expression of an output's path."""
    pieces, end = [], 0
    for found in _WILDCARD.finditer(path):
        pieces.append(re.escape(path[end : found.start()]))
        pieces.append(f"(?P<{found[1]}>{found[2] or CONSTRAINTS.get(found[1], '[^/]+')})")
        end = found.end()
    return "".join((*pieces, re.escape(path[end:])))
