"""The command `parafovea serve`: uploads over HTTP, predicted as by `parafovea predict`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parafovea.cli.project_options import Configs
from parafovea.cli.service_options import (
    Devices,
    KeepGigabytes,
    KeepHours,
    Spooled,
    Workers,
    service_settings,
)
from parafovea.cli.terminal import console, readable_errors
from parafovea.errors import ConfigError

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 8000,
    workers: Workers = None,
    device: Devices = None,
    spool: Spooled = None,
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
    keep_hours: KeepHours = None,
    keep_gb: KeepGigabytes = None,
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
        from parafovea.service.service_settings import KEYS_VARIABLE

        settings = service_settings(
            workers=workers,
            device=device,
            spool=spool,
            keep_hours=keep_hours,
            keep_gb=keep_gb,
            config=config,
            task=task,
            keys_file=keys,
            origins=tuple(origin) if origin else None,
            max_upload=max_upload,
        )
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
