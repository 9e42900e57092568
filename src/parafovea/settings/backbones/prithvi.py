"""Published encoders of Prithvi-EO, and arguments of the backbone `prithvi`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from parafovea.settings.backbones.image_encoder import EncoderArguments, EncoderVariant


@dataclass(frozen=True)
class PrithviVariant(EncoderVariant):
    """One of the published encoders of Prithvi-EO.

    Attributes
    ----------
    coordinates : bool
        Whether it knows date and place.
    first : bool
        Whether it is of version 1, with statistics of its own.
    """

    coordinates: bool = False
    first: bool = False


#: The published variants, by name.
PRITHVI = {
    "v1_100": PrithviVariant(768, 12, 12, first=True),
    "v2_tiny_tl": PrithviVariant(192, 12, 3, coordinates=True),
    "v2_100_tl": PrithviVariant(768, 12, 12, coordinates=True),
    "v2_300": PrithviVariant(1024, 24, 16),
    "v2_300_tl": PrithviVariant(1024, 24, 16, coordinates=True),
    "v2_600": PrithviVariant(1280, 32, 16, patch=14),
    "v2_600_tl": PrithviVariant(1280, 32, 16, patch=14, coordinates=True),
}

#: Sentinel-2's names of the bands of Prithvi-EO, in its order.
PRITHVI_BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")

Year = Annotated[int, Field(ge=1900, le=2200)]
Day = Annotated[int, Field(ge=1, le=366)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]


class PrithviArguments(EncoderArguments):
    """Arguments of `prithvi`: tokens of a Prithvi-EO encoder for images with bands."""

    variant: Literal[
        "v1_100", "v2_tiny_tl", "v2_100_tl", "v2_300", "v2_300_tl", "v2_600", "v2_600_tl"
    ] = Field(description="Which of the published encoders.")
    date: tuple[Year, Day] | None = Field(
        None, description="Year and day of the year, for variants that end in tl."
    )
    place: tuple[Latitude, Longitude] | None = Field(
        None, description="Latitude and longitude, for variants that end in tl."
    )
    place_order: Literal["latitude_longitude", "longitude_latitude"] = Field(
        "latitude_longitude",
        description="Order in which the encoder is given the place: its own, or that of scripts in "
        "use.",
    )

    @property
    def architecture(self) -> PrithviVariant:
        """The variant."""
        return PRITHVI[self.variant]

    @model_validator(mode="after")
    def _knows_coordinates(self) -> Self:
        given = [n for n in ("date", "place") if getattr(self, n) is not None]
        if given and not self.architecture.coordinates:
            known = ", ".join(name for name, each in PRITHVI.items() if each.coordinates)
            raise ValueError(
                f"{' and '.join(given)} cannot be given to {self.variant}, which knows neither: "
                f"use {known}, or remove them"
            )
        return self
