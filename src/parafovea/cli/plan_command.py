"""The command `parafovea plan`: prints the forecast of a project."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from parafovea.cli.terminal import console, followed, print_table
from parafovea.config import Project
from parafovea.planning.forecast import Forecast, forecasts
from parafovea.planning.forecast_tables import sample_rows, stage_rows, write_forecasts
from parafovea.planning.measured_rates import MeasuredRates, read_rates, write_rates
from parafovea.storage.layout import bytes_text

#: File of measured rates in the results folder.
RATES = "rates.json"

#: Maximum number of samples listed; the TSV has all.
SHOWN = 40


def print_plan(
    project: Project,
    samples: Sequence[str],
    *,
    measure: bool = False,
    output: Path | None = None,
) -> None:
    """Print the forecast of samples of a project.

    Parameters
    ----------
    project : Project
        The checked project.
    samples : sequence of str
        Names in the sheet.
    measure : bool
        Measure the speed of the samples' models first, and store it for later plans.
    output : Path, optional
        TSV to write, with a line for each sample and stage.

    Raises
    ------
    ConfigError
        If the file of measured rates is damaged.
    ModelError
        If a model to be measured does not exist.
    """
    kept = Path(project.settings.results) / RATES
    rates = _measured(project, samples, kept) if measure else read_rates(kept)
    unknown = _unknown(project, samples)
    known = tuple(name for name in samples if name not in unknown)
    found = forecasts(project, known, {} if rates is None else rates.models)
    if output is not None:
        write_forecasts(output, found, unknown)
    if not samples:
        console.print("No sample is predicted: all samples of the sheet are for training.")
        return
    _print_samples(found, unknown)
    console.print()
    print_table(stage_rows(found))
    console.print()
    for note in _notes(project, found, rates, kept):
        console.print(escape(note), highlight=False)
    _print_advice(found)
    _print_space(project, found)


def _unknown(project: Project, samples: Sequence[str]) -> dict[str, str]:
    """Return the samples whose size is unknown, with the reasons."""
    found = {}
    for name in followed(samples, "Reading headers"):
        reason = project.failure(name) or project.unread(name)
        if reason is not None:
            found[name] = reason
    return found


def _measured(project: Project, samples: Sequence[str], kept: Path) -> MeasuredRates:
    """Measure the models of samples and store the rates with others of this machine."""
    # loads torch, which takes seconds
    from parafovea.planning.measure import device_name, measure_rates

    device, before = device_name(), read_rates(kept)
    models = dict(before.models) if before is not None and before.device == device else {}
    for name in dict.fromkeys(project.samples[sample].task for sample in samples):
        task = project.settings.tasks[name]
        console.print(f"Measuring {escape(task.model)} on {escape(device)} …", highlight=False)
        models[task.model] = measure_rates(
            Path(task.model), task.inference, overrides=task.overrides
        )
    rates = MeasuredRates(device, models)
    write_rates(kept, rates)
    return rates


def _print_samples(found: Sequence[Forecast], unknown: Mapping[str, str]) -> None:
    rows = sample_rows(found, unknown)
    if len(rows) > SHOWN + 2:
        console.print(
            f"The first {SHOWN} of {len(found) + len(unknown)} samples; --output writes all, "
            "--sample selects some.",
            highlight=False,
        )
        rows = [*rows[: SHOWN + 1], rows[-1]]
    print_table(rows)
    for name, reason in unknown.items():
        console.print(
            f"[yellow]warning[/] {escape(f'{name} is not counted: {reason}')}", highlight=False
        )


def _notes(
    project: Project, found: Sequence[Forecast], rates: MeasuredRates | None, kept: Path
) -> list[str]:
    """Return notes on the origin of the figures."""
    models = {project.task(each.sample).model for each in found}
    known = set() if rates is None else models & set(rates.models)
    notes = []
    if rates is not None and known:
        notes.append(f"Speed of {', '.join(sorted(known))}: measured on {rates.device} ({kept}).")
    if models - known:
        notes.append(
            f"Speed of {', '.join(sorted(models - known))}: as on two CPU cores. Run `parafovea "
            "plan --measure` where the jobs will run."
        )
    notes.append(
        "Time is computing time: the start of a job takes about ten seconds more. Disk is before "
        "compression."
    )
    return notes


def _print_advice(found: Sequence[Forecast]) -> None:
    """Print each piece of advice once, with the samples that it applies to."""
    counts = Counter(text for each in found for text in each.advice)
    first = {text: each.sample for each in reversed(found) for text in each.advice}
    for text, count in counts.items():
        who = first[text] if count == 1 else f"{first[text]} and {count - 1} more"
        console.print(f"[yellow]warning[/] {escape(f'{who}: {text}')}", highlight=False)


def _print_space(project: Project, found: Sequence[Forecast]) -> None:
    """Warn if the disk of the results may not have enough space for the run."""
    folder = Path(project.settings.results).resolve()
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free, sum(each.disk for each in found)
    if needed > free:
        console.print(
            f"[yellow]warning[/] {bytes_text(needed)} may be needed, but "
            f"{escape(str(folder))} has {bytes_text(free)} free: set keep_features: false, run "
            "fewer samples at a time, or put `results` on another disk",
            highlight=False,
        )
