"""The choices of a sample's report, as they stand in a task of the config."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from parafovea.models.spec import PositiveInt, Strict


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
