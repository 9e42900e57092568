"""Published encoders of TerraMind, and arguments of the backbone `terramind`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from parafovea.settings.backbones.image_encoder import EncoderArguments, EncoderVariant
from parafovea.settings.quantities import QUANTITIES, Range, check_range

#: The published sizes of TerraMind, by name.
TERRAMIND = {
    "tiny": EncoderVariant(192, 12, 3),
    "small": EncoderVariant(384, 12, 6),
    "base": EncoderVariant(768, 12, 12),
    "large": EncoderVariant(1024, 24, 16),
}

#: Bands of each modality of TerraMind, in its order.
TERRAMIND_BANDS = {
    "S2L2A": (
        *("B01", "B02", "B03", "B04", "B05", "B06"),
        *("B07", "B08", "B8A", "B09", "B11", "B12"),
    ),
    "S2L1C": (
        *("B01", "B02", "B03", "B04", "B05", "B06", "B07"),
        *("B08", "B8A", "B09", "B10", "B11", "B12"),
    ),
    "RGB": ("B04", "B03", "B02"),
    "S1GRD": ("VV", "VH"),
    "S1RTC": ("VV", "VH"),
    "DEM": ("DEM",),
}

#: Modalities of the same bands, which the names of bands do not tell apart.
TERRAMIND_ALIKE = (("S2L2A", "S2L1C"), ("S1GRD", "S1RTC"))

Modality = Literal["S2L2A", "S2L1C", "RGB", "S1GRD", "S1RTC", "DEM"]


class TerramindArguments(EncoderArguments):
    """Arguments of `terramind`: tokens of a TerraMind encoder for images of one or more sensors."""

    size: Literal["tiny", "small", "base", "large"] = Field(
        description="Which of the published encoders."
    )
    modalities: tuple[Modality, ...] = Field(
        min_length=1,
        description="What the bands are of; tokens of several are averaged at each place.",
    )
    ranges: dict[str, Range] = Field(
        default_factory=dict,
        description="What 0 and 1 of the input are, by band: decibels of VV and VH, metres of DEM. "
        "Sources are converted to it.",
    )
    white: float | None = Field(
        None, gt=0, le=10, description="For RGB: the reflectance that is 255 in its images."
    )

    @property
    def architecture(self) -> EncoderVariant:
        """The size."""
        return TERRAMIND[self.size]

    @property
    def images(self) -> int:
        """One a modality."""
        return len(self.modalities)

    @model_validator(mode="after")
    def _stated(self) -> Self:
        named = self.modalities
        if len(set(named)) != len(named):
            raise ValueError(f"modalities {', '.join(named)} must be unique")
        for pair in TERRAMIND_ALIKE:
            if set(pair) <= set(named):
                raise ValueError(
                    f"modalities {' and '.join(pair)} have the same bands, which cannot be of "
                    "both: keep the one that the images are of"
                )
        measured = {band for name in named for band in TERRAMIND_BANDS[name] if band in QUANTITIES}
        other = sorted(set(self.ranges) - measured)
        if other:
            raise ValueError(
                f"ranges of {', '.join(other)}, but modalities {', '.join(named)} have "
                f"{'no such band' if measured else 'reflectances alone'}: remove them"
            )
        for name in named:
            missing = [b for b in TERRAMIND_BANDS[name] if b in QUANTITIES and b not in self.ranges]
            if missing:
                band = missing[0]
                raise ValueError(
                    f"modality {name} needs ranges of {', '.join(missing)}: the "
                    f"{QUANTITIES[band].unit} that are 0 and 1 in the input of the model, such as "
                    f"{{{band}: {list(QUANTITIES[band].example)}}}"
                )
        for band, limits in self.ranges.items():
            check_range(band, limits)
        if ("RGB" in named) != (self.white is not None):
            raise ValueError(
                "white is for modality RGB alone: remove it"
                if self.white is not None
                else "modality RGB needs white, the reflectance that is 255 in its images"
            )
        return self
