"""Prediction of one scan, or one folder of tiles, in one call and without a sample sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from parafovea.config import read_settings
from parafovea.config.sources import is_tile_folder
from parafovea.drivers.predict_scans import ScanResult, predict_scan, project_of, result_folder
from parafovea.drivers.predict_tile_folder import TileSummary, on_device, predict_folder
from parafovea.errors import ParafoveaError
from parafovea.kinds import kind_named
from parafovea.runtime.writers import writing

#: Receives the name of the current stage and the share of the work that is done.
Progress = Callable[[str, float], None]


def predict(
    source: str | Path,
    *,
    task: str,
    output: str | Path | None = None,
    config: str | Path | Sequence[str | Path] = "config/config.yaml",
    metadata: str = "",
    device: str | None = None,
    batch_size: int | None = None,
    full_precision: bool = False,
    overwrite: bool = False,
    dicom_output: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> ScanResult | TileSummary:
    """Run all stages of a task for one scan, or for one folder of tiles.

    Parameters
    ----------
    source : str or Path
        A scan (a file, a folder of slices or of a DICOM series) or a folder of tiles.
    task : str
        Name of a task in the config.
    output : str or Path, optional
        Folder of the results; by default `results/NAME`, by the name of the source.
    config : str, Path or sequence
        Config file, or several, later files taking precedence.
    metadata : str
        What the source does not state itself, as in the sample sheet ("spacing=4,4,4").
    device : str, optional
        "cpu", "cuda" or "cuda:1"; by default a GPU if there is one.
    batch_size : int, optional
        Windows, or tiles, per forward pass; by default the task's.
    full_precision : bool
        Compute in float32.
    overwrite : bool
        Predict finished tiles again.
    dicom_output : bool
        Also write the results of a DICOM series as DICOM objects.
    keep : bool
        Keep the volume, its features and its prediction.
    progress : callable, optional
        Called with the current stage and the share of the work that is done, 0 to 1.

    Returns
    -------
    ScanResult or TileSummary
        Counts and durations. The results are in `output`; nothing is printed.

    Raises
    ------
    ParafoveaError
        If the config, the model or the source is invalid, or another program is writing to the
        folder of the results.
    """
    files = [config] if isinstance(config, str | Path) else list(config)
    settings = read_settings(*map(Path, files))
    chosen = settings.tasks.get(task)
    given = str(source)
    images = chosen is not None and kind_named(chosen.kind).images_are_tiles
    tiles = chosen is not None and is_tile_folder(given, images=images, results=settings.results)
    place = result_folder(given, None if output is None else Path(output))
    with on_device(device):
        project = project_of(
            settings,
            {place.name: given},
            task=task,
            results=place.parent,
            metadata=metadata,
            batch_size=batch_size,
            full_precision=full_precision,
            overwrite=overwrite,
            dicom_output=dicom_output or None,
        )
        with writing(place):
            if tiles:
                return predict_folder(project, place.name, observer=progress)[1]
            result = predict_scan(project, place.name, keep=keep, observer=progress)
    if result.error is not None:
        raise ParafoveaError(result.error)
    return result
