"""`distributed_inference`: scans on a Ray cluster in one call, with paths as the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parafovea.config import Project, Settings, config_files, read_settings
from parafovea.config.loading import DEFAULT_CONFIG
from parafovea.config.sources import is_tile_folder
from parafovea.drivers.predict_scans import ScanResult, project_of
from parafovea.drivers.ray.cluster import Cluster, connected
from parafovea.drivers.ray.scans import predict_folder, predict_scans
from parafovea.drivers.ray.schedule import ignored
from parafovea.drivers.ray.staff import require_gpus
from parafovea.drivers.ray.stage_jobs import wanted_gpus
from parafovea.drivers.ray.work import ProgressCallback
from parafovea.errors import ConfigError, ModelError, ParafoveaError, describe
from parafovea.formats.location import locate, source_files, stem
from parafovea.kinds import Kind, kind_named
from parafovea.models.model_json import read_spec
from parafovea.runtime.names import folder_problem
from parafovea.runtime.writers import writing


@dataclass(frozen=True, slots=True)
class DistributedResult:
    """What became of one input of `distributed_inference`.

    Parameters
    ----------
    source : str
        The input, as it was given.
    folder : Path or None
        Folder of its results; None if it failed.
    files : dict of str to Path
        The results by name, such as "detections.json"; empty if it failed.
    found : int or None
        Number of detections, objects or tiles; None if it failed.
    seconds : float
        Duration in this call; 0 if it was finished before.
    error : str or None
        Why it failed.
    """

    source: str
    folder: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    found: int | None = None
    seconds: float = 0.0
    error: str | None = None

    @classmethod
    def of(cls, source: str, folder: Path, result: ScanResult) -> DistributedResult:
        """Return the result of an input by that of its scan."""
        if result.error is not None:
            return cls(source, seconds=result.seconds, error=result.error)
        shown = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
        return cls(
            source,
            folder,
            {path.name: path for path in shown},
            result.found,
            result.seconds,
        )


def distributed_inference(
    checkpoint: str | Path,
    input_paths: Sequence[str | Path] | Mapping[str, str | Path],
    num_gpus: int | None = None,
    batch_size: int | None = None,
    *,
    task: str | None = None,
    output_dir: str | Path = "results",
    address: str = "auto",
    config: str | Path | Sequence[str | Path] | None = None,
    metadata: str = "",
    full_precision: bool = False,
    keep: bool = False,
    progress: ProgressCallback | None = None,
) -> list[DistributedResult]:
    """Predict scans, or folders of tiles, on a Ray cluster.

    The stages are those of the workflow, and so are the bytes of the results. Each GPU has one
    actor, which keeps the model loaded; stages that need no GPU are tasks. An input whose results
    are current is not predicted again, so that a second call continues one that was ended.

    Parameters
    ----------
    checkpoint : str or Path
        Model folder.
    input_paths : sequence or mapping
        Scans (files, folders of slices or of a DICOM series), or folders of tiles. A mapping names
        the folders of their results; otherwise they are named after their files.
    num_gpus : int, optional
        Number of GPUs; by default all of the cluster, or its CPUs where there is none. 0 for CPUs.
    batch_size : int, optional
        Windows, or tiles, per forward pass; by default the task's.
    task : str, optional
        Task of the config, whose settings are used with this model; by default those of the kind of
        the model.
    output_dir : str or Path
        Folder of the results, one folder an input. All nodes have to share it.
    address : str
        "auto" for the cluster that `RAY_ADDRESS` names or that runs on this machine; HOST:PORT of
        its head; or "local", which starts one for this call. A connection that `ray.init` made
        before is used.
    config : str, Path or sequence, optional
        Config files for `task`; by default config/config.yaml, if it exists.
    metadata : str
        What the inputs do not state themselves, as in the sample sheet ("spacing=4,4,4").
    full_precision : bool
        Compute in float32.
    keep : bool
        Keep volumes, features and predictions.
    progress : callable, optional
        Called with a `RunProgress`: scans, shards and the remaining time.

    Returns
    -------
    list of DistributedResult
        Paths, in the order of the inputs. One that failed has the reason, and stops no other.

    Raises
    ------
    ClusterError
        If there is no cluster, it has fewer GPUs, or goes away.
    MissingExtraError
        If Ray is not installed.
    ConfigError, ModelError
        If the task or the model is invalid.
    StoreError
        If another program is writing to the folder of the results.
    """
    settings, chosen = settings_of(checkpoint, task, config)
    output = Path(output_dir)
    kind = kind_named(settings.tasks[chosen].kind)
    inputs = Inputs.of(input_paths, kind, settings.results)
    options: dict[str, Any] = {
        "task": chosen,
        "results": output,
        "metadata": metadata,
        "batch_size": batch_size,
        "full_precision": full_precision,
        "divided": True,
    }
    results: dict[str, ScanResult] = {}
    with connected(address) as cluster, writing(output):
        require_gpus(cluster.nodes(), wanted_gpus(num_gpus))
        if inputs.scans:
            project = project_of(settings, inputs.scans, **options)
            for each in predict_scans(
                cluster, project, num_gpus=num_gpus, keep=keep, progress=progress or ignored
            ):
                results[each.scan] = each
        for name, source in inputs.tiles.items():
            project = project_of(settings, {name: source}, **options)
            results[name] = _folder(cluster, project, name, num_gpus, progress or ignored)
    return [
        DistributedResult(source, error=inputs.unfit[name])
        if name in inputs.unfit
        else DistributedResult.of(source, output / name, results[name])
        for name, source in inputs.given
    ]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs by the names of their results.

    Parameters
    ----------
    given : tuple of (str, str)
        Name and source of each, in the order of the inputs.
    scans, tiles : dict of str to str
        Sources by name of scans, and of folders of tiles.
    unfit : dict of str to str
        Why an input cannot be predicted, by name.
    """

    given: tuple[tuple[str, str], ...]
    scans: dict[str, str]
    tiles: dict[str, str]
    unfit: dict[str, str]

    @classmethod
    def of(
        cls,
        paths: Sequence[str | Path] | Mapping[str, str | Path],
        kind: Kind,
        results: str,
    ) -> Inputs:
        """Return inputs for a kind of task; one that is unfit affects no other.

        Parameters
        ----------
        paths : sequence or mapping
            As `input_paths` of `distributed_inference`.
        kind : Kind
            Kind of the task.
        results : str
            Results folder of the config; phantoms in it are recognized by name.
        """
        if isinstance(paths, Mapping):
            given = [(name, str(path)) for name, path in paths.items()]
        else:
            given = [(stem(str(path)), str(path)) for path in paths]
        sources: dict[str, list[str]] = {}
        for name, source in dict.fromkeys(given):
            sources.setdefault(name, []).append(source)
        scans, tiles, unfit = {}, {}, {}
        for name, same in sources.items():
            source = same[0]
            in_tiles = is_tile_folder(source, images=kind.images_are_tiles, results=results)
            reason = folder_problem(name)
            if reason is not None:
                unfit[name] = f"{reason}; rename it, or give a mapping of names"
            elif len(same) > 1:
                unfit[name] = (
                    f"{' and '.join(same)} have the same name {name!r}: rename one of them, or "
                    "give a mapping of names"
                )
            elif in_tiles and "tiles" in kind.stages:
                tiles[name] = source
            elif reason := _unreadable(source, kind, in_tiles=in_tiles):
                unfit[name] = reason
            else:
                scans[name] = source
        return cls(tuple(given), scans, tiles, unfit)


