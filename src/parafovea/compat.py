"""The names of the lung nodule inference guide, each a call of this package's own functions.

For scripts that were written by that guide: change their imports to ``from parafovea.compat
import ...``. New code is better off with the names of `parafovea` itself; docs/guide_names.md lists
which does what.

Arrays have the axes z, y, x, as everywhere in this package, and so have `spacing`, `patch_size` and
`stride`. Coordinates are x, y, z in millimetres, as in the files.

An array of `load_scan` knows its place, so that coordinates are those of the patient (LPS). Any
other array has none: its coordinates are millimetres from the centre of its first voxel.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from parafovea.config.guide_config import GuideSettings
    from parafovea.geometry.grid import Shape, Vector
    from parafovea.geometry.placed_array import PlacedArray
    from parafovea.geometry.scan_space import ScanSpace
    from parafovea.postprocess.detection.detection_files import Detections
    from parafovea.postprocess.detection.heatmap import Volume
    from parafovea.report.detections.slices import DetectedScan
    from parafovea.settings.postprocess import PeakMethod

__all__ = [
    "DetectionList",
    "InferencePipeline",
    "batch_inference",
    "calibrate_scores",
    "detect_peaks",
    "extract_properties",
    "generate_report",
    "load_detections",
    "load_scan",
    "non_maximum_suppression",
    "optimize_model",
    "plot_confidence_distribution",
    "render_3d_volume",
    "sliding_window_inference",
    "visualize_detections",
]

_LOG = logging.getLogger(__name__)

_Detection = dict[str, Any]
_Path = str | Path

#: Largest score times number of windows in a voxel that the fixed-point sums of windows hold.
_MOST = 2.0**15


class DetectionList(list[_Detection]):
    """Detections as dictionaries, with what is known of their scan.

    The dictionaries have the keys of `detections.json`. A list that is made from it, such as by a
    list comprehension, is a plain list, which all functions here take as well.

    Parameters
    ----------
    detections : iterable of dict
        The detections.
    facts : mapping
        Entries of the document beside its detections: scan_id, model, timestamp, metadata and
        summary.
    heatmap : ndarray, optional
        (z, y, x) float32, 0 to 1, on the voxels of the scan.
    weights_sha256 : str, optional
        Hash of the model's weights.
    """

    def __init__(
        self,
        detections: Iterable[_Detection],
        *,
        facts: Mapping[str, Any],
        heatmap: PlacedArray | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        super().__init__(detections)
        self.facts = dict(facts)
        self.heatmap = heatmap
        self.weights_sha256 = weights_sha256


def load_scan(path: _Path, *, metadata: str = "") -> tuple[NDArray[Any], Vector]:
    """Read a scan of any format into memory.

    Parameters
    ----------
    path : str or Path
        NIfTI, NRRD, MetaImage, a DICOM series (folder or .zip), or another volume.
    metadata : str
        What the file does not state itself, as in the sample sheet ("spacing=3,0.7,0.7").

    Returns
    -------
    scan : ndarray
        (z, y, x), HU of a CT, in the file's dtype. It knows its place, see `PlacedArray`.
    spacing : tuple of float
        Voxel size along z, y, x in millimetres.

    Raises
    ------
    SourceError
        If it cannot be read, or is no single volume.
    """
    from parafovea.geometry.placed_array import PlacedArray

    scan, space, name = _opened(path, metadata)
    voxels = scan.read(scan.grid.box)
    return PlacedArray(voxels, space, name), space.grid.converted("millimeter").spacing


def load_detections(path: _Path) -> DetectionList:
    """Read a `detections.json`.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    DetectionList
        A dictionary for each detection, by descending confidence.

    Raises
    ------
    StoreError
        If it is missing or invalid.
    """
    from parafovea.postprocess.detection import detection_files

    return _listed(detection_files.load_detections(Path(path)))


def sliding_window_inference(
    model: Callable[[torch.Tensor], torch.Tensor],
    scan: NDArray[Any],
    patch_size: Sequence[int],
    stride: Sequence[int],
    batch_size: int = 1,
    device: str | None = None,
    *,
    blending: str = "gaussian",
    sigma: float | None = None,
) -> NDArray[np.float32]:
    """Apply a torch network to overlapping windows of a scan, and blend its outputs.

    Parameters
    ----------
    model : torch.nn.Module or callable
        From (N, 1, z, y, x) float32 to (N, class, z, y, x) of the same size. It is put into
        evaluation mode, on `device`. For a model folder, use `InferencePipeline`.
    scan : ndarray
        (z, y, x), as the network takes it: neither resampled nor normalized here.
    patch_size, stride : sequence of int
        Voxels of a window, and from one window to the next, along z, y, x. The scan is mirrored
        where a window is larger.
    batch_size : int
        Windows per forward pass.
    device : str, optional
        "cpu", "cuda" or "cuda:1"; by default a GPU if there is one.
    blending : str
        "gaussian", "linear" or "average", or another importance map of this package.
    sigma : float, optional
        Width of the Gaussian as a share of the window; 0.125 by default.

    Returns
    -------
    ndarray
        (class, z, y, x) float32.

    Raises
    ------
    GridError
        If the scan is no volume, or windows leave voxels uncovered.
    ModelError
        If `model` is no network, or its output has another shape or values that are too large.
    ScoreError
        If an output is not finite.
    """
    import numpy as np
    import torch

    from parafovea.config.guide_config import BLENDINGS
    from parafovea.errors import GridError, ModelError
    from parafovea.geometry.grid import shape3
    from parafovea.geometry.resample import read_reflected_array
    from parafovea.geometry.windows import Layout
    from parafovea.inference.array_inputs import checked_volume
    from parafovea.inference.array_windows import blended
    from parafovea.inference.blending import fixed_weights, importance_map

    if not callable(model):
        raise ModelError(
            f"model {model!r} is no torch network: for a model folder, use "
            "InferencePipeline(checkpoint).predict(scan, spacing)"
        )
    if batch_size < 1:
        raise GridError(f"batch_size {batch_size} must be at least 1")
    window, steps = shape3(patch_size, "patch_size"), shape3(stride, "stride")
    values = np.asarray(checked_volume(scan, "scan"), np.float32)
    layout = Layout.strided(values.shape, window, stride=steps)
    weights = importance_map(cast(Any, BLENDINGS.get(blending, blending)), window, sigma=sigma)
    overlaps = int(np.prod([-(-n // s) for n, s in zip(window, steps, strict=True)]))
    chosen = _device(device)

    def outputs() -> Iterator[tuple[Any, NDArray[np.float32]]]:
        boxes = list(layout.windows())
        for first in range(0, len(boxes), batch_size):
            batch = boxes[first : first + batch_size]
            stack = np.stack([read_reflected_array(values, box) for box in batch])[:, None]
            scores = model(torch.from_numpy(stack).to(chosen))
            yield from zip(batch, _checked_scores(scores, stack, _MOST / overlaps), strict=True)

    with torch.inference_mode(), _evaluating(model, chosen):
        results = outputs()
        box, window_scores = next(results)
        every = itertools.chain([(box, window_scores)], results)
        return blended(every, layout, fixed_weights(weights), classes=len(window_scores))


def detect_peaks(
    heatmap: NDArray[Any],
    threshold: float = 0.5,
    min_distance: float = 10.0,
    spacing: Sequence[float] | None = None,
    *,
    method: PeakMethod = "local_maxima",
) -> list[_Detection]:
    """Find the candidates in a heatmap: its peaks, each with the region around it.

    Parameters
    ----------
    heatmap : ndarray
        (z, y, x) floating point, 0 to 1.
    threshold : float
        Minimum value of a peak and of its region.
    min_distance : float
        Minimum distance between two peaks, in mm.
    spacing : sequence of float, optional
        Voxel size along z, y, x in mm; may be omitted for a heatmap that knows its place.
    method : str
        "local_maxima" or "nms", see `PeakSettings`.

    Returns
    -------
    list of dict
        By descending confidence, with the keys id, coordinates (x, y, z in mm), coordinates_voxel
        (x, y, z), diameter_mm and confidence.

    Raises
    ------
    GridError
        If the heatmap is no volume, or its spacing is unknown or another one.
    VoxelError
        If a value is not from 0 to 1.
    ConfigError
        If a threshold or distance is invalid.
    """
    from parafovea.inference.array_inputs import checked_volume
    from parafovea.postprocess.detection.candidates import find_candidates
    from parafovea.postprocess.detection.detection_files import rounded_length, rounded_score
    from parafovea.settings.postprocess import PeakSettings

    values = checked_volume(heatmap, "heatmap")
    space = _space(heatmap, spacing, "heatmap")
    grid = space.grid.converted("millimeter")
    given = {"threshold": threshold, "min_distance": min_distance, "method": method}
    settings = _validated(PeakSettings, given)
    found = []
    for number, each in enumerate(find_candidates(_volume(values, space).read, grid, settings)):
        place = space.world_of_grid(each.centre, grid)
        found.append(
            {
                "id": number,
                "coordinates": [rounded_length(v) for v in place],
                "coordinates_voxel": [int(v) for v in space.nearest_voxel(place)],
                "diameter_mm": rounded_length(each.diameter(grid)),
                "confidence": rounded_score(min(each.confidence, 1.0)),
            }
        )
    return found


def non_maximum_suppression(
    detections: Sequence[_Detection], iou_threshold: float = 0.3
) -> list[_Detection]:
    """Remove the detections whose sphere overlaps that of a more confident one.

    Parameters
    ----------
    detections : sequence of dict
        With the keys coordinates, diameter_mm and confidence.
    iou_threshold : float
        Maximum intersection over union of two spheres that are kept.

    Returns
    -------
    list of dict
        By descending confidence, numbered anew.

    Raises
    ------
    TableError
        If a detection lacks a key, or has an invalid value.
    ConfigError
        If the threshold is not from 0 to 1.
    """
    import numpy as np

    from parafovea.postprocess.detection.suppression import suppress_overlaps
    from parafovea.settings.postprocess import NmsSettings

    settings = _validated(NmsSettings, {"iou_threshold": iou_threshold})
    rows = [_sphere(each, number) for number, each in enumerate(detections)]
    order = sorted(range(len(rows)), key=lambda row: -rows[row][4])
    table = np.array([rows[row] for row in order]).reshape(-1, 5)
    stays = suppress_overlaps(table[:, :3], table[:, 3], iou_threshold=settings.iou_threshold)
    kept = [detections[row] for row, stay in zip(order, stays, strict=True) if stay]
    return _like(detections, [{**each, "id": number} for number, each in enumerate(kept)])


def extract_properties(
    scan: NDArray[Any],
    coordinates: Sequence[float],
    diameter: float,
    spacing: Sequence[float] | None = None,
) -> dict[str, float]:
    """Measure a nodule of which centre and diameter are known.

    Parameters
    ----------
    scan : ndarray
        (z, y, x), HU.
    coordinates : sequence of float
        x, y, z in millimetres, as in the detections of this scan.
    diameter : float
        In millimetres.
    spacing : sequence of float, optional
        Voxel size along z, y, x in mm; may be omitted for a scan that knows its place.

    Returns
    -------
    dict
        volume_mm3, mean_intensity and std_intensity (HU), sphericity, and
        longest_axial_diameter_mm, as in `properties` of a detection; see `measure_sphere`.

    Raises
    ------
    GridError
        If the scan is no volume, its spacing is unknown or another one, or the nodule lies outside
        of it.
    """
    from parafovea.geometry.grid import vector3
    from parafovea.inference.array_inputs import checked_volume
    from parafovea.postprocess.detection.sphere_properties import measure_sphere
    from parafovea.preprocess.body import axial_axis

    values = checked_volume(scan, "scan")
    space = _space(scan, spacing, "scan")
    centre = vector3(space.voxel_of_world(vector3(coordinates, "coordinates")).tolist())
    axial = axial_axis(space.affine)
    found = measure_sphere(_volume(values, space), centre, float(diameter), axial=axial)
    return cast(dict[str, float], found.model_dump(exclude_none=True))


def calibrate_scores(
    detections: Sequence[_Detection],
    calibration_file: _Path,
    *,
    limits: Mapping[str, float] | None = None,
) -> list[_Detection]:
    """Add the triage of a calibration to detections.

    Parameters
    ----------
    detections : sequence of dict
        With the key confidence.
    calibration_file : str or Path
        JSON file of `parafovea calibrate`.
    limits : mapping of str to float, optional
        Minimum scores of the risks low, intermediate and high; 0, 0.3 and 0.7 by default.

    Returns
    -------
    list of dict
        The detections with `triage`: malignancy_score and risk_category.

    Raises
    ------
    CalibrationError
        If the file is no calibration or belongs to another model, or a limit is invalid.
    """
    import pandas as pd

    from parafovea.errors import CalibrationError
    from parafovea.postprocess.detection.calibration import read_calibration
    from parafovea.postprocess.detection.detection_files import rounded_score
    from parafovea.settings.postprocess import TriageSettings
    from parafovea.stages.detect_nodules import triage_score

    known = detections if isinstance(detections, DetectionList) else None
    sha256 = None if known is None else known.weights_sha256
    calibration = read_calibration(Path(calibration_file), model_sha256=sha256)
    model = None if known is None else known.facts.get("model")
    if calibration.model is not None and model not in (None, calibration.model.name):
        raise CalibrationError(
            f"{calibration_file} belongs to the model {calibration.model.name!r}, but the "
            f"detections are of {model!r}: fit a calibration to the scores of this model"
        )
    score = triage_score(calibration, TriageSettings().limits if limits is None else limits)
    chances = [_number(each, "confidence", number) for number, each in enumerate(detections)]
    made = score(pd.DataFrame({"probability": chances}, dtype=float))
    return _like(
        detections,
        [
            {
                **each,
                "triage": {
                    "malignancy_score": rounded_score(triage.malignancy_score),
                    "risk_category": triage.risk_category,
                },
            }
            for each, triage in zip(detections, made, strict=True)
        ],
    )


def visualize_detections(
    scan: NDArray[Any],
    detections: Sequence[_Detection],
    spacing: Sequence[float] | None = None,
    output_path: _Path = "visualization.png",
    num_slices: int = 5,
    colormap: str = "hot",
    alpha: float = 0.5,
    *,
    heatmap: NDArray[Any] | _Path | None = None,
) -> Path:
    """Draw axial slices through the most confident detections.

    Parameters
    ----------
    scan : ndarray
        (z, y, x), HU.
    detections : sequence of dict
        Of this scan, with all keys of `detections.json` but the id.
    spacing : sequence of float, optional
        Voxel size along z, y, x in mm; may be omitted for a scan that knows its place.
    output_path : str or Path
        PNG file to write.
    num_slices : int
        Maximum number of slices.
    colormap : str
        Colormap of the heatmap.
    alpha : float
        Opacity of the heatmap where it is 1.
    heatmap : ndarray or path, optional
        On the voxels of the scan; by default that of the detections, as `predict` returned them.
        Without any, `colormap` and `alpha` have no effect, which is logged.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TableError
        If a detection lacks a key, or has an invalid value.
    GridError
        If scan, heatmap and detections do not fit each other.
    ConfigError
        If a setting is invalid, or the file is no PNG.
    """
    from parafovea.inference.array_inputs import checked_volume
    from parafovea.report.canvas import styled
    from parafovea.report.detections.slices import draw_detections
    from parafovea.storage.store import replacing

    path = _with_ending(output_path, ".png")
    values = checked_volume(scan, "scan")
    space = _space(scan, spacing, "scan")
    name = getattr(scan, "name", "") or "scan"
    view = _view(_volume(values, space), space, detections, heatmap, name)
    look = _look(num_slices, colormap, alpha)
    if view.heatmap is None:
        _LOG.warning(
            "no heatmap is known for these detections, so that colormap and alpha have no effect: "
            "give heatmap="
        )
    with styled(), replacing(path) as partial:
        draw_detections(view, partial, **look)
    return path


def generate_report(
    scan_path: _Path,
    detections: Sequence[_Detection] | _Path,
    output_path: _Path,
    *,
    heatmap: NDArray[Any] | _Path | None = None,
    metadata: str = "",
) -> Path:
    """Write the report of a scan as PDF: a table, slices, and the confidences.

    Parameters
    ----------
    scan_path : str or Path
        The scan, as for `load_scan`.
    detections : sequence of dict, or path
        As for `visualize_detections`, or a `detections.json`.
    output_path : str or Path
        PDF file to write.
    heatmap : ndarray or path, optional
        As for `visualize_detections`.
    metadata : str
        As for `load_scan`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SourceError
        If the scan cannot be read.
    TableError, StoreError, GridError, ConfigError
        As `visualize_detections` and `load_detections`.
    """
    from parafovea.report.canvas import styled
    from parafovea.report.detections.pdf import write_detection_pdf
    from parafovea.storage.store import replacing

    path = _with_ending(output_path, ".pdf")
    scan, space, name = _opened(scan_path, metadata)
    view = _view(scan, space, _loaded(detections), heatmap, name)
    with styled(), replacing(path) as partial:
        write_detection_pdf(view, partial)
    return path


def render_3d_volume(
    scan: NDArray[Any] | _Path,
    heatmap: NDArray[Any] | _Path,
    detections: Sequence[_Detection] | _Path,
    output_path: _Path,
    interactive: bool = True,
    *,
    spacing: Sequence[float] | None = None,
    threshold: float = 0.5,
) -> Path:
    """Write an interactive page with body, lungs, heatmap and detections in three dimensions.

    Parameters
    ----------
    scan : path or ndarray
        (z, y, x), HU: a CT that shows a body.
    heatmap : path or ndarray
        On the voxels of the scan.
    detections : path or sequence of dict
        As for `visualize_detections`, or a `detections.json`.
    output_path : str or Path
        HTML file to write; it works offline.
    interactive : bool
        Must be true: pictures are drawn by `visualize_detections`.
    spacing : sequence of float, optional
        Voxel size of an array along z, y, x in mm.
    threshold : float
        Value of the heatmap at the surface that is shown.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    VoxelError
        If the scan shows nothing denser than air.
    SourceError, TableError, StoreError, GridError, ConfigError
        As `visualize_detections`.
    """
    from parafovea.errors import ConfigError
    from parafovea.inference.array_inputs import checked_volume
    from parafovea.preprocess.body_masks import BodyMasks
    from parafovea.preprocess.coarse_view import coarse_view
    from parafovea.report.detections.scene import write_scene

    if not interactive:
        raise ConfigError(
            "interactive=False: the three-dimensional view is a page; draw pictures with "
            "visualize_detections"
        )
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold {threshold:g} must be above 0 and at most 1")
    path = _with_ending(output_path, ".html")
    if isinstance(scan, str | Path):
        volume, space, name = _opened(scan, "")
    else:
        space = _space(scan, spacing, "scan")
        volume = _volume(checked_volume(scan, "scan"), space)
        name = getattr(scan, "name", "") or "scan"
    view = _view(volume, space, _loaded(detections), heatmap, name)
    masks = BodyMasks.of(coarse_view(volume.read, volume.grid), affine=space.affine)
    write_scene(view, masks, path, threshold=threshold)
    return path


def plot_confidence_distribution(
    detections: Sequence[_Detection] | _Path,
    output_path: _Path,
    *,
    min_confidence: float | None = None,
) -> Path:
    """Draw a histogram of the confidences, and each detection at its diameter.

    Parameters
    ----------
    detections : path or sequence of dict
        A `detections.json`, or detections with all of its keys but the id.
    output_path : str or Path
        PNG file to write.
    min_confidence : float, optional
        Threshold of the detections, drawn as a line.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TableError, StoreError, ConfigError
        As `visualize_detections` and `load_detections`.
    """
    from parafovea.postprocess.detection.detection_files import ScanMetadata
    from parafovea.report.canvas import styled
    from parafovea.report.detections.confidence_plot import draw_confidences
    from parafovea.storage.store import replacing

    path = _with_ending(output_path, ".png")
    # the figure does not show the size of the scan, which a plain list does not know
    unknown = ScanMetadata(spacing=(1, 1, 1), shape=(1, 1, 1))
    document = _document(_loaded(detections), "scan", unknown)
    with styled(), replacing(path) as partial:
        draw_confidences(document, partial, min_confidence=min_confidence)
    return path


def optimize_model(
    checkpoint: _Path, output_path: _Path, example_input_shape: Sequence[int] | None = None
) -> Any:
    """Write the network of a model as TorchScript, compare it with torch, and load it.

    The network takes features, and context if the model has it, not the voxels of a scan; see
    `parafovea.models.export.export_model`.

    Parameters
    ----------
    checkpoint : str or Path
        Model folder.
    output_path : str or Path
        File for `torch.jit.load` to write.
    example_input_shape : sequence of int, optional
        N, channels, z, y, x of an input that the network must take. All sizes that are multiples of
        16 are possible whatever is given.

    Returns
    -------
    torch.jit.ScriptModule
        The network, read from the file.

    Raises
    ------
    ModelError
        If the folder is no model, the network does not take the input, or the file gives other
        results.
    """
    import torch

    from parafovea.models.export import export_model
    from parafovea.models.model_json import read_spec
    from parafovea.runtime.optional_packages import older_torch_allowed

    folder, output = _model_folder(checkpoint), Path(output_path)
    if example_input_shape is not None:
        _check_example(tuple(example_input_shape), read_spec(folder), folder)
    export_model(folder, output, form="torchscript")
    with older_torch_allowed():
        return torch.jit.load(str(output))  # type: ignore[no-untyped-call]


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
        self, checkpoint: _Path, config: _Path | None = None, device: str | None = None
    ) -> None:
        from parafovea.models.model_json import read_spec

        self._guide = _guide(checkpoint, config)
        self._sha256 = read_spec(_model_folder(checkpoint)).weights_sha256
        self.device = _device(device or self._guide.device)

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
        from parafovea.drivers.predict_scans import predict_scan, project_of
        from parafovea.drivers.predict_tile_folder import on_device
        from parafovea.errors import ParafoveaError
        from parafovea.formats.nifti import write_nifti
        from parafovea.geometry.placed_array import PlacedArray
        from parafovea.inference.array_inputs import checked_volume
        from parafovea.postprocess.detection import detection_files
        from parafovea.storage.layout import DETECTIONS, HEATMAP

        values = checked_volume(scan, "scan")
        space = _space(scan, spacing, "scan")
        if getattr(scan, "space", None) is None:
            _LOG.warning(
                "the scan has no place in the patient, so that coordinates are millimetres from "
                "its first voxel: give it as load_scan returned it"
            )
        name = getattr(scan, "name", "") or "scan"
        volume = _volume(values, space)
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
            heat = _opened(made / HEATMAP, "")[0]
            heatmap = PlacedArray(heat.read(heat.grid.box), space, name)
        found = _listed(document.model_copy(update={"scan_id": name}))
        found.heatmap, found.weights_sha256 = heatmap, self._sha256
        return {**found.facts, "detections": found, "heatmap": heatmap}

    def save_detections(self, results: Mapping[str, Any], path: _Path) -> Path:
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
        from parafovea.errors import TableError
        from parafovea.postprocess.detection.detection_files import detections_csv, detections_json
        from parafovea.storage.store import replacing

        file = _with_ending(path, ".json", ".csv")
        missing = [key for key in ("detections", "metadata", "scan_id") if key not in results]
        if missing:
            raise TableError(f"the results lack {', '.join(missing)}: give what predict returned")
        facts = {key: value for key, value in results.items() if key in _FACTS}
        listed = DetectionList(results["detections"], facts=facts)
        document = _document(listed, str(results["scan_id"]), None)
        text = (detections_json if file.suffix == ".json" else detections_csv)(document)
        with replacing(file) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
        return file

    def save_heatmap(
        self,
        heatmap: NDArray[Any],
        path: _Path,
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
        import numpy as np

        from parafovea.formats.nifti import write_nifti
        from parafovea.inference.array_inputs import checked_volume
        from parafovea.storage.store import replacing

        file = _with_ending(path, ".nii.gz", ".nii", ".npy")
        values = checked_volume(heatmap, "heatmap")
        if file.suffix == ".npy":
            with replacing(file) as partial, partial.open("wb") as stream:
                np.save(stream, np.asarray(values, np.float32), allow_pickle=False)
            return file
        space = _space(heatmap, spacing, "heatmap")
        write_nifti(file, _volume(values, space).read, space=space, limits=(0.0, 1.0))
        return file


def batch_inference(
    checkpoint: _Path,
    input_dir: _Path,
    output_dir: _Path,
    config: _Path | None = None,
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
    from parafovea.drivers.predict_scans import (
        Summary,
        predict_scans,
        project_of,
        scans_in,
        write_summary,
    )
    from parafovea.drivers.predict_tile_folder import on_device
    from parafovea.errors import ConfigError
    from parafovea.runtime.writers import writing

    for name, number in (("num_workers", num_workers), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number} must be at least 1")
    guide = _guide(checkpoint, config)
    found = scans_in(Path(input_dir), tiles=False)
    if found.left_out:
        _LOG.warning("left out of %s: %s", input_dir, ", ".join(found.left_out))
    output = Path(output_dir)
    done = list(found.failed)
    with on_device(_device(device or guide.device)):
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


#: Entries of `detections.json` beside the detections.
_FACTS = ("scan_id", "model", "timestamp", "metadata", "summary")


def _guide(checkpoint: _Path, config: _Path | None) -> GuideSettings:
    """Return the settings of a config of the guide, and log what is without effect."""
    from parafovea.config.guide_config import read_guide_config

    guide = read_guide_config(config, checkpoint=checkpoint)
    for note in guide.notes:
        _LOG.warning("%s: %s", config, note)
    return guide


def _model_folder(checkpoint: _Path) -> Path:
    """Return a model folder, or raise `ModelError` if it is a file of another program."""
    from parafovea.errors import ModelError

    if Path(checkpoint).is_file():
        raise ModelError(
            f"{checkpoint} is a file, and a model is a folder here: convert it with "
            "`parafovea import-model`, and give the folder that this writes"
        )
    return Path(checkpoint)


def _device(wanted: str | None) -> str:
    """Return the device to compute on, the CPU with a warning if there is no GPU."""
    from parafovea.runtime.devices import choose_device, device_or_cpu

    if wanted is None:
        return str(choose_device())
    chosen = device_or_cpu(wanted)
    if chosen != wanted:
        _LOG.warning("device %s is not available here: computing on the CPU", wanted)
    return chosen


def _opened(path: _Path, metadata: str) -> tuple[Volume, ScanSpace, str]:
    """Open a single volume: its voxels, its place and its name."""
    from parafovea.errors import SourceError
    from parafovea.formats.opening import open_source
    from parafovea.geometry.scan_space import ScanSpace
    from parafovea.postprocess.detection.heatmap import Volume

    source = open_source(path, metadata=metadata)
    if source.bands or source.planes:
        raise SourceError(f"{path} has several channels or images: give a scan of one channel")
    return (
        Volume(source.read, source.grid),
        ScanSpace(source.grid, source.affine),
        source.series,
    )


def _volume(values: NDArray[Any], space: ScanSpace) -> Volume:
    """Return an array in memory as a volume that is read box by box."""
    import numpy as np

    from parafovea.postprocess.detection.heatmap import Volume

    plain = np.asarray(values)
    return Volume(lambda box: plain[box.slices], space.grid.converted("millimeter"))


def _space(array: NDArray[Any], spacing: Sequence[float] | None, name: str) -> ScanSpace:
    """Return the place of an array: its own, otherwise by the spacing alone."""
    import numpy as np

    from parafovea.errors import GridError
    from parafovea.geometry.grid import Grid, shape3, vector3
    from parafovea.geometry.scan_space import ScanSpace

    own: ScanSpace | None = getattr(array, "space", None)
    given = None if spacing is None else vector3(spacing, "spacing")
    if own is None:
        if given is None:
            raise GridError(
                f"the {name} does not know its voxel size: give spacing=(z, y, x) in millimetres"
            )
        return ScanSpace(Grid(shape3(np.shape(array)), given, unit="millimeter"))
    stated = own.grid.converted("millimeter").spacing
    if given is not None and not np.allclose(given, stated, rtol=1e-3):
        raise GridError(
            f"spacing {given} mm differs from that of the {name}, {stated} mm along z, y, x: give "
            "that one, or numpy.array(...) of the voxels"
        )
    return own


def _stored_dtype(values: NDArray[Any]) -> np.dtype[Any]:
    """Return a dtype of NIfTI that holds an array's values."""
    import numpy as np

    if values.dtype.kind == "f":
        return np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    return np.dtype(np.float64) if values.dtype.itemsize > 4 else values.dtype.newbyteorder("=")


