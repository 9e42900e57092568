"""Stage resample_volume: resamples the source to the model's local grid and normalizes it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.formats.metadata import SourceMetadata, parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.recorded_place import place_of
from parafovea.formats.source import Source
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Box, vector3
from parafovea.geometry.resample import resample_box
from parafovea.geometry.scale import check_scale
from parafovea.preprocess.body_masks import BodyMasks, label_images, volume_body
from parafovea.preprocess.coarse_view import StreamedView
from parafovea.preprocess.hounsfield import check_hounsfield as require_hounsfield
from parafovea.preprocess.normalization import (
    NonFinite,
    is_wide,
    percentiles_of,
    scan,
    value_map,
)
from parafovea.runtime.progress import tracked
from parafovea.settings.recipe import Normalization
from parafovea.storage.blocks import VOLUME_SHARD
from parafovea.storage.provenance import record
from parafovea.storage.store import LabelImage, Stored, create

logger = logging.getLogger(__name__)


def resample_volume(
    volume: Path,
    *,
    source: str,
    metadata: str = "",
    folder: Path = Path(),
    spacing: Sequence[float],
    unit: str,
    normalization: Normalization | Mapping[str, Any],
    nonfinite: NonFinite = "error",
    bands: Sequence[str] = (),
    check_hounsfield: bool = False,
    find_body: bool = False,
) -> None:
    """Write the source on the model's grid: anti-aliased down, linear up, normalized globally.

    Parameters
    ----------
    volume : Path
        OME-Zarr to write: ([band,] z, y, x), in [0, 1] if the normalization clips; float32 if
        there are bands, since reflectance has steps of 1e-4, otherwise float16.
    source : str
        Location of the source, as in the sample sheet.
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Base folder of relative sidecar paths.
    spacing : sequence of float
        Voxel size of the model's local view along z, y, x.
    unit : str
        Unit of `spacing`.
    normalization : mapping
        Fields of the model's `Normalization`.
    nonfinite : "error" or float
        Error for NaN and infinite voxels, or the source value to replace them by.
    bands : sequence of str
        Names of the model's input channels; empty for a single-channel volume.
    check_hounsfield : bool
        Whether to check that the source is a CT in Hounsfield units, so that a wrong file fails
        here in seconds instead of after inference.
    find_body : bool
        Whether to find body and lungs of a CT and store them within the volume; see `body_masks`.

    Raises
    ------
    SourceError
        If the source cannot be read or is invalid, or is not a CT although required.
    VoxelError
        If body and lungs are to be found and no voxel is denser than air.
    """
    spacing, normalization = vector3(spacing), Normalization.model_validate(normalization)
    said = parse_metadata(metadata, folder=folder)
    with unchanged(source, bands=bool(bands)) as check:
        opened = open_source(
            source,
            metadata=said,
            finer_than=spacing,
            unit=unit,
            bands=tuple(bands),
        )
        check_scale(
            source,
            opened.grid,
            spacing=spacing,
            unit=unit,
            scan=check_hounsfield,
            image=bool(bands),
        )
        grid = opened.grid.converted(unit)
        logger.info("%s: %s", source, grid)
        dtype = np.dtype(opened.array.dtype)
        view = StreamedView(grid) if find_body else None
        statistics = scan(
            opened.read,
            grid,
            dtype,
            bands=len(opened.bands),
            seen=None if view is None else view.add,
            percentiles=percentiles_of(normalization),
        )
        if opened.check is not None:
            opened.check()
        values = value_map(statistics, normalization, nonfinite=nonfinite)
        values.check_half(statistics)
        if check_hounsfield:
            require_hounsfield(source, statistics)
        masks = None if view is None else BodyMasks.of(view.view, affine=opened.affine)
        target = grid.resampled(spacing)
        logger.info("to %s; %g becomes 0 and %g becomes 1", target, values.low, values.high)
        attributes = record(
            "resample_volume",
            source={
                "path": source,
                "series": opened.series,
                "sha256": statistics.sha256,
                "dtype": str(dtype),
                **place_of(opened, SourceMetadata() if bands else said),
                **({"planes": list(opened.planes)} if opened.planes else {}),
                **_positions(opened),
            },
            normalization={
                **normalization.model_dump(),
                "zero": values.low,
                "one": values.high,
                "replaced_voxels": statistics.nonfinite,
            },
            **_conditions(opened),
        )

        # The offset is subtracted before conversion to float32, in which voxels are resampled.
        wide = is_wide(dtype)
        normalized_of = values.of_shifted if wide else values

        def read(box: Box) -> np.ndarray:
            found = values.finite(opened.read(box))
            return values.above_low(found) if wide else found

        stored = np.float32 if opened.bands else np.float16
        labels: dict[str, LabelImage] = {}
        with create(
            volume,
            target,
            dtype=stored,
            channels=opened.bands or None,
            shard=VOLUME_SHARD,
            attributes=attributes,
            label_images=labels,
            levels="mean",
        ) as array:
            boxes = list(target.box.tiles(VOLUME_SHARD))
            for box in tracked(boxes, len(boxes), "blocks"):
                block = normalized_of(resample_box(read, grid, target, box)).astype(stored)
                array[(slice(None), *box.slices) if opened.bands else box.slices] = block
            if masks is not None:
                normalized = Stored(array, target, None, attributes)
                labels |= label_images(masks, volume_body(normalized))
            check()


def _positions(source: Source) -> dict[str, Any]:
    """Return the record of the position of each plane, if any is known."""
    if not any(source.positions):
        return {}
    found = [None if each is None else asdict(each) for each in source.positions]
    return {"positions": found}


def _conditions(source: Source) -> dict[str, Any]:
    """Return the record of the known conditions of each plane, if the source states them."""
    if source.conditions is None:
        return {}
    return {"conditions": {name: list(values) for name, values in source.conditions.items()}}