def settings_of(
    checkpoint: str | Path,
    task: str | None,
    config: str | Path | Sequence[str | Path] | None = None,
) -> tuple[Settings, str]:
    """Return the settings of a task with a model, and the name of the task.

    Raises
    ------
    ModelError
        If the model folder is incomplete, or is a file.
    ConfigError
        If the config is invalid, or has no such task.
    """
    model = Path(checkpoint)
    if model.is_file():
        raise ModelError(
            f"{model} is a file, and a model is a folder here: convert it with "
            "`parafovea import-model`, and give the folder that this writes"
        )
    kind = read_spec(model).kind
    if task is None:
        values = {"tasks": {kind: {"kind": kind, "model": str(model)}}}
        return Settings.model_validate(values), kind
    if config is None and not DEFAULT_CONFIG.is_file():
        raise ConfigError(
            f"task {task!r} is of a config, but {DEFAULT_CONFIG} does not exist here: give config, "
            "or leave task out to use the defaults of the model's kind"
        )
    given = [config] if isinstance(config, str | Path) else list(config or ())
    settings = read_settings(*(map(Path, given) if given else config_files([])))
    if task not in settings.tasks:
        raise ConfigError(
            f"task {task!r} is not in the config: tasks are {', '.join(settings.tasks)}"
        )
    own = settings.tasks[task]
    if own.kind != kind:
        raise ConfigError(
            f"task {task!r} is a {own.kind}, but {model} is a model for {kind}: choose a task of "
            "that kind, or leave task out"
        )
    changed = own.model_copy(update={"model": str(model), "training": None})
    return settings.model_copy(update={"tasks": {task: changed}}), task


def _folder(
    cluster: Cluster,
    project: Project,
    name: str,
    num_gpus: int | None,
    progress: ProgressCallback,
) -> ScanResult:
    """Return what became of a folder of tiles."""
    try:
        _, summary = predict_folder(cluster, project, name, num_gpus=num_gpus, progress=progress)
    except ParafoveaError as error:
        if isinstance(error, ConnectionError):
            raise
        return ScanResult(name, 0.0, None, describe(error))
    return ScanResult(name, summary.seconds, summary.num_out)


def _unreadable(source: str, kind: Kind, *, in_tiles: bool) -> str:
    """Return why a source is no scan for a kind of task, "" if it is one."""
    if in_tiles:
        return f"{source} is a folder of tiles, which this kind of task does not take"
    try:
        locate(source, bands=kind.images_are_tiles)
        source_files(source, bands=kind.images_are_tiles)
    except ParafoveaError as error:
        return describe(error)
    return ""