def _with_ending(path: _Path, *endings: str) -> Path:
    from parafovea.errors import ConfigError

    if not str(path).endswith(endings):
        raise ConfigError(f"{path} cannot be written: name a file that ends in {_either(endings)}")
    return Path(path)


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def _validated(model: Any, values: Mapping[str, Any]) -> Any:
    """Return settings, or raise `ConfigError` with the name and the value that is invalid."""
    from pydantic import ValidationError

    from parafovea.errors import ConfigError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].replace("Input should", "must").removeprefix("Value error, ")
        raise ConfigError(f"{where} = {first['input']!r}: {reason}") from error


def _look(num_slices: int, colormap: str, alpha: float) -> dict[str, Any]:
    from parafovea.settings.report import VisualizationSettings

    given = {"num_slices": num_slices, "colormap": colormap, "overlay_alpha": alpha}
    return cast(dict[str, Any], _validated(VisualizationSettings, given).model_dump())


def _listed(document: Detections) -> DetectionList:
    values = document.model_dump(mode="json", exclude_none=True)
    return DetectionList(values.pop("detections"), facts=values)


def _like(given: Sequence[_Detection], made: list[_Detection]) -> list[_Detection]:
    """Return detections that were made from others, with what is known of those."""
    if not isinstance(given, DetectionList):
        return made
    return DetectionList(
        made, facts=given.facts, heatmap=given.heatmap, weights_sha256=given.weights_sha256
    )


