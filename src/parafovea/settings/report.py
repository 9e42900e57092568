"""Report settings of a task."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from parafovea.settings.field_types import PositiveInt, Strict

#: Sequential colormaps. Without matplotlib, since the workflow imports this module to plan jobs.
COLORMAPS = ("hot", "inferno", "magma", "plasma", "viridis", "cividis", "jet", "turbo", "afmhot")


class ReportSettings(Strict):
    """Figures of a sample's report."""

    slices: PositiveInt = Field(
        3, description="Number of XY planes, evenly spaced in depth; one XZ plane is added."
    )
    overlay_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        0.45, description="Opacity of the class colours over the image, 0 to 1."
    )
    max_pixels: Annotated[int, Field(ge=16)] = Field(
        900, description="Longest side of a plane in pixels; larger planes are downsampled."
    )


class TileReportSettings(Strict):
    """Figures of the report of a folder of tiles."""

    tiles: PositiveInt = Field(6, description="Number of tiles shown, the worst ones first.")
    sampled: PositiveInt = Field(
        1000,
        description="Maximum number of tiles in the NDVI figure, evenly spaced over the folder.",
    )


class VisualizationSettings(Strict):
    """Figures of detections."""

    num_slices: PositiveInt = Field(
        5, description="Maximum number of axial slices, through the most confident detections."
    )
    colormap: str = Field(
        "hot", description="Colormap of the heatmap: one of Matplotlib's sequential colormaps."
    )
    overlay_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Opacity of the heatmap over the scan where it is 1."
    )

    @field_validator("colormap")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in COLORMAPS:
            raise ValueError(f"unknown colormap {value!r}: use one of {', '.join(COLORMAPS)}")
        return value


class CohortReportSettings(Strict):
    """The report of all samples."""

    embed: bool = Field(
        False,
        description="Put the pages of all samples into the report of all samples, as one file to "
        "pass on; otherwise it links to them. It is as large as all pages together.",
    )
