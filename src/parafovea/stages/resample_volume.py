"""Stage resample_volume: resamples the source to the model's local grid and normalizes it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import vector3
from parafovea.preprocess.body_masks import BodyMasks, label_images, volume_body
from parafovea.preprocess.coarse_view import StreamedView, coarse_view
from parafovea.preprocess.hounsfield import check_hounsfield as require_hounsfield
from parafovea.preprocess.model_input import ModelInput
from parafovea.preprocess.normalization import NonFinite, percentiles_of, value_map
from parafovea.preprocess.source_statistics import Counts, SourceScan, Statistics, scan
from parafovea.runtime.progress import tracked
from parafovea.settings.quantities import Range
from parafovea.settings.recipe import Normalization
from parafovea.storage.blocks import SCANNED_VOXELS, VOLUME_SHARD, divided
from parafovea.storage.class_colours import shown_channels
from parafovea.storage.parts import part_record
from parafovea.storage.provenance import record
from parafovea.storage.store import LabelImage, Stored, create

logger = logging.getLogger(__name__)


def resample_volume(
    volume: Path,
    *,
    scans: Sequence[Path] = (),
    source: str,
    metadata: str = "",
    folder: Path = Path(),
    spacing: Sequence[float],
    unit: str,
    normalization: Normalization | Mapping[str, Any],
    nonfinite: NonFinite = "error",
    bands: Sequence[str] = (),
    ranges: Mapping[str, Range] | None = None,
    check_hounsfield: bool = False,
    find_body: bool = False,
    block: int | None = None,
    blocks: int = 1,
) -> None:
    """Write the source on the model's grid: anti-aliased down, linear up, normalized globally.

    Parameters
    ----------
    volume : Path
        OME-Zarr to write: ([band,] z, y, x), in [0, 1] if the normalization clips; float32 if
        there are bands, since reflectance has steps of 1e-4, otherwise float16.
    scans : sequence of Path
        Counts of each pass over the source, as `merge_scan` wrote them; without any, the source
        is scanned here.
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
    ranges : mapping, optional
        What 0 and 1 of the model's input are, for bands that are no reflectance.
    check_hounsfield : bool
        Whether to check that the source is a CT in Hounsfield units, so that a wrong file fails
        here in seconds instead of after inference.
    find_body : bool
        Whether to find body and lungs of a CT and store them within the volume; see `body_masks`.
        Of a part, `join_volume` finds them.
    block : int or None
        Number of the block to write, from 1: the result is then a part, which `join_volume` joins
        with the others. None for the whole.
    blocks : int
        Number of blocks of the volume.

    Raises
    ------
    SourceError
        If the source cannot be read or is invalid, or is not a CT although required.
    VoxelError
        If body and lungs are to be found and no voxel is denser than air.
    """
    normalization = Normalization.model_validate(normalization)
    with unchanged(source, bands=bool(bands)) as check:
        opened = ModelInput.open(
            source,
            metadata=metadata,
            folder=folder,
            spacing=vector3(spacing),
            unit=unit,
            bands=bands,
            ranges=ranges,
            is_ct=check_hounsfield,
        )
        logger.info("%s: %s", source, opened.grid)
        view = _streamed(opened) if find_body and block is None else None
        statistics = _statistics(opened, normalization, scans, view)
        values = value_map(statistics, normalization, nonfinite=nonfinite)
        values.check_half(statistics)
        if check_hounsfield:
            require_hounsfield(source, statistics)
        masks = None
        if find_body and block is None:
            found = coarse_view(opened.source.read, opened.grid) if view is None else view.view
            masks = BodyMasks.of(found, affine=opened.source.affine)
        target = opened.target
        logger.info("to %s; %g becomes 0 and %g becomes 1", target, values.low, values.high)
        attributes = record(
            "resample_volume",
            source=opened.record(statistics),
            normalization={
                **normalization.model_dump(),
                "zero": values.low,
                "one": values.high,
                "replaced_voxels": statistics.nonfinite,
            },
            **opened.conditions(),
        )
        region = divided(target.shape, VOLUME_SHARD, blocks)[(block or 1) - 1]
        if block is not None:
            attributes |= part_record(region)
        labels: dict[str, LabelImage] = {}
        with create(
            volume,
            target,
            dtype=opened.stored,
            channels=opened.source.bands or None,
            shard=VOLUME_SHARD,
            attributes=attributes,
            label_images=labels,
            levels="mean",
            shown=shown_channels(opened.source.bands) if opened.source.bands else (),
            box=region,
        ) as array:
            boxes = list(region.tiles(VOLUME_SHARD))
            for box in tracked(boxes, len(boxes), "boxes"):
                array[(..., *box.slices)] = opened.normalized(box, values)
            if masks is not None:
                labels |= label_images(masks, volume_body(Stored(array, target, None, attributes)))
            check()


def _streamed(opened: ModelInput) -> StreamedView | None:
    """Return a coarse view to build while a scan is read, None if it is not read in planes."""
    is_planes = math.prod(opened.grid.shape[1:]) <= SCANNED_VOXELS
    return StreamedView(opened.grid) if is_planes else None


def _statistics(
    opened: ModelInput,
    normalization: Normalization,
    scans: Sequence[Path],
    view: StreamedView | None,
) -> Statistics:
    """Return the statistics of the source: those of its scan, or of reading it now."""
    percentiles, count = percentiles_of(normalization), len(opened.source.bands)
    if scans:
        passes = SourceScan(opened.dtype, opened.grid.shape, bands=count, percentiles=percentiles)
        for path in scans:
            if not passes.is_complete:
                passes.keep(Counts.load(path))
        return passes.statistics()
    found = scan(
        opened.source.read,
        opened.grid,
        opened.dtype,
        bands=count,
        seen=None if view is None else view.add,
        percentiles=percentiles,
    )
    if opened.source.check is not None:
        opened.source.check()
    return found
