"""Windows to learn from: cached features of the training samples, with the truth at each voxel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from parafovea.errors import SourceError
from parafovea.grid import Box, Shape, shape3
from parafovea.inference.arrays import ArrayOnGrid
from parafovea.inference.engine import windows_in_order
from parafovea.inference.inputs import ModelInputs, RegionInputs, SampleInputs
from parafovea.models.spec import Recipe
from parafovea.postprocess.scan_body import stored_body
from parafovea.quality.truth import SampledTruth
from parafovea.readers import open_source
from parafovea.readers.metadata import parse_metadata
from parafovea.resample import read_reflected
from parafovea.training.augmentation import nearest, warped_places
from parafovea.training.heatmaps import heatmap, truth_findings
from parafovea.training.settings import AugmentationSettings
from parafovea.windows import Layout

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
        Volume of class indices, on the source's grid.
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
        (z, y, x) uint8, class indices; of a detection (class, z, y, x) uint8, heatmaps times 255.
    sample : int
        Which sample it is from.
    places : ndarray, optional
        (z, y, x, 3), fractional local voxels inside the volume that the window is taken from;
        without them, the voxels of `box`.
    """

    box: Box
    region: RegionInputs
    target: NDArray[np.uint8]
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
        metadata = parse_metadata(sample.metadata, folder=sample.folder)
        source = open_source(sample.truth, metadata=metadata)
        grid, classes = self.inputs.grid, len(recipe.objects)
        self.truth = SampledTruth(source, grid, classes=classes + 1)
        self._kept: NDArray[np.uint8] | None = None
        self._is_detection = recipe.kind == "detection"
        self.findings = (
            truth_findings(source, classes=classes, unit=grid.unit) if self._is_detection else []
        )
        self.heatmaps = [heatmap(findings, grid) for findings in self.findings]
        if self._is_detection:
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

        Of a detection, those of the body, then the centre of each finding of each class.
        """
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
        body, grid = stored_body(self.inputs.volume), self.inputs.grid
        places = np.flatnonzero(body.values)
        if len(places) > ANCHORS:
            places = rng.choice(places, ANCHORS, replace=False)
        coarse = body.grid.converted(grid.unit)
        index = np.stack(np.unravel_index(places, body.values.shape), axis=1)
        world = np.array(coarse.origin) + index * np.array(coarse.spacing)
        voxels = np.rint((world - np.array(grid.origin)) / np.array(grid.spacing))
        inside: NDArray[np.int64] = np.clip(voxels.astype(np.int64), 0, np.array(grid.shape) - 1)
        return inside


class TrainingWindows(Dataset[TrainingWindow]):
    """Random windows; window i is the same in every run with the same seed.

    Parameters
    ----------
    samples : sequence of OpenSample
        Where windows are drawn from, each as likely.
    recipe : Recipe
        Gives the window's shape and the classes.
    count : int
        Number of windows.
    foreground : float
        Share of windows that hold a voxel of a random class other than the background; of a
        detection, the middle of a random finding.
    body : float
        Of a detection: share of the others that hold a voxel of the body.
    seed : int
        Of every draw.
    augmentation : AugmentationSettings
        How windows are turned, zoomed and bent.
    """

    def __init__(
        self,
        samples: Sequence[OpenSample],
        recipe: Recipe,
        *,
        count: int,
        foreground: float,
        body: float = 0.5,
        seed: int,
        augmentation: AugmentationSettings,
    ) -> None:
        self.samples = samples
        self.window: Shape = recipe.window
        self.dimensions = recipe.network.dimensions
        self.augmentation = augmentation
        self.count = count
        self.foreground = foreground
        self.body = body if recipe.kind == "detection" else 0.0
        self.seed = seed
        rng = np.random.default_rng([seed, 0])
        count = len(recipe.objects) + 1
        self.anchors = [sample.anchors(count, rng) for sample in samples]
        names = (recipe.classes[0] if count == len(recipe.classes) else "body", *recipe.objects)
        for index, name in enumerate(names):
            if not any(len(places[index]) for places in self.anchors):
                given = ", ".join(sample.name for sample in samples)
                raise SourceError(
                    f"no voxel of class {index} ({name}) in the truth of {given}: train on "
                    "samples that hold every class, or leave the class out of the recipe"
                )

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.count

    def __getitem__(self, index: int) -> TrainingWindow:
        """Return window `index`."""
        rng = np.random.default_rng([self.seed, 1, index])
        number = int(rng.integers(len(self.samples)))
        shape = self.samples[number].inputs.grid.shape
        start = [
            int(rng.integers(n - w + 1)) if n > w else -((w - n) // 2)
            for n, w in zip(shape, self.window, strict=True)
        ]
        around, *classes = self.anchors[number]
        present = [voxels for voxels in classes if len(voxels)]
        chosen = None
        if present and rng.random() < self.foreground:
            chosen = present[int(rng.integers(len(present)))]
        elif self.body and rng.random() < self.body:
            chosen = around
        if chosen is not None:
            voxels = chosen
            voxel = voxels[int(rng.integers(len(voxels)))]
            start = [
                s if w >= n else int(np.clip(v - rng.integers(w), 0, n - w))
                for s, v, n, w in zip(start, voxel, shape, self.window, strict=True)
            ]
        box = Box.sized(shape3(start), self.window)
        sample = self.samples[number]
        places = warped_places(
            box, sample.inputs.grid, self.augmentation, rng, dimensions=self.dimensions
        )
        if places is None:
            return sample.window(box, number)
        return sample.warped_window(box, number, places)


class VolumeWindows(Dataset[TrainingWindow]):
    """All windows of whole volumes, each with its place, in the order of the blending.

    Parameters
    ----------
    samples : sequence of OpenSample
        The volumes.
    window : tuple of int
        Voxels of a window.
    overlap : float
        Share of a window that its neighbour covers too.
    """

    def __init__(self, samples: Sequence[OpenSample], window: Shape, *, overlap: float) -> None:
        self.samples = samples
        self._places = [
            (number, box)
            for number, sample in enumerate(samples)
            for box in windows_in_order(
                Layout.regular(sample.inputs.grid.shape, window, overlap=overlap)
            )
        ]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._places)

    def __getitem__(self, index: int) -> TrainingWindow:
        """Return window `index`."""
        number, box = self._places[index]
        return self.samples[number].window(box, number)

    def __iter__(self) -> Iterator[TrainingWindow]:
        """Yield all windows."""
        return (self[index] for index in range(len(self)))
