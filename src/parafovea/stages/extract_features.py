"""Stages extract_features and extract_context: a backbone's features of one view."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.backbones import load_backbone
from parafovea.backbones.views import (
    NO_MARGIN,
    View,
    block_shape,
    log_padding,
    token_blocks,
    token_box,
)
from parafovea.geometry.grid import shape3, vector3
from parafovea.geometry.symmetry import Symmetry, require_fit
from parafovea.models.context_alignment import context_margin
from parafovea.runtime.devices import choose_device
from parafovea.runtime.progress import tracked
from parafovea.settings.recipe import BackboneSpec
from parafovea.storage.blocks import divided
from parafovea.storage.parts import part_record
from parafovea.storage.provenance import record
from parafovea.storage.store import Turned, create, open_stored

logger = logging.getLogger(__name__)


def extract_features(
    volume: Path,
    features: Path,
    *,
    spacing: Sequence[float],
    backbone: BackboneSpec | Mapping[str, Any],
    dimensions: int,
    augmentation: str = "",
    concentric_window: Sequence[int] | None = None,
    block: int | None = None,
    blocks: int = 1,
) -> None:
    """Write a backbone's features of the volume at a given spacing.

    Parameters
    ----------
    volume : Path
        Normalized volume, as `resample_volume` wrote it.
    features : Path
        OME-Zarr to write: (feature, z, y, x) float16 on the token grid.
    spacing : sequence of float
        Voxel size of the view along z, y, x, in the volume's unit: the volume's own for local
        features, coarser for context.
    backbone : mapping
        The backbone and its arguments: the fields of `BackboneSpec`.
    dimensions : {2, 3}
        2 if the backbone must treat z slices independently.
    augmentation : str
        Mirroring or rotation of the backbone's input, such as `flip_x`; empty for none. The token
        grid has the axes of that view.
    concentric_window : sequence of int, optional
        Voxels of a window along z, y, x for concentric context: features then extend beyond the
        volume, mirrored at its border, as far as such windows need.
    block : int or None
        Number of the block to write, from 1: the result is then a part, which `join_features` joins
        with the others. None for the whole.
    blocks : int
        Number of blocks of the features.

    Raises
    ------
    GridError
        If the rotated voxels would not have the size `spacing`.
    ModelError
        If the backbone's weights or arguments are invalid.
    """
    spacing, backbone = vector3(spacing), BackboneSpec.model_validate(backbone)
    window = None if concentric_window is None else shape3(concentric_window)
    source = open_stored(volume)
    if augmentation:
        require_fit(augmentation, spacing, dimensions=dimensions)
        source = Turned.of(source, Symmetry.named(augmentation))
    device = choose_device()
    model = load_backbone(
        backbone,
        spacing=spacing,
        dimensions=dimensions,
        device=str(device),
        bands=source.channels or (),
    )
    view = View(source, source.grid.resampled(spacing))
    log_padding(view.grid, model)
    margin = NO_MARGIN
    if window is not None:
        margin = context_margin(source.grid, spacing, window)
    box_of_tokens = token_box(view, model, margin=margin)
    tokens = view.grid.coarsened(model.stride).crop(box_of_tokens)
    logger.info("%s on %s: tokens %s", backbone.name, device, tokens)
    shard = [max(1, t // s) for t, s in zip(model.tile, model.stride, strict=True)]
    attributes = record(
        "extract_features",
        features={
            "backbone": backbone.model_dump(mode="json"),
            "fingerprint": model.fingerprint,
            "view_spacing": list(spacing),
            **({"augmentation": augmentation} if augmentation else {}),
            "concentric_window": None if window is None else list(window),
            "bytes_per_voxel": round(
                2 * len(model.channels) * math.prod(tokens.shape) / source.grid.size, 3
            ),
        },
        volume=source.attributes,
    )
    shape = block_shape(box_of_tokens, model)
    region = divided(tokens.shape, shape, blocks)[(block or 1) - 1]
    if block is not None:
        attributes |= part_record(region)
    with create(
        features,
        tokens,
        dtype=np.float16,
        channels=model.channels,
        chunk=shape3([math.gcd(n, 16) for n in shard]),
        shard=shard,
        codec="lz4",
        attributes=attributes,
        box=region,
    ) as array:
        own = region.shifted(box_of_tokens.start)
        computed = token_blocks(view, model, device=device, margin=margin, region=own)
        for box, values in tracked(computed, len(list(own.tiles(shape))), "boxes"):
            place = box.relative_to(box_of_tokens.start)
            array[(slice(None), *place.slices)] = values
