"""Everything that is counted in one part of a segmented volume, and its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, shape3
from parafovea.postprocess.segmentation.block_components import Surface
from parafovea.quality.segmentation.comparison import TruthCounts, unite_counts
from parafovea.quality.segmentation.contingency import Pairs
from parafovea.quality.segmentation.true_components import ComponentClasses
from parafovea.quality.segmentation.uncertainty import ProbabilitySums

Array = np.ndarray[Any, Any]

_PAIRS = ("ids", "found_classes", "true_classes")


@dataclass(frozen=True)
class PartCounts:
    """What is counted in one part of a volume.

    Parameters
    ----------
    part : Box
        Its voxels; may be empty.
    probabilities : ProbabilitySums
        Sums over its probabilities.
    truth : TruthCounts or None
        Its comparison with the truth; None without one.
    """

    part: Box
    probabilities: ProbabilitySums
    truth: TruthCounts | None

    def save(self, path: Path) -> None:
        """Write the counts to a .npz."""
        sums = self.probabilities
        arrays: dict[str, Array] = {
            "part": np.array([self.part.start, self.part.stop]),
            # may be larger than any integer of numpy
            "entropy": np.array(str(sums.entropy)),
            "covered": np.array(sums.covered),
            **{f"steps_{axis}": steps for axis, steps in zip("zyx", sums.steps, strict=True)},
        }
        if self.truth is not None:
            arrays |= _truth_arrays(self.truth)
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> PartCounts:
        """Read the counts that `save` wrote.

        Raises
        ------
        StoreError
            If the file is missing or damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
            z, y, x = (arrays[f"steps_{axis}"] for axis in "zyx")
            return cls(
                _box(arrays["part"]),
                ProbabilitySums(int(str(arrays["entropy"])), int(arrays["covered"]), (z, y, x)),
                _truth_counts(arrays) if "ids_count" in arrays else None,
            )
        except Exception as error:
            raise StoreError(f"{path} is missing or damaged: delete it and run again") from error


def unite_parts(parts: Iterable[PartCounts], whole: Box, folder: Path) -> PartCounts:
    """Return the counts of a volume from those of the parts that fill it.

    Parameters
    ----------
    parts : iterable of PartCounts
        The parts, in any order.
    whole : Box
        All voxels of the volume.
    folder : Path
        Folder of the parts, for the message.

    Raises
    ------
    StoreError
        If parts are missing, or only some were compared with a truth.
    """
    sums, voxels = ProbabilitySums.zeros(whole.shape), 0
    truths: list[TruthCounts | None] = []
    for each in parts:
        sums += each.probabilities
        voxels += each.part.size
        truths.append(each.truth)
    compared = [truth for truth in truths if truth is not None]
    if voxels != whole.size or len(compared) not in (0, len(truths)):
        raise StoreError(
            f"the counts in {folder} are of {voxels} voxels, {len(compared)} of {len(truths)} with "
            f"a truth, but the prediction has {whole.size} voxels: delete the folder and run again"
        )
    return PartCounts(whole, sums, unite_counts(compared) if compared else None)


def _truth_arrays(truth: TruthCounts) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name in _PAIRS:
        pairs: Pairs = getattr(truth, name)
        for column in ("first", "second", "count"):
            arrays[f"{name}_{column}"] = getattr(pairs, column)
    if truth.confusion is not None:
        arrays["confusion"] = truth.confusion
    if truth.components is not None:
        arrays |= {
            "component_classes": truth.components.table.value,
            "surface_positions": truth.components.position,
            "surface_rows": truth.components.row,
        }
    return arrays


def _truth_counts(arrays: Mapping[str, Array]) -> TruthCounts:
    ids, found_classes, true_classes = (
        Pairs(*(arrays[f"{name}_{column}"] for column in ("first", "second", "count")))
        for name in _PAIRS
    )
    components: Surface[ComponentClasses] | None = None
    if "component_classes" in arrays:
        table = ComponentClasses(arrays["component_classes"])
        components = Surface(table, arrays["surface_positions"], arrays["surface_rows"])
    return TruthCounts(arrays.get("confusion"), ids, found_classes, true_classes, components)


def _box(corners: Array) -> Box:
    start, stop = corners.tolist()
    return Box(shape3(start), shape3(stop))
