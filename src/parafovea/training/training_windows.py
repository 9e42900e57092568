"""Windows for training, drawn at random, and for validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Dataset

from parafovea.errors import SourceError
from parafovea.geometry.grid import Box, Shape, shape3
from parafovea.geometry.windows import Layout
from parafovea.inference.window_loop import windows_in_order
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import AugmentationSettings
from parafovea.training.augmentation import warped_places
from parafovea.training.samples import OpenSample
from parafovea.training.training_truth import TrainingWindow


class TrainingWindows(Dataset[TrainingWindow]):
    """Random training windows; window i depends only on the seed.

    Parameters
    ----------
    samples : sequence of OpenSample
        Samples, drawn with equal probability.
    recipe : Recipe
        Gives the window's shape.
    count : int
        Number of windows.
    foreground : float
        Share of windows that contain an anchor of a random class.
    body : float
        Share of the other windows that contain an anchor of non-class voxels; the rest is placed
        anywhere.
    seed : int
        Random seed.
    augmentation : AugmentationSettings
        Augmentation of windows.
    """

    def __init__(
        self,
        samples: Sequence[OpenSample],
        recipe: Recipe,
        *,
        count: int,
        foreground: float,
        body: float = 0.0,
        seed: int,
        augmentation: AugmentationSettings,
    ) -> None:
        self.samples = samples
        self.window: Shape = recipe.window
        self.dimensions = recipe.network.dimensions
        self.augmentation = augmentation
        self.count = count
        self.foreground = foreground
        self.body = body
        self.seed = seed
        rng = np.random.default_rng([seed, 0])
        drawn = [sample.truth.anchors(rng) for sample in samples]
        self.anchors = [[each.voxels for each in anchors] for anchors in drawn]
        for index, alike in enumerate(zip(*drawn, strict=True)):
            if not any(len(each.voxels) for each in alike):
                given = ", ".join(sample.name for sample in samples)
                raise SourceError(
                    f"no voxel of class {index} ({alike[0].name}) in the truth of {given}: train "
                    "on samples with every class, or remove the class from the recipe"
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
        around, *classes = self.anchors[number] or [np.empty((0, 3), np.int64)]
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
    """All windows of whole volumes, in the order of the blending.

    Parameters
    ----------
    samples : sequence of OpenSample
        The volumes.
    window : tuple of int
        Voxels of a window.
    overlap : float
        Overlap of windows as a share of a window.
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
