"""What is left of a workflow's run in which jobs failed: a report of the samples that are finished.

Snakemake summarizes no cohort of which a sample is missing. The report of the others is written
here, by the same stage; it has no record, so that the next run makes it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.chain.cohort_stages import cohort_arguments, summarize_cohort
from parafovea.config import Project
from parafovea.errors import ParafoveaError, describe
from parafovea.storage.layout import PAGE
from parafovea.storage.records import forget_record

#: Characters of a reason, since it may quote what stands in a file.
LONGEST = 1000

#: Begins a line of a job's log that says why it failed; further lines of it are indented.
ERROR = "ERROR "


@dataclass(frozen=True)
class OpenJob:
    """A job that a run did not finish.

    Parameters
    ----------
    stage : str
        Name of its rule.
    wildcards : mapping of str to str
        Its wildcards.
    logs : sequence of str
        Its log files, which may be those of an earlier run.
    """

    stage: str
    wildcards: Mapping[str, str]
    logs: Sequence[str]

    def failure(self, since: float) -> str | None:
        """Return why it failed, None if it did not begin.

        Parameters
        ----------
        since : float
            Start of the run, in seconds since the epoch; an older log is of an earlier run.
        """
        for log in map(Path, self.logs):
            if not log.is_file() or log.stat().st_mtime < since - 1:
                continue
            reason = _last_error(log.read_text(encoding="utf-8", errors="replace").splitlines())
            if reason:
                return reason[:LONGEST]
            return f"{self.stage} was stopped, and its log {log} does not say why"
        return None


def conclude(project: Project, jobs: Sequence[OpenJob], *, since: float) -> str:
    """Write the report of the finished samples, and return the last words of the run.

    Parameters
    ----------
    project : Project
        The project that was run.
    jobs : sequence of OpenJob
        Jobs that are not finished.
    since : float
        Start of the run, in seconds since the epoch.

    Returns
    -------
    str
        Which samples failed and why, a line each, and where the report of the others is.
    """
    failed = failed_samples(project, jobs, since=since)
    lines = [f"{name}: {reason}" for name, reason in failed.items()]
    words = [f"{len(lines)} of {len(project.samples)} samples failed:", *lines] if lines else []
    if failed:
        summarized = all(job.stage != summarize_cohort.name for job in jobs)
        words.append(report_of_others(project, failed, written=summarized))
    return "\n".join([*words, f"The logs are in {project.settings.results}/logs."])


def failed_samples(project: Project, jobs: Sequence[OpenJob], *, since: float) -> Mapping[str, str]:
    """Return the samples without a current result, with the reasons, in the order of the sheet.

    Parameters
    ----------
    project, jobs, since
        As for `conclude`.
    """
    found = dict(project.failed)
    failures = [(job, job.failure(since)) for job in jobs]
    waiting: dict[str, str] = {}
    for job, reason in failures:
        sample = job.wildcards.get("sample")
        if sample is None or sample in found:
            continue
        if reason is not None:
            found[sample] = reason
        else:
            waiting.setdefault(sample, "it was not finished, since the run ended before")
    stages = {job.stage for job in jobs}
    for sample, reason in waiting.items():
        model = project.task(sample).model
        needed = next((name for name in project.upstream(sample) if name in found), None)
        if needed is not None:
            reason = f"it needs the result of {needed!r}, which failed"
        elif "train_model" in stages and model in project.trained:
            reason = f"it needs {model}, which was not trained"
        found.setdefault(sample, reason)
    return {name: found[name] for name in project.samples if name in found}


def report_of_others(project: Project, failed: Mapping[str, str], *, written: bool) -> str:
    """Write the report of the samples that did not fail, unless it is, and return where it is.

    Parameters
    ----------
    project : Project
        The project that was run.
    failed : mapping of str to str
        Samples without a current result, with the reasons.
    written : bool
        Whether the run wrote the report of all samples itself.
    """
    finished = [name for name in project.predicted if name not in failed]
    if not finished:
        return "No sample is finished, so there is no report."
    page = Path(project.settings.results, PAGE)
    count = "sample" if len(finished) == 1 else f"{len(finished)} samples"
    place = f"The report of the other {count} is {page}"
    if written:
        return place
    paths = {n: Path(path) for n, path in summarize_cohort.output_paths(project, {}).items()}
    read = {n: Path(str(each)) for n, each in summarize_cohort.input_paths(project, {}).items()}
    # without a record, the next run knows that the report is not the whole one
    forget_record(summarize_cohort.record(project, {}))
    try:
        summarize_cohort.load()(**read, **paths, **cohort_arguments(project, failed))
    except (ParafoveaError, OSError) as error:
        return f"The report of the other samples could not be written: {describe(error)}"
    return place


def _last_error(lines: Sequence[str]) -> str:
    """Return the last error in a log in one line, "" if there is none."""
    starts = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
    if not starts:
        return ""
    first = lines[starts[-1]].partition(": ")[2]
    notes = []
    for line in lines[starts[-1] + 1 :]:
        if not line.startswith("  "):
            break
        notes.append(line.strip())
    return "; ".join([first, *notes])
