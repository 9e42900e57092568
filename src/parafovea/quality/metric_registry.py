"""Readable name, unit, range and explanation of every metric; torch-free.

Pages, captions, tables and `docs/metrics.md` take their words from here, and only from here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from parafovea.quality.tiles.targets import BRIGHT, TARGETS

#: Stands for the name of a class or a band in the name of a metric, and in its words.
PLACE = "{}"

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True, slots=True)
class Description:
    """What a metric is.

    Parameters
    ----------
    label : str
        Readable name, such as "IoU of nucleus".
    unit : str
        Symbol or plural noun, such as "mm" or "voxels"; "" for a ratio.
    meaning : str
        One or two sentences.
    low, high : float or None
        Ends of the range of possible values; None if it has no end.
    better : {"higher", "lower", ""}
        Which values are better; "" if neither.
    is_count : bool
        Whether it is a whole number.
    """

    label: str
    unit: str = ""
    meaning: str = ""
    low: float | None = None
    high: float | None = None
    better: Better = ""
    is_count: bool = False

    @property
    def heading(self) -> str:
        """Name with the unit, for axes and columns; the unit of a count is in its name."""
        return f"{self.label} ({self.unit})" if self.unit and not self.is_count else self.label


def _share(label: str, meaning: str, better: Better = "higher") -> Description:
    return Description(label, "", meaning, 0.0, 1.0, better)


def _count(label: str, unit: str, meaning: str, better: Better = "") -> Description:
    return Description(label, unit, meaning, 0.0, None, better, is_count=True)


_VOLUMES: Mapping[str, Description] = {
    "coverage.minimum_weight": Description(
        "Smallest blending weight",
        "",
        "Smallest sum of the weights of all windows over a voxel; 0 where no window covers it.",
        0.0,
        None,
    ),
    "coverage.uncovered_voxels": _count(
        "Voxels without a prediction", "voxels", "Voxels that no window covers.", "lower"
    ),
    "coverage.padded_context": _share(
        "Context beyond the volume",
        "Share of the windows' context that lies outside of the volume and is mirrored.",
        "",
    ),
    "coverage.skipped_windows": _share(
        "Windows skipped as empty",
        "Share of the windows without body, whose prediction is background.",
        "",
    ),
    "memory.fallbacks": _count(
        "Memory fallbacks",
        "steps",
        "How often memory ran out, so that a smaller batch or the CPU was used.",
        "lower",
    ),
    "memory.smallest_batch": _count(
        "Smallest batch", "windows", "Smallest number of windows that were computed together."
    ),
    "memory.cpu_shards": _count(
        "Shards on the CPU for lack of memory",
        "shards",
        "Shards that a GPU had no memory for.",
        "lower",
    ),
}

_SEAMS = "Steps of the probabilities at the faces of windows over those elsewhere{}; 1 if seamless."

_SEGMENTATION: Mapping[str, Description] = {
    "seam_energy": Description(
        "Seam energy", "", _SEAMS.format(", the largest of z, y and x"), 0.0, None, "lower"
    ),
    **{
        f"seam_energy.{axis}": Description(
            f"Seam energy along {axis}", "", _SEAMS.format(f" along {axis}"), 0.0, None, "lower"
        )
        for axis in "zyx"
    },
    "entropy": _share(
        "Mean entropy",
        "Mean uncertainty of the voxels: 0 if one class is certain, 1 if all are equally likely.",
        "lower",
    ),
    "iou": _share(
        "Mean IoU", "Mean of the intersection over union of all classes except the background."
    ),
    "iou.{}": _share(
        "IoU of {}",
        "Intersection over union: voxels that are {} in prediction and truth, over those that are "
        "in either.",
    ),
    "dice": _share("Mean Dice", "Mean of the Dice coefficient of all classes but the background."),
    "dice.{}": _share(
        "Dice of {}",
        "Twice the voxels that are {} in prediction and truth, over the sum of both.",
    ),
    "precision.{}": _share(
        "Precision of {}", "Share of the voxels predicted as {} that are {} in the truth."
    ),
    "recall": _share("Mean recall", "Mean of the recall of all classes except the background."),
    "recall.{}": _share(
        "Recall of {}", "Share of the voxels that are {} in the truth that are predicted as {}."
    ),
    "voi.split": Description(
        "VOI, splits",
        "bits",
        "Variation of information by which true objects are split into several predicted ones.",
        0.0,
        None,
        "lower",
    ),
    "voi.merge": Description(
        "VOI, merges",
        "bits",
        "Variation of information by which several true objects are merged to a predicted one.",
        0.0,
        None,
        "lower",
    ),
    "arand.error": _share(
        "Adapted Rand error",
        "1 minus the F-score over pairs of voxels in the same object, as in SNEMI3D and CREMI.",
        "lower",
    ),
    "arand.precision": _share(
        "Adapted Rand precision",
        "Share of the voxel pairs within a predicted object that are within a true one.",
    ),
    "arand.recall": _share(
        "Adapted Rand recall",
        "Share of the voxel pairs within a true object that are within a predicted one.",
    ),
    "panoptic.{}.tp": _count(
        "Matched objects, {}",
        "objects",
        "Pairs of a predicted and a true object with an IoU above 0.5.",
        "higher",
    ),
    "panoptic.{}.fp": _count(
        "Extra objects, {}", "objects", "Predicted objects without a true one.", "lower"
    ),
    "panoptic.{}.fn": _count(
        "Missed objects, {}", "objects", "True objects without a predicted one.", "lower"
    ),
    "panoptic.{}.rq": _share("Recognition quality, {}", "F1 score of the matches of objects."),
    "panoptic.{}.sq": _share("Segmentation quality, {}", "Mean IoU of the matched objects."),
    "panoptic.{}.pq": _share(
        "Panoptic quality, {}", "Recognition quality times segmentation quality."
    ),
}

_DETECTIONS: Mapping[str, Description] = {
    "detections": _count("Detections", "detections", "Detections in the scan."),
    **{
        f"detections.{risk}": _count(
            f"Detections of {risk} risk",
            "detections",
            f"Detections of {risk} risk by the task's calibration.",
        )
        for risk in ("high", "intermediate", "low")
    },
    "nodules": _count("True nodules", "nodules", "Nodules in the truth of the scan."),
    "found": _count(
        "Nodules found",
        "nodules",
        "True nodules with a detection closer to their centre than their radius.",
        "higher",
    ),
    "missed": _count("Nodules missed", "nodules", "True nodules without a detection.", "lower"),
    "false_positives": _count(
        "False positives", "detections", "Detections that hit no nodule.", "lower"
    ),
    "sensitivity": _share("Sensitivity", "Share of the true nodules that are found."),
    "sensitivity.at_1_false_positive": _share(
        "Sensitivity at 1 false positive",
        "Share of the true nodules found at the confidence that allows one false positive a scan.",
    ),
    "precision": _share(
        "Precision",
        "Share of what was predicted that is right: of the detections; of the voxels of a class, "
        "mean over all classes except the background.",
    ),
    "centre_distance_mm": Description(
        "Distance between centres",
        "mm",
        "Mean distance from the centre of a found nodule to that of its detection, not between "
        "surfaces.",
        0.0,
        None,
        "lower",
    ),
    "diameter_error_mm": Description(
        "Diameter error",
        "mm",
        "Mean absolute difference of the diameters of found nodules and their detections.",
        0.0,
        None,
        "lower",
    ),
    "diameter_error_mm.signed": Description(
        "Diameter error, signed",
        "mm",
        "Mean of the detection's diameter minus that of its nodule; positive if too large.",
    ),
    "cpm": _share(
        "CPM",
        "Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan, as in LUNA16.",
    ),
}

_TILES: Mapping[str, Description] = {
    "tiles.in": _count("Tiles given", "tiles", "Tiles in the input folder."),
    "tiles.out": _count("Tiles finished", "tiles", "Tiles with a result.", "higher"),
    "tiles.quarantined": _count(
        "Tiles quarantined", "tiles", "Invalid tiles, without a result.", "lower"
    ),
    "tiles.month_assumed": _count(
        "Tiles with an assumed month", "tiles", "Tiles whose file states no month."
    ),
    "tiles.biome_assumed": _count(
        "Tiles with an assumed biome", "tiles", "Tiles whose file states no biome."
    ),
    "tiles.with_truth": _count("Tiles with truth", "tiles", "Finished tiles with truth."),
    "tiles.without_truth": _count("Tiles without truth", "tiles", "Finished tiles without truth."),
    "tiles.truth_invalid": _count(
        "Tiles with an invalid truth",
        "tiles",
        "Tiles whose truth cannot be used; they count as tiles without.",
        "lower",
    ),
    "tiles.clipped": _share(
        "Input values clipped",
        "Share of the input values that lie outside of 0 to 1 after their scale is applied.",
        "lower",
    ),
    "pixels": _count("Pixels judged", "pixels", "Pixels with a known true class."),
    "gain.psnr": Description(
        "PSNR gain",
        "dB",
        "PSNR of the result minus that of its input, both against the truth; mean over the tiles.",
        better="higher",
    ),
    "gain.ssim": Description(
        "SSIM gain",
        "",
        "SSIM of the result minus that of its input, both against the truth; mean over the tiles.",
        -2.0,
        2.0,
        "higher",
    ),
    "gain.improved": _share(
        "Tiles closer to the truth",
        "Share of the tiles with truth whose result has a smaller RMSE than their input.",
    ),
    "held_back": _share(
        "Pixels kept near the input",
        "Share of the pixels in which less than half of the model's change of brightness was made, "
        "because it expects to be wrong there; of models that tell.",
        "",
    ),
}

#: Comparisons of refined tiles: words for the label and for the meaning.
_COMPARED: Mapping[str, tuple[str, str]] = {
    "preservation": ("result to input", "the result and its own input"),
    "accuracy": ("result to truth", "the result and the truth"),
    "accuracy_input": ("input to truth", "the input and the truth"),
}

#: Metrics of a comparison of tiles; the meaning continues with what is compared.
_MEASURES: Mapping[str, Description] = {
    "ndvi_rmse": Description(
        "NDVI RMSE", "", "Root mean squared difference of the NDVI of", 0.0, 2.0, "lower"
    ),
    "ndvi_rmse_bright": Description(
        "NDVI RMSE of bright pixels",
        "",
        "Root mean squared difference of the NDVI, where red and near infrared of the second add "
        f"up to {BRIGHT:g} or more, of",
        0.0,
        2.0,
        "lower",
    ),
    "edge_correlation": Description(
        "NIR edge correlation",
        "",
        "Pearson's correlation of the edge strengths in the near infrared of",
        -1.0,
        1.0,
        "higher",
    ),
    "edge_displacement": Description(
        "NIR edge displacement",
        "pixels",
        "Length of the shift between the edges in the near infrared of",
        0.0,
        None,
        "lower",
    ),
    "evi_rmse": Description(
        "EVI RMSE", "", "Root mean squared difference of the EVI of", 0.0, None, "lower"
    ),
    "spectral_angle": Description(
        "Spectral angle", "°", "Mean angle between the spectra of", 0.0, 180.0, "lower"
    ),
    "rmse": Description(
        "RMSE of reflectance",
        "",
        "Root mean squared difference of the reflectance of",
        0.0,
        1.0,
        "lower",
    ),
    "bias.{}": Description(
        "Bias of {}", "", "Mean difference of the reflectance in {} between", -1.0, 1.0
    ),
    "psnr": Description(
        "PSNR",
        "dB",
        "Peak signal-to-noise ratio of reflectance, with a range of 1, of",
        None,
        None,
        "higher",
    ),
    "ssim": Description("SSIM", "", "Structural similarity of", -1.0, 1.0, "higher"),
}

#: Measures that need a truth.
_TRUE_ONLY = ("psnr", "ssim")

#: Measures that are also given over the pixels of all tiles together.
_POOLED = ("ndvi_rmse", "rmse", "psnr")


def _comparisons() -> Iterator[tuple[str, Description]]:
    for name, (short, both) in _COMPARED.items():
        for measure, own in _MEASURES.items():
            if name == "preservation" and measure in _TRUE_ONLY:
                continue
            words = f"{own.label}, {short}"
            meaning = f"{own.meaning} {both}"
            kept = (own.low, own.high, own.better)
            yield (
                f"{name}.{measure}",
                Description(words, own.unit, f"{meaning}; mean over the tiles.", *kept),
            )
            if measure in _POOLED:
                yield (
                    f"{name}.pooled.{measure}",
                    Description(
                        f"{words}, all pixels",
                        own.unit,
                        f"{meaning}, over the pixels of all tiles together.",
                        *kept,
                    ),
                )
            if measure in TARGETS:
                yield (
                    f"{name}.target_met.{measure}",
                    _share(
                        f"Tiles that meet the field's target: {words}",
                        "Share of the tiles that meet the target of the field, "
                        f"{TARGETS[measure]}; it is no limit of the workflow.",
                    ),
                )
        yield (
            f"{name}.flat_tiles",
            _count(
                f"Flat tiles, {short}",
                "tiles",
                "Tiles without an edge, in which edges cannot be compared.",
            ),
        )


#: All metrics by name; in names, `PLACE` stands for a class or a band.
DESCRIPTIONS: Mapping[str, Description] = {
    **_VOLUMES,
    **_SEGMENTATION,
    **_DETECTIONS,
    **_TILES,
    **dict(_comparisons()),
}


def measure_label(measure: str) -> str:
    """Return the heading of a measure of tiles by itself, such as "PSNR (dB)"."""
    return _MEASURES[measure].heading


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], Description], ...]:
    return tuple(
        (re.compile(re.escape(name).replace(re.escape(PLACE), "(.+)")), description)
        for name, description in DESCRIPTIONS.items()
        if PLACE in name
    )


def describe(name: str) -> Description:
    """Return the description of a metric.

    Parameters
    ----------
    name : str
        Such as "iou.nucleus"; a name without an entry, of a kind of its own, is its own label.
    """
    if name in DESCRIPTIONS:
        return DESCRIPTIONS[name]
    for pattern, found in _patterns():
        if match := pattern.fullmatch(name):
            return Description(
                found.label.replace(PLACE, match[1]),
                found.unit,
                found.meaning.replace(PLACE, match[1]),
                found.low,
                found.high,
                found.better,
                found.is_count,
            )
    return Description(name)


def is_described(name: str) -> bool:
    """Return whether a metric has an entry."""
    return name in DESCRIPTIONS or any(p.fullmatch(name) for p, _ in _patterns())


def registry_table() -> str:
    """Return all metrics as a table in Markdown."""
    lines = ["| metric | name | unit | better | meaning |", "|---|---|---|---|---|"]
    for name, each in DESCRIPTIONS.items():
        shown = [text.replace(PLACE, "NAME") for text in (name, each.label, each.meaning)]
        lines.append(f"| `{shown[0]}` | {shown[1]} | {each.unit} | {each.better} | {shown[2]} |")
    return "\n".join(lines) + "\n"