def _loaded(detections: Sequence[_Detection] | _Path) -> Sequence[_Detection]:
    if isinstance(detections, str | Path):
        return load_detections(detections)
    return detections


def _document(detections: Sequence[_Detection], name: str, metadata: Any) -> Detections:
    """Return detections as a document, numbered in their order and counted anew."""
    from pydantic import ValidationError

    from parafovea.errors import TableError
    from parafovea.postprocess.detection.detection_files import Detection, Detections, summarize
    from parafovea.storage.provenance import stated_time

    facts = detections.facts if isinstance(detections, DetectionList) else {}
    found = []
    for number, each in enumerate(detections):
        try:
            found.append(Detection.model_validate({**each, "id": number}))
        except (ValidationError, TypeError) as error:
            raise TableError(f"detection {number}: {_problem(error)}") from error
    before = facts.get("summary", {})
    triaged = bool(found) and all(each.triage is not None for each in found)
    summary = summarize(
        found,
        triaged=triaged,
        outside_body=before.get("outside_body_count"),
        seconds=before.get("processing_time_seconds"),
    )
    values = {
        "scan_id": facts.get("scan_id", name),
        "model": facts.get("model", "unknown"),
        "timestamp": facts.get("timestamp") or stated_time(),
        "metadata": facts.get("metadata", metadata),
        "detections": found,
        "summary": summary,
    }
    try:
        return Detections.model_validate(values)
    except ValidationError as error:
        raise TableError(f"the detections: {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """Return the first problem of a detection, with what to do if measurements are missing."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return "must be a dictionary with the keys of detections.json"
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].replace("Input should", "must").replace("Field required", "is missing")
    fix = ""
    if where.startswith("properties"):
        fix = ": add detection['properties'] = extract_properties(...)"
    return f"{where} {reason}{fix}"


