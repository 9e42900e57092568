"""The command `parafovea serve`: uploads over HTTP, predicted as by `parafovea predict`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from parafovea.cli.project_options import Configs
from parafovea.cli.terminal import console, readable_errors
from parafovea.errors import ConfigError

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; default: one, or one a device.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Device of a worker, such as cuda:0; may be repeated."),
    ] = None,
    spool: Annotated[
        Path | None, typer.Option(help="Folder of the queue and the jobs; default: spool.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of uploads that name none; default: nodules.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="File with one key a line; needed off this machine."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of foreign pages that may call; may be repeated."),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address of a proxy whose headers are believed; may be repeated."),
    ] = None,
    max_upload: Annotated[
        int | None, typer.Option(min=1, help="Most bytes of an upload; default: 2 GiB.")
    ] = None,
    keep_hours: Annotated[
        float | None, typer.Option(min=0.01, help="Age of results to remove; default: 72.")
    ] = None,
    keep_gb: Annotated[
        float | None, typer.Option(min=0, help="Most GB of all results; default: 10.7.")
    ] = None,
    config: Configs = None,
) -> None:
    """Take scans over HTTP, predict them one after the other, and give the results.

    Options that are left out come from environment variables, PARAFOVEA_SERVICE_SPOOL and so on.
    """
    with readable_errors():
        from parafovea.service.app import create_app
        from parafovea.service.http_server import require_keys
        from parafovea.service.http_server import serve as run
        from parafovea.service.keys import read_keys
        from parafovea.service.service_settings import KEYS_VARIABLE, ServiceSettings

        given: dict[str, Any] = {
            "workers": len(device) if device and workers is None else workers,
            "devices": tuple(device) if device else None,
            "spool": spool,
            "task": task,
            "keys_file": keys,
            "origins": tuple(origin) if origin else None,
            "max_upload": max_upload,
            "keep_seconds": None if keep_hours is None else 3600 * keep_hours,
            "keep_bytes": None if keep_gb is None else round(1e9 * keep_gb),
            "config": tuple(config) if config else None,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        settings = ServiceSettings.from_environment().model_copy(update=changes)
        found = read_keys(settings.keys_file, os.environ.get(KEYS_VARIABLE, ""))
        require_keys(host, found)
        service = create_app(settings, found)
        _require_port(host, port)
        console.print(f"Serving http://{escape(host)}:{port}/api/v1/inference", highlight=False)
        forwarded = ",".join(proxy) if proxy else None
        run(service, settings, host=host, port=port, forwarded=forwarded)


def _require_port(host: str, port: int) -> None:
    """Raise `ConfigError` if an address cannot be listened at."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened at ({error.strerror}): choose another one by "
                "--host and --port"
            ) from error
