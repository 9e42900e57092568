"""Description of a source: its place, and what of it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import ValidationInfo, field_validator, model_validator

from parafovea.formats.metadata.length_units import known_unit
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.metadata.values import (
    FlagValue,
    IntegerValue,
    Ranges,
    RangesValue,
    TextValue,
    Values,
    VectorValue,
    WholeValue,
)
from parafovea.geometry.grid import METRES, Vector, checked_spacing
from parafovea.settings.quantities import Range


class SourceMetadata(Values):
    """User metadata of one source; overrides the file.

    Parameters
    ----------
    spacing : tuple of float, optional
        Distance between voxel centres along z, y, x, in `unit`; for a pyramid, of its finest level.
    unit : str, optional
        Unit of `spacing` and `origin`, in any spelling accepted by `known_unit`.
    origin : tuple of float, optional
        World position of the centre of voxel (0, 0, 0), in `unit`.
    channel : int, optional
        Index of the channel to read, from 0, if the source has several.
    region : three pairs of int, optional
        The part of the source that is the sample, from one voxel up to another along z, y, x; of a
        pyramid, voxels of its finest level. A truth is cut alike, by its place.
    roi : three pairs of float, optional
        The same by positions in the world of the source, in its unit, or in `unit`.
    objects : str, optional
        Meaning of the values of a truth volume; used by the stages that compare with it.
    series : str, optional
        SeriesInstanceUID to select if a DICOM source holds several series; for other formats, the
        name of the scan in tables of findings.
    month : int, optional
        Month of acquisition of a mosaic or of a folder's tiles, 1 to 12; overrides their metadata.
    biome : int, optional
        Biome code of a mosaic or of a folder's tiles, 0 to 15; overrides their metadata.
    truth_spacing, truth_unit, truth_origin, truth_channel, truth_series
        The same for the sample's truth and its objects.
    objects_channel : int, optional
        Channel of the objects, if not that of the truth.
    truth_complete : bool, optional
        Whether the missing chunks of a truth are known to be empty.
    truth_ignore : int, optional
        Value of unlabelled voxels in the truth, which are excluded.
    truth_background : int, optional
        Background value of the truth, if not 0.
    tiles : TileOptions
        Conversion of the numbers in tiles and mosaics to reflectance.

    Raises
    ------
    ConfigError
        If a value is invalid.
    """

    spacing: VectorValue = None
    unit: TextValue = None
    origin: VectorValue = None
    channel: WholeValue = None
    region: RangesValue = None
    roi: RangesValue = None
    objects: TextValue = None
    series: TextValue = None
    month: WholeValue = None
    biome: WholeValue = None
    truth_spacing: VectorValue = None
    truth_unit: TextValue = None
    truth_origin: VectorValue = None
    truth_channel: WholeValue = None
    truth_series: TextValue = None
    objects_channel: WholeValue = None
    truth_complete: FlagValue = None
    truth_ignore: IntegerValue = None
    truth_background: IntegerValue = None
    tiles: TileOptions = TileOptions()

    @field_validator("spacing", "truth_spacing")
    @classmethod
    def _check_spacing(cls, spacing: Vector | None) -> Vector | None:
        if spacing is not None and any(not 0 < s < math.inf for s in spacing):
            raise ValueError(
                f"spacing {spacing} must be positive and finite along z, y, x: "
                "for example spacing=50,4.6,4.6"
            )
        return None if spacing is None else checked_spacing(spacing)

    @field_validator("unit", "truth_unit")
    @classmethod
    def _check_unit(cls, unit: str | None) -> str | None:
        if unit is None:
            return None
        known = known_unit(unit)
        if known is None:
            raise ValueError(f"unit {unit!r} is not known: use one of {', '.join(METRES)}")
        return known

    @field_validator("origin", "truth_origin")
    @classmethod
    def _check_origin(cls, origin: Vector | None) -> Vector | None:
        if origin is not None and not all(math.isfinite(o) for o in origin):
            raise ValueError(
                f"origin {origin} must be finite along z, y, x: for example origin=0,0,0"
            )
        return origin

    @field_validator("channel", "truth_channel", "objects_channel")
    @classmethod
    def _check_channel(cls, channel: int | None, info: ValidationInfo) -> int | None:
        if channel is not None and channel < 0:
            key = info.field_name
            raise ValueError(f"{key} {channel} must be 0 or more: the first channel is 0")
        return channel

    @field_validator("month", "biome")
    @classmethod
    def _check_code(cls, number: int | None, info: ValidationInfo) -> int | None:
        low, high = (1, 12) if info.field_name == "month" else (0, 15)
        if number is not None and not low <= number <= high:
            raise ValueError(f"{info.field_name} {number} must lie in {low} to {high}")
        return number

    @field_validator("region")
    @classmethod
    def _check_region(cls, region: Ranges | None) -> Ranges | None:
        ends = [end for part in region or () for end in part if end is not None]
        if any(end < 0 or end != int(end) for end in ends):
            raise ValueError(
                "region counts voxels, from 0 on: for example region=0:64,128:256,128:256; "
                "positions in the world are roi="
            )
        return region

    @model_validator(mode="after")
    def _check_one_part(self) -> SourceMetadata:
        if self.region is not None and self.roi is not None:
            raise ValueError("region and roi are both given: keep one")
        return self

    def for_input(self, ranges: Mapping[str, Range] | None) -> SourceMetadata:
        """Return the same words for a model, which states what 0 and 1 of its input are.

        Parameters
        ----------
        ranges : mapping, optional
            Decibels or metres by band, for bands that are no reflectance.
        """
        if not ranges:
            return self
        limits = {band: (float(low), float(high)) for band, (low, high) in ranges.items()}
        return self.model_copy(update={"tiles": self.tiles.model_copy(update={"ranges": limits})})

    @property
    def uncut(self) -> SourceMetadata:
        """The same words for the whole source."""
        if self.region is None and self.roi is None:
            return self
        return self.model_copy(update={"region": None, "roi": None})