def _sphere(detection: _Detection, number: int) -> tuple[float, float, float, float, float]:
    """Return x, y, z, diameter and confidence of a detection."""
    import numpy as np

    from parafovea.errors import TableError

    place = np.asarray(detection.get("coordinates", ()), float)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise TableError(
            f"detection {number}: coordinates {detection.get('coordinates')!r} must be x, y, z in "
            "millimetres"
        )
    width = _number(detection, "diameter_mm", number)
    if width <= 0:
        raise TableError(f"detection {number}: diameter_mm {width:g} must be positive")
    x, y, z = place.tolist()
    return x, y, z, width, _number(detection, "confidence", number)


def _number(detection: _Detection, key: str, number: int) -> float:
    import math

    from parafovea.errors import TableError

    try:
        value = float(detection[key])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise TableError(f"detection {number}: {key} {detection.get(key)!r} must be a number")
    return value


def _view(
    scan: Volume,
    space: ScanSpace,
    detections: Sequence[_Detection],
    heatmap: NDArray[Any] | _Path | None,
    name: str,
) -> DetectedScan:
    """Return what figures show, once scan, heatmap and detections fit each other."""
    import numpy as np

    from parafovea.errors import GridError
    from parafovea.inference.array_inputs import checked_volume
    from parafovea.report.detections.slices import DetectedScan
    from parafovea.stages.detect_nodules import scan_metadata

    document = _document(detections, name, scan_metadata(scan.grid))
    if document.metadata.shape != scan.grid.shape[::-1]:
        raise GridError(
            f"the detections are of a scan of {document.metadata.shape} voxels (x, y, z), but this "
            f"one has {scan.grid.shape[::-1]}: give the scan that they were found in"
        )
    own = detections.heatmap if isinstance(detections, DetectionList) else None
    given = own if heatmap is None else heatmap
    heat: Volume | None = None
    if isinstance(given, str | Path):
        opened = _opened(given, "")[0]
        _check_heatmap(opened.grid.shape, scan.grid.shape)
        heat = _on_grid(opened, scan)
    elif given is not None:
        values = checked_volume(given, "heatmap")
        _check_heatmap(cast(Any, values.shape), scan.grid.shape)
        heat = _volume(values, space)
    view = DetectedScan(scan, heat, space.affine, document)
    away = (view.indices() < -1) | (view.indices() > np.array(scan.grid.shape))
    if away.any():
        row = int(np.flatnonzero(away.any(axis=1))[0])
        raise GridError(
            f"detection {row} at {document.detections[row].coordinates} (x, y, z in mm) lies "
            "outside of the scan: give the scan as load_scan returned it, with its place"
        )
    return view


