"""The option `--engine` of commands that run stages: its companions, checked, and its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from parafovea.cli.terminal import errors
from parafovea.errors import ConfigError

if TYPE_CHECKING:
    from parafovea.drivers.ray.cluster import Cluster
    from parafovea.drivers.ray.work import RunProgress

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="local: in this process; ray: on a Ray cluster (docs/engines.md)."),
]

Address = Annotated[
    str | None,
    typer.Option(
        help="Of the Ray cluster: auto (the default: RAY_ADDRESS, or the one on this machine), "
        "HOST:PORT of its head, or local to start one for this command."
    ),
]

NumGpus = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="GPUs of the Ray cluster to use; 0 for its CPUs. Default: all, or CPUs if none.",
    ),
]


@dataclass(frozen=True)
class RayOptions:
    """Options of a command that runs on Ray.

    Parameters
    ----------
    address : str
        Address of the cluster.
    num_gpus : int or None
        GPUs to use; None for all.
    """

    address: str
    num_gpus: int | None

    @contextlib.contextmanager
    def cluster(self) -> Iterator[Cluster]:
        """Yield the cluster, which has as many GPUs as are asked for."""
        from parafovea.drivers.ray.cluster import connected
        from parafovea.drivers.ray.staff import require_gpus

        with connected(self.address) as found:
            require_gpus(found.nodes(), self.num_gpus)
            yield found


def ray_options(engine: str, address: str | None, num_gpus: int | None) -> RayOptions | None:
    """Return the options of Ray, None if another engine was chosen.

    Raises
    ------
    ConfigError
        If an option is given that the engine does not have.
    """
    if engine == "ray":
        return RayOptions(address or "auto", num_gpus)
    for name, value in (("--address", address), ("--num-gpus", num_gpus)):
        if value is not None:
            raise ConfigError(f"{name} is of --engine ray: add that, or leave {name} out")
    return None


@contextlib.contextmanager
def cluster_bar() -> Iterator[Callable[[RunProgress], None]]:
    """Yield a callback that shows the progress of a run on a cluster as a bar."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=errors,
    ) as progress:
        bar = progress.add_task("starting", total=1.0, left="")

        def show(run: RunProgress) -> None:
            left = run.seconds_left
            progress.update(
                bar,
                completed=run.share,
                description=progress_text(run),
                left="" if left is None else f"left {timedelta(seconds=round(left))}",
            )

        yield show


def progress_text(run: RunProgress) -> str:
    """Return how far a run is in words, such as "3 of 10 scans, 5 of 40 shards, 1 failed"."""
    parts = [f"{run.scans_done} of {run.scans} scans"]
    if run.shards:
        parts.append(f"{run.shards_done} of {run.shards} shards")
    if run.failed:
        parts.append(f"{run.failed} failed")
    return ", ".join(parts)
