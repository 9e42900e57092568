"""The command `parafovea view`: results in viewers, served on this machine."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from parafovea.cli.project_options import Configs, project_of_configs
from parafovea.cli.terminal import console, errors, readable_errors
from parafovea.errors import ConfigError
from parafovea.service.neuroglancer import VIEWER, link

app = typer.Typer()

#: Where the results are served by default, so that a link stays the same.
PORT = 8642


@app.command()
def view(
    sample: Annotated[
        str, typer.Argument(help="Sample in the sheet, or a folder of results, as of predict.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port at 127.0.0.1; 0 for any that is free.")
    ] = PORT,
    open_page: Annotated[
        bool, typer.Option("--open", help="Also open the link in the browser.")
    ] = False,
    viewer: Annotated[str, typer.Option(help="Address of a Neuroglancer.")] = VIEWER,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of another page that may read the results; may be repeated."),
    ] = None,
    config: Configs = None,
) -> None:
    """Serve a sample's results to viewers on this machine until Ctrl-C, read only.

    Prints a link to Neuroglancer and a command for napari, with image, prediction and labels.
    """
    with readable_errors():
        from parafovea.service.results_server import ResultsServer
        from parafovea.service.sample_layers import napari_command, sample_layers
        from parafovea.storage.layout import SampleResults

        origins = [_origin(address) for address in (viewer, *(allow_origin or ()))]
        folder = _folder(sample, config)
        results = SampleResults(folder)
        with ResultsServer(folder, port=port, origins=origins) as server:
            page = link(sample_layers(results, server), viewer=viewer)
            # a service manager stops it as Ctrl-C does
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                console.print(
                    f"Serving {escape(str(folder))} at {server.address()}/", highlight=False
                )
                console.print(f"Neuroglancer  {escape(page)}", highlight=False)
                console.print(f"napari        {escape(napari_command(results))}", highlight=False)
                console.print("Stop with Ctrl-C.", highlight=False)
                if open_page and not webbrowser.open(page):
                    errors.print("[yellow]note[/] no browser was found: open the link yourself")
                server.serve_forever()
            except KeyboardInterrupt:
                console.print("Stopped.", highlight=False)


def _folder(sample: str, config: list[Path] | None) -> Path:
    """Return the folder of results of a sample, or the given one."""
    if "/" in sample or sample in (".", ".."):
        folder = Path(sample)
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder: give a folder of results, or a sample")
        return folder.absolute()
    project = project_of_configs(config)
    project.require(sample)
    if project.layout(sample) == "tiles":
        raise ConfigError(
            f"sample {sample!r} is a folder of tiles, not a volume: its pictures are in "
            f"{project.folder(sample)}/report.html"
        )
    folder = Path(project.folder(sample))
    if not folder.is_dir():
        raise ConfigError(
            f"sample {sample!r} has no results in {folder} yet: run the workflow first "
            "(snakemake, or parafovea run --sample NAME)"
        )
    return folder.absolute()


def _origin(address: str) -> str:
    """Return the origin of a page, or raise `ConfigError`."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{address!r} is not the address of a page: begin it with https://")
    name = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{name}" + ("" if port in (None, default) else f":{port}")