def _on_grid(volume: Volume, scan: Volume) -> Volume:
    """Return a volume of the same voxels as the scan, on the scan's grid."""
    from parafovea.postprocess.detection.heatmap import Volume

    return Volume(volume.read, scan.grid)


def _check_heatmap(shape: Shape, scan: Shape) -> None:
    from parafovea.errors import GridError

    if tuple(shape) != tuple(scan):
        raise GridError(
            f"the heatmap has {tuple(shape)} voxels, but the scan {tuple(scan)} (z, y, x): give "
            "the heatmap of this scan"
        )


def _check_example(shape: tuple[int, ...], spec: Any, folder: Path) -> None:
    """Raise `ModelError` if a network does not take an input of this shape."""
    from parafovea.errors import ModelError

    spatial = spec.network.dimensions
    fits = len(shape) == spatial + 2 and all(n >= 1 for n in shape)
    if not fits or shape[1] != spec.input_channels or any(n % 16 for n in shape[2:]):
        wide = f", and context of {spec.context_channels} channels" if spec.context else ""
        example = [1, spec.input_channels, *spec.window[-spatial:]]
        raise ModelError(
            f"example_input_shape {list(shape)}: the network of {folder} takes "
            f"{spec.input_channels} channels of features that its backbone computes from the "
            f"scan{wide}, in sizes that are multiples of 16: use {example}"
        )


