"""Stage resample_volume: resamples the source to the model's local grid and normalizes it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import vector3
from parafovea.preprocess.body_masks import BodyMasks, label_images, volume_body
from parafovea.preprocess.coarse_view import StreamedView, coarse_view
from parafovea.preprocess.hounsfield import check_hounsfield as require_hounsfield
from parafovea.preprocess.model_input import ModelInput, naming_channel
from parafovea.preprocess.normalization import NonFinite, is_spread, percentiles_of, value_map
from parafovea.preprocess.source_statistics import SourceScan, Statistics, load_counts, scan
from parafovea.runtime.progress import tracked
from parafovea.settings.recipe import Normalization
from parafovea.storage.blocks import SCANNED_VOXELS, VOLUME_SHARD, divided
from parafovea.storage.class_colours import shown_channels, shown_volume
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
    channels: Sequence[str] = (),
    check_hounsfield: bool = False,
    find_body: bool = False,
    block: int | None = None,
    blocks: int = 1,
) -> None:
    """Write the source on the model's grid: anti-aliased down, linear up, normalized globally.

    Parameters
    ----------
    volume : Path
        OME-Zarr to write: ([channel,] z, y, x), in [0, 1] if the normalization clips; float32 if
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
        Names of the bands that are read from an image; empty for a volume.
    channels : sequence of str
        Names of the channels of a volume, each of which is normalized by its own voxels; empty for
        one unnamed channel.
    check_hounsfield : bool
        Whether to check that the source is a CT in Hounsfield units, so that a wrong file fails
        here in seconds instead of after inference; of several channels the first.
    find_body : bool
        Whether to find body and lungs of a CT, the first channel, and store them within the volume;
        see `body_masks`. Of a part, `join_volume` finds them.
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
        If body and lungs are to be found and no voxel is denser than air, or voxels cannot be
        normalized; names the channel.
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
            channels=channels,
            is_ct=check_hounsfield,
        )
        logger.info("%s: %s", source, opened.grid)
        view = _streamed(opened) if find_body and block is None else None
        statistics = _statistics(opened, normalization, scans, view)
        values = []
        for (name, _), found_values in zip(opened.by_channel, statistics, strict=True):
            with naming_channel(name):
                values.append(value_map(found_values, normalization, nonfinite=nonfinite))
                values[-1].check_half(found_values)
        if check_hounsfield:
            require_hounsfield(opened.source.path, statistics[0])
        masks = None
        if find_body and block is None:
            found = coarse_view(opened.source.read, opened.grid) if view is None else view.view
            masks = BodyMasks.of(found, affine=opened.source.affine)
        target = opened.target
        for (name, _), each in zip(opened.by_channel, values, strict=True):
            found_in = f" of {name}" if name else ""
            logger.info("to %s; %g%s becomes 0, %g 1", target, each.low, found_in, each.high)
        maps = [
            {"zero": each.low, "one": each.high, "replaced_voxels": seen.nonfinite}
            for each, seen in zip(values, statistics, strict=True)
        ]
        named = [
            {"name": name, **facts}
            for (name, _), facts in zip(opened.by_channel, maps, strict=True)
        ]
        attributes = record(
            "resample_volume",
            source=opened.record(statistics),
            normalization={
                **normalization.model_dump(),
                **maps[0],
                "replaced_voxels": sum(found_values.nonfinite for found_values in statistics),
                **({"channels": named} if channels else {}),
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
            channels=opened.names or None,
            shard=VOLUME_SHARD,
            attributes=attributes,
            label_images=labels,
            levels="mean",
            shown=shown_volume(channels) if channels else shown_channels(opened.source.bands),
            box=region,
        ) as array:
            boxes = list(region.tiles(VOLUME_SHARD))
            for box in tracked(boxes, len(boxes), "boxes"):
                array[(..., *box.slices)] = opened.normalized(box, values)
            if masks is not None:
                made = Stored(array, target, opened.names or None, attributes)
                labels |= label_images(masks, volume_body(made))
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
) -> list[Statistics]:
    """Return the statistics of each channel: those of its scan, or of reading it now."""
    percentiles, spread = percentiles_of(normalization), is_spread(normalization)
    count = len(opened.source.bands)
    earlier = [load_counts(path) for path in scans]
    found = []
    for number, (name, source) in enumerate(opened.by_channel):
        dtype = np.dtype(source.array.dtype)
        with naming_channel(name):
            if scans:
                passes = SourceScan(
                    dtype,
                    opened.grid.shape,
                    bands=count,
                    percentiles=percentiles,
                    spread=spread,
                )
                for tables in earlier:
                    if not passes.is_complete:
                        passes.keep(tables[number])
                found.append(passes.statistics())
                continue
            found.append(
                scan(
                    source.read,
                    opened.grid,
                    dtype,
                    bands=count,
                    # of several channels, the first shows the body
                    seen=None if view is None or number else view.add,
                    percentiles=percentiles,
                    spread=spread,
                )
            )
    if not scans:
        opened.check()
    return found
