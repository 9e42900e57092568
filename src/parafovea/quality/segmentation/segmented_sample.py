"""A segmented sample as its metrics see it: probabilities, classes, objects, and its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import StoreError
from parafovea.formats.source_changes import unchanged
from parafovea.formats.truth import open_truth, open_truth_objects
from parafovea.geometry.grid import Box
from parafovea.quality.segmentation.comparison import Truth, count_agreement
from parafovea.quality.segmentation.part_counts import PartCounts
from parafovea.quality.segmentation.uncertainty import sum_probabilities
from parafovea.quality.truth_on_grid import SampledTruth, TruthSource
from parafovea.storage.store import Stored, open_stored


@dataclass(frozen=True)
class SegmentedSample:
    """Results of a sample on one grid, with its truth.

    Parameters
    ----------
    prediction : Stored
        (class, z, y, x) probabilities.
    classes, objects : Stored
        (z, y, x) class indices and object ids.
    names : tuple of str
        Class names, the background first.
    instances : tuple of int
        Indices of the classes that have objects.
    connectivity : int
        Neighbours of a voxel within an object.
    truth, true_objects : TruthSource or None
        True classes and true object ids.
    """

    prediction: Stored
    classes: Stored
    objects: Stored
    names: tuple[str, ...]
    instances: tuple[int, ...]
    connectivity: int
    truth: TruthSource | None
    true_objects: TruthSource | None

    @classmethod
    def open(
        cls, prediction: Path, classes: Path, objects: Path, *, truth: str | None, metadata: str
    ) -> SegmentedSample:
        """Open the results and the truth of a sample.

        Parameters
        ----------
        prediction, classes, objects : Path
            Their stores.
        truth : str or None
            Path of the true class indices, as in the sample sheet.
        metadata : str
            The sheet's `metadata` of the sample; may name true object ids.

        Raises
        ------
        SourceError
            If the truth cannot be read.
        StoreError
            If a result is missing or incomplete, or their grids differ.
        """
        probabilities, class_store, object_store = map(open_stored, (prediction, classes, objects))
        names = probabilities.channels or ()
        for stored, path in ((class_store, classes), (object_store, objects)):
            if stored.grid != probabilities.grid:
                raise StoreError(
                    f"{path} has the grid {stored.grid}, but {prediction} {probabilities.grid}: "
                    "run segment_objects again"
                )
        try:
            settings = object_store.attributes["postprocess"]
            choices = settings["classes"]
            instances = tuple(i for i, n in enumerate(names) if i and choices[n]["instances"])
            connectivity = int(settings["connectivity"])
        except KeyError as error:
            raise StoreError(
                f"{objects} has no complete record of the objects of {', '.join(names)} ({error} "
                "is missing): run segment_objects again"
            ) from error
        like = probabilities.attributes.get("source")
        return cls(
            probabilities,
            class_store,
            object_store,
            names,
            instances,
            connectivity,
            open_truth(truth, metadata=metadata, like=like),
            open_truth_objects(metadata, like=like),
        )

    def count(self, part: Box) -> PartCounts:
        """Count everything that the metrics of a part need; see `PartCounts`.

        Memory is bounded by the blocks in which the part is read.

        Parameters
        ----------
        part : Box
            Whole files of labels; may be empty.

        Raises
        ------
        SourceError
            If the truth covers another region, holds values that are not labels, cannot be read
            or changes meanwhile.
        StoreError
            If a result is damaged.
        """
        sums = sum_probabilities(self.prediction, part)
        given = [each for each in (self.truth, self.true_objects) if each is not None]
        if not given:
            return PartCounts(part, sums, None)
        grid = self.prediction.grid
        with unchanged(*[each.path for each in given]) as check:
            truth = Truth(
                None
                if self.truth is None
                else SampledTruth(self.truth, grid, classes=len(self.names)),
                None if self.true_objects is None else SampledTruth(self.true_objects, grid),
                self.connectivity,
            )
            counts = count_agreement(
                self.classes,
                self.objects,
                part,
                truth=truth,
                names=self.names,
                instances=self.instances,
            )
            check()
        return PartCounts(part, sums, counts)
