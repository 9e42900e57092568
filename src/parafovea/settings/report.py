"""The choices of a sample's report, as they stand in a task of the config."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from parafovea.settings.recipe import PositiveInt, Strict

#: Colours from cold to hot. No matplotlib here: the workflow reads this whenever it plans.
COLORMAPS = ("hot", "inferno", "magma", "plasma", "viridis", "cividis", "jet", "turbo", "afmhot")


class ReportSettings(Strict):
    """How much of a sample is drawn, and how."""

    slices: PositiveInt = Field(
        3, description="XY planes shown, evenly spaced over the depth; one XZ plane is added."
    )
    overlay_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        0.45, description="Opacity of the class colours over the image, 0 to 1."
    )
    max_pixels: Annotated[int, Field(ge=16)] = Field(
        900, description="Longest side of a drawn plane; larger planes are averaged down to it."
    )


class TileReportSettings(Strict):
    """How much of a folder of tiles is drawn."""

    tiles: PositiveInt = Field(6, description="Tiles shown in pictures, the worst ones first.")
    sampled: PositiveInt = Field(
        1000,
        description="Most tiles whose pixels are counted in the NDVI figure, evenly spaced over "
        "the folder.",
    )


class VisualizationSettings(Strict):
    """Which pictures of detections are drawn, and how."""

    num_slices: PositiveInt = Field(
        5, description="Most axial slices shown, through the most confident detections."
    )
    colormap: str = Field(
        "hot", description="Colours of the heatmap: one of Matplotlib's sequential maps."
    )
    overlay_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Opacity of the heatmap over the scan where it is 1."
    )

    @field_validator("colormap")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in COLORMAPS:
            raise ValueError(f"colormap {value!r} is not known: use one of {', '.join(COLORMAPS)}")
        return value
