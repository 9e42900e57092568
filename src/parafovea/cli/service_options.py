"""Options of the commands that have a queue and workers, and the settings that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from parafovea.service.service_settings import ServiceSettings

Workers = Annotated[
    int | None, typer.Option(min=0, help="Worker processes; default: one, or one a device.")
]

Devices = Annotated[
    list[str] | None, typer.Option(help="Device of a worker, such as cuda:0; may be repeated.")
]

Spooled = Annotated[
    Path | None, typer.Option("--spool", help="Folder of the queue and the jobs; default: spool.")
]

KeepHours = Annotated[
    float | None, typer.Option(min=0.01, help="Age of results to remove; default: 72.")
]

KeepGigabytes = Annotated[
    float | None, typer.Option(min=0, help="Most GB of all results; default: 10.7.")
]


def service_settings(
    *,
    workers: int | None,
    device: list[str] | None,
    spool: Path | None,
    keep_hours: float | None,
    keep_gb: float | None,
    config: list[Path] | None,
    **others: Any,
) -> ServiceSettings:
    """Return the settings of the environment, with the options that were given.

    Parameters
    ----------
    workers, device, spool, keep_hours, keep_gb, config
        Options of a command, None where they are left out.
    **others
        Further fields of `ServiceSettings`, None where they are left out.

    Raises
    ------
    ConfigError
        If a variable of the environment is invalid.
    """
    from parafovea.service.service_settings import ServiceSettings

    given: dict[str, Any] = {
        "workers": len(device) if device and workers is None else workers,
        "devices": tuple(device) if device else None,
        "spool": spool,
        "keep_seconds": None if keep_hours is None else 3600 * keep_hours,
        "keep_bytes": None if keep_gb is None else round(1e9 * keep_gb),
        "config": tuple(config) if config else None,
        **others,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return ServiceSettings.from_environment().model_copy(update=changes)
