"""Metrics of tiles: of each, and of refined ones in comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parafovea.quality.descriptions.description import Description, count, share
from parafovea.quality.tiles.targets import BRIGHT, TARGETS

TILES: Mapping[str, Description] = {
    "tiles.in": count("Tiles given", "tiles", "Tiles in the input folder."),
    "tiles.out": count("Tiles finished", "tiles", "Tiles with a result.", "higher"),
    "tiles.quarantined": count(
        "Tiles quarantined", "tiles", "Invalid tiles, without a result.", "lower"
    ),
    "tiles.month_assumed": count(
        "Tiles with an assumed month", "tiles", "Tiles whose file states no month."
    ),
    "tiles.biome_assumed": count(
        "Tiles with an assumed biome", "tiles", "Tiles whose file states no biome."
    ),
    "tiles.with_truth": count("Tiles with truth", "tiles", "Finished tiles with truth."),
    "tiles.without_truth": count("Tiles without truth", "tiles", "Finished tiles without truth."),
    "tiles.truth_invalid": count(
        "Tiles with an invalid truth",
        "tiles",
        "Tiles whose truth cannot be used; they count as tiles without.",
        "lower",
    ),
    "tiles.clipped": share(
        "Input values clipped",
        "Share of the input values that lie outside of 0 to 1 after their scale is applied.",
        "lower",
    ),
    "pixels": count("Pixels judged", "pixels", "Pixels with a known true class."),
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
    "gain.improved": share(
        "Tiles closer to the truth",
        "Share of the tiles with truth whose result has a smaller RMSE than their input.",
    ),
    "held_back": share(
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


def comparisons() -> Iterator[tuple[str, Description]]:
    """Yield the name and the description of each measure of each comparison."""
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
                    share(
                        f"Tiles that meet the field's target: {words}",
                        "Share of the tiles that meet the target of the field, "
                        f"{TARGETS[measure]}; it is no limit of the workflow.",
                    ),
                )
        yield (
            f"{name}.flat_tiles",
            count(
                f"Flat tiles, {short}",
                "tiles",
                "Tiles without an edge, in which edges cannot be compared.",
            ),
        )


def measure_label(measure: str) -> str:
    """Return the heading of a measure of tiles by itself, such as "PSNR (dB)"."""
    return _MEASURES[measure].heading
