"""Training samples opened: their cached features, with the truth at each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.metadata import parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source
from parafovea.geometry.grid import Box, shape3
from parafovea.geometry.resample import read_reflected
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.inference.sample_inputs import ModelInputs, RegionInputs, SampleInputs
from parafovea.preprocess.body_masks import stored_volume_body
from parafovea.quality.truth_on_grid import SampledTruth
from parafovea.settings.recipe import Recipe
from parafovea.training.augmentation import nearest
from parafovea.training.band_truth import BandTruth
from parafovea.training.heatmap_truth import Findings, heatmap, truth_findings

#: Voxels of each class that windows can be centred on, drawn once per sample.
ANCHORS = 4096
SLAB = 32

#: Samples of up to this many voxels keep their class indices in memory, a byte each: windows
#: overlap, and truth that is finer than the model votes anew each time it is read.
KEPT_LABELS = 2**28


@dataclass(frozen=True)
class TrainingSample:
    """A line of the sheet to learn from.

    Parameters
    ----------
    name : str
        The sample's name.
    inputs : ModelInputs
        Its cached volume and features.
    truth : str
        Volume of class indices, on the source's grid; of a refinement, of the bands to become.
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Folder that relative sidecar paths count from.
    """

    name: str
    inputs: ModelInputs
    truth: str
    metadata: str = ""
    folder: Path = Path()


@dataclass(frozen=True)
class TrainingWindow:
    """One window to learn from.

    Parameters
    ----------
    box : Box
        Its voxels on the local grid of its sample.
    region : RegionInputs
        What the network needs for it.
    target : ndarray
        (z, y, x) uint8, class indices; of a detection (class, z, y, x) uint8, heatmaps times 255;
        of a refinement (band, z, y, x) float32, what the bands should become, then, of a residual,
        the input's own bands.
    sample : int
        Which sample it is from.
    places : ndarray, optional
        (z, y, x, 3), fractional local voxels inside the volume that the window is taken from;
        without them, the voxels of `box`.
    """

    box: Box
    region: RegionInputs
    target: NDArray[Any]
    sample: int
    places: NDArray[np.float64] | None = None


class OpenSample:
    """A training sample opened: its inputs, and its truth on the local grid.

    Parameters
    ----------
    sample : TrainingSample
        Where everything is.
    recipe : Recipe
        The model's facts about its input.

    Raises
    ------
    SourceError
        If the truth cannot be read, or is of another shape or place than the volume.

    Attributes
    ----------
    findings : list of Findings
        Of each class of a detection, in the unit of the volume; empty for a segmentation.
    heatmaps : list of ndarray
        (z, y, x) uint8 of each class of a detection, times 255, on the local grid.
    """

    def __init__(self, sample: TrainingSample, recipe: Recipe) -> None:
        self.name = sample.name
        self.paths = sample.inputs
        self.inputs = SampleInputs(sample.inputs, recipe)
        grid, classes = self.inputs.grid, len(recipe.objects)
        source = _truth_source(sample, recipe)
        self._base = list(recipe.base)
        planes = self.inputs.volume.attributes.get("source", {}).get("planes", ())
        self.bands = None
        if recipe.kind == "refinement":
            self.bands = BandTruth(source, grid, planes=planes)
        self._kept: NDArray[np.uint8] | None = None
        self._is_detection = recipe.kind == "detection"
        self.findings: list[Findings] = []
        self.heatmaps: list[NDArray[np.uint8]] = []
        if self.bands is not None:
            return
        self.truth = SampledTruth(source, grid, classes=classes + 1)
        if self._is_detection:
            self.findings = truth_findings(source, classes=classes, unit=grid.unit)
            self.heatmaps = [heatmap(findings, grid) for findings in self.findings]
            return
        if self.inputs.grid.box.size <= KEPT_LABELS:
            self._kept = self.truth.read(self.inputs.grid.box).astype(np.uint8)

    def labels(self, box: Box) -> NDArray[np.uint8]:
        """Return the class indices of a box inside the volume, (z, y, x)."""
        if self._kept is not None:
            return self._kept[box.slices]
        return self.truth.read(box).astype(np.uint8)

    def window(self, box: Box, number: int) -> TrainingWindow:
        """Return a window, mirrored where it reaches outside of the volume."""
        grid = self.inputs.grid
        if self.bands is not None:
            region = self.inputs.read(box)
            target = read_reflected(self.bands.read, grid, box)
            if self._base and region.raw is not None:
                target = np.concatenate([target, region.raw[self._base].astype(np.float32)])
            return TrainingWindow(box, region, target, number)
        if self._is_detection:
            read = (ArrayOnGrid(heat, grid).read for heat in self.heatmaps)
            target = np.stack([read_reflected(each, grid, box) for each in read])
        else:
            target = read_reflected(self.labels, grid, box)
        return TrainingWindow(box, self.inputs.read(box), target, number)

    def warped_window(self, box: Box, number: int, places: NDArray[np.float64]) -> TrainingWindow:
        """Return a window that is taken from other places, (z, y, x, 3), inside the volume."""
        lowest = np.floor(places.min(axis=(0, 1, 2))).astype(int)
        highest = np.ceil(places.max(axis=(0, 1, 2))).astype(int) + 1
        region = Box(shape3(lowest), shape3(highest))
        if self._is_detection:
            target = np.stack([nearest(heat, places) for heat in self.heatmaps])
        else:
            target = nearest(self.labels(region), places - lowest)
        return TrainingWindow(box, self.inputs.read(region), target, number, places)

    def anchors(self, classes: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Return voxels of each class, (n, 3) z, y, x: all, or an even draw of `ANCHORS`.

        Of a detection, those of the body, then the centre of each finding of each class; of a
        refinement none, since every place is worth learning from.
        """
        if self.bands is not None:
            return []
        if self._is_detection:
            centres = [findings.voxels(self.inputs.grid) for findings in self.findings]
            return [self._body_voxels(rng), *centres]
        shape = self.inputs.grid.shape
        found: list[list[NDArray[np.int64]]] = [[] for _ in range(classes)]
        for slab in self.inputs.grid.box.tiles((SLAB, shape[1], shape[2])):
            labels = self.labels(slab)
            for index in range(classes):
                places = np.flatnonzero(labels == index)
                share = max(1, ANCHORS * SLAB // max(1, shape[0]))
                if len(places) > share:
                    places = rng.choice(places, share, replace=False)
                voxels = np.stack(np.unravel_index(places, labels.shape), axis=1)
                found[index].append(voxels + np.asarray(slab.start))
        return [np.concatenate(parts) for parts in found]

    def _body_voxels(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the voxels in the middle of an even draw of the body's, (n, 3) z, y, x."""
        body, grid = stored_volume_body(self.paths.volume), self.inputs.grid
        places = np.flatnonzero(body.values)
        if len(places) > ANCHORS:
            places = rng.choice(places, ANCHORS, replace=False)
        coarse = body.grid.converted(grid.unit)
        index = np.stack(np.unravel_index(places, body.values.shape), axis=1)
        world = np.array(coarse.origin) + index * np.array(coarse.spacing)
        voxels = np.rint((world - np.array(grid.origin)) / np.array(grid.spacing))
        inside: NDArray[np.int64] = np.clip(voxels.astype(np.int64), 0, np.array(grid.shape) - 1)
        return inside


def _truth_source(sample: TrainingSample, recipe: Recipe) -> Source:
    """Return the truth of a sample; images with bands lie on the model's own pixels."""
    metadata = parse_metadata(sample.metadata, folder=sample.folder)
    if not recipe.bands:
        return open_source(sample.truth, metadata=metadata)
    return open_source(
        sample.truth,
        metadata=metadata,
        finer_than=recipe.spacing,
        unit=recipe.unit,
        bands=recipe.classes if recipe.kind == "refinement" else (),
        truth=True,
    )
