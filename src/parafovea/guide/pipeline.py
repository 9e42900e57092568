"""All stages for a scan in memory, or for a folder of scans, with the config of the guide."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.config.guide_config import GuideSettings, read_guide_config
from parafovea.drivers.predict_scans import (
    Summary,
    predict_scan,
    predict_scans,
    project_of,
    scans_in,
    write_summary,
)
from parafovea.drivers.predict_tile_folder import on_device
from parafovea.errors import ConfigError, ParafoveaError, TableError
from parafovea.formats.nifti import write_nifti
from parafovea.geometry.placed_array import PlacedArray
from parafovea.guide.arguments import AnyPath, chosen_device, model_folder, with_ending
from parafovea.guide.detection_list import FACTS, DetectionList, document_of, listed
from parafovea.guide.placed_scans import opened_scan, space_of, volume_of
from parafovea.inference.array_inputs import checked_volume
from parafovea.models.model_json import read_spec
from parafovea.postprocess.detection import detection_files
from parafovea.postprocess.detection.detection_files import detections_csv, detections_json
from parafovea.runtime.writers import writing
from parafovea.storage.layout import DETECTIONS, HEATMAP
from parafovea.storage.store import replacing

_LOG = logging.getLogger(__name__)


class InferencePipeline:
    """All stages from a scan to its detections, with the config of the guide.

    Parameters
    ----------
    checkpoint : str or Path
        Model folder of kind `detection`.
    config : str or Path, optional
        The guide's YAML config; see `read_guide_config`. By default, that of the model.
    device : str, optional
        "cpu", "cuda" or "cuda:1"; by default that of the config, otherwise a GPU if there is one. A
        GPU that is not there is logged, and the CPU computes the same.

    Raises
    ------
    ConfigError
        If the config is invalid.
    ModelError
        If the model folder is incomplete.
    """

    def __init__(
        self, checkpoint: AnyPath, config: AnyPath | None = None, device: str | None = None
    ) -> None:
        self._guide = _guide(checkpoint, config)
        self._sha256 = read_spec(model_folder(checkpoint)).weights_sha256
        self.device = chosen_device(device or self._guide.device)

    def predict(self, scan: NDArray[Any], spacing: Sequence[float] | None = None) -> dict[str, Any]:
        """Find the nodules of a scan.

        Parameters
        ----------
        scan : ndarray
            (z, y, x), HU, with its place if it is as `load_scan` returned it.
        spacing : sequence of float, optional
            Voxel size along z, y, x in mm; may be omitted for a scan that knows its place.

        Returns
        -------
        dict
            `detections`, a `DetectionList`; `heatmap`, (z, y, x) float32 from 0 to 1 on the voxels
            of the scan; and scan_id, model, timestamp, metadata and summary as in
            `detections.json`.

        Raises
        ------
        ParafoveaError
            If the scan is no CT, or does not fit the model; with the reason.
        """
        values = checked_volume(scan, "scan")
        space = space_of(scan, spacing, "scan")
        if getattr(scan, "space", None) is None:
            _LOG.warning(
                "the scan has no place in the patient, so that coordinates are millimetres from "
                "its first voxel: give it as load_scan returned it"
            )
        name = getattr(scan, "name", "") or "scan"
        volume = volume_of(values, space)
        with tempfile.TemporaryDirectory(prefix="parafovea_") as folder, on_device(self.device):
            file = Path(folder) / "scan.nii"
            write_nifti(file, volume.read, space=space, dtype=_stored_dtype(values))
            project = project_of(
                self._guide.settings,
                {"scan": str(file)},
                task=self._guide.task,
                results=Path(folder) / "results",
            )
            done = predict_scan(project, "scan")
            if done.error is not None:
                raise ParafoveaError(done.error.replace(str(file), "the scan"))
            made = Path(folder) / "results" / "scan"
            document = detection_files.load_detections(made / DETECTIONS)
            heat = opened_scan(made / HEATMAP, "")[0]
            heatmap = PlacedArray(heat.read(heat.grid.box), space, name)
        found = listed(document.model_copy(update={"scan_id": name}))
        found.heatmap, found.weights_sha256 = heatmap, self._sha256
        return {**found.facts, "detections": found, "heatmap": heatmap}

    def save_detections(self, results: Mapping[str, Any], path: AnyPath) -> Path:
        """Write detections as JSON or CSV, by the ending of the file.

        Parameters
        ----------
        results : dict
            From `predict`; its `detections` may be changed. They are numbered anew.
        path : str or Path
            A .json or .csv file to write.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        TableError
            If a detection or another entry is missing or invalid.
        ConfigError
            If the file has another ending.
        """
        file = with_ending(path, ".json", ".csv")
        missing = [key for key in ("detections", "metadata", "scan_id") if key not in results]
        if missing:
            raise TableError(f"the results lack {', '.join(missing)}: give what predict returned")
        facts = {key: value for key, value in results.items() if key in FACTS}
        given = DetectionList(results["detections"], facts=facts)
        document = document_of(given, str(results["scan_id"]), None)
        text = (detections_json if file.suffix == ".json" else detections_csv)(document)
        with replacing(file) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
        return file

    def save_heatmap(
        self,
        heatmap: NDArray[Any],
        path: AnyPath,
        *,
        spacing: Sequence[float] | None = None,
    ) -> Path:
        """Write a heatmap on the voxels of its scan.

        Parameters
        ----------
        heatmap : ndarray
            (z, y, x), 0 to 1, as `predict` returned it.
        path : str or Path
            A .nii.gz, .nii or .npy file to write. A .npy file has the axes z, y, x and no place.
        spacing : sequence of float, optional
            Voxel size along z, y, x in mm, for an array that does not know its place.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        GridError
            If the heatmap is no volume, or its spacing is unknown.
        ConfigError
            If the file has another ending.
        """
        file = with_ending(path, ".nii.gz", ".nii", ".npy")
        values = checked_volume(heatmap, "heatmap")
        if file.suffix == ".npy":
            with replacing(file) as partial, partial.open("wb") as stream:
                np.save(stream, np.asarray(values, np.float32), allow_pickle=False)
            return file
        space = space_of(heatmap, spacing, "heatmap")
        write_nifti(file, volume_of(values, space).read, space=space, limits=(0.0, 1.0))
        return file


def batch_inference(
    checkpoint: AnyPath,
    input_dir: AnyPath,
    output_dir: AnyPath,
    config: AnyPath | None = None,
    num_workers: int = 1,
    batch_size: int | None = None,
    *,
    device: str | None = None,
) -> dict[str, Any]:
    """Find the nodules of all scans of a folder, and write their results.

    Parameters
    ----------
    checkpoint, config, device
        As for `InferencePipeline`.
    input_dir : str or Path
        Folder of scans: files, and folders of DICOM series.
    output_dir : str or Path
        Folder of the results, one folder a scan; see docs/nodules.md.
    num_workers : int
        Scans in parallel, each in a process.
    batch_size : int, optional
        Windows per forward pass; by default that of the config.

    Returns
    -------
    dict
        num_scans, num_failed, total_detections, avg_time (seconds per scan), and failed: the reason
        by scan. A scan that fails stops no other.

    Raises
    ------
    ConfigError
        If the config or a number is invalid, or the folder has no scans.
    ModelError
        If the model folder is incomplete.
    """
    for name, number in (("num_workers", num_workers), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number} must be at least 1")
    guide = _guide(checkpoint, config)
    found = scans_in(Path(input_dir), tiles=False)
    if found.left_out:
        _LOG.warning("left out of %s: %s", input_dir, ", ".join(found.left_out))
    output = Path(output_dir)
    done = list(found.failed)
    with on_device(chosen_device(device or guide.device)):
        project = project_of(
            guide.settings, found.scans, task=guide.task, results=output, batch_size=batch_size
        )
        with writing(output):
            workers = min(num_workers, max(1, len(found.scans)))
            done += predict_scans(project, workers=workers)
    summary = Summary.of(done, "detections").values()
    write_summary(output / "summary.json", summary)
    for scan, reason in summary["failed"].items():
        _LOG.warning("%s failed: %s", scan, reason)
    return {**summary, "avg_time": summary["seconds_per_scan"]}


def _guide(checkpoint: AnyPath, config: AnyPath | None) -> GuideSettings:
    """Return the settings of a config of the guide, and log what is without effect."""
    guide = read_guide_config(config, checkpoint=checkpoint)
    for note in guide.notes:
        _LOG.warning("%s: %s", config, note)
    return guide


def _stored_dtype(values: NDArray[Any]) -> np.dtype[Any]:
    """Return a dtype of NIfTI that holds an array's values."""
    if values.dtype.kind == "f":
        return np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    return np.dtype(np.float64) if values.dtype.itemsize > 4 else values.dtype.newbyteorder("=")