def _checked_scores(scores: Any, stack: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    """Return the scores of a batch (N, class, z, y, x), or raise an error."""
    import numpy as np
    import torch

    from parafovea.errors import ModelError, ScoreError

    if not isinstance(scores, torch.Tensor):
        raise ModelError(
            f"the model returns a {type(scores).__name__}, not one tensor: wrap it in a function "
            "that returns the scores, such as lambda batch: model(batch)[0]"
        )
    size = (len(stack), *stack.shape[2:])
    if scores.ndim != 5 or (len(scores), *scores.shape[2:]) != size:
        raise ModelError(
            f"the model returns the shape {tuple(scores.shape)} for {stack.shape}: it must return "
            "(N, class, z, y, x) of the same size"
        )
    values = np.ascontiguousarray(scores.float().cpu().numpy())
    highest = float(np.abs(values).max())
    if not np.isfinite(highest):
        raise ScoreError("the model returns values that are NaN or infinite: check its input")
    if highest > most:
        raise ModelError(
            f"the model returns values up to {highest:g}, more than {most:g}, which weighted sums "
            "cannot hold: let it return probabilities"
        )
    return values


@contextlib.contextmanager
def _evaluating(model: Any, device: str) -> Iterator[None]:
    """Put a network on a device in evaluation mode, and back into training mode if it was."""
    import torch

    if not isinstance(model, torch.nn.Module):
        yield
        return
    training = model.training
    model.to(device).eval()
    try:
        yield
    finally:
        model.train(training)
