"""What each stage stores, before compression: bytes on disk are at most about as many."""

from __future__ import annotations

import json
import math
from pathlib import Path

from parafovea.planning.work import TileWork, View, Work
from parafovea.settings.backbones import Dinov3Arguments, parse_arguments

#: Bytes of an element: volume, features; a sum; a probability, at most; a class and an object id; a
#: voxel of a heatmap as NIfTI; a pixel of a band, refined or as it came.
HALF, SUM, PROBABILITY, LABELS, HEAT, REFLECTANCE = 2, 8, 4, 5, 4, 4

#: Features of a token of the largest published DINOv3, where the weights are not on this machine.
WIDEST = 4096


def stored_bytes(work: Work) -> dict[str, int]:
    """Return the bytes that a sample's stages store, before compression, by stage.

    Parameters
    ----------
    work : Work
        The sample.
    """
    views = work.inference.views
    classes = len(work.recipe.classes)
    predicted = math.prod(work.predicted)
    return {
        "resample_volume": volume_bytes(work),
        "extract_features": views * _tokens(work.local, work),
        "extract_context": 0 if work.wide is None else views * _tokens(work.wide, work),
        "infer_shard": SUM * classes * _summed(work),
        "blend_shards": PROBABILITY * classes * predicted,
        **_results(work, predicted),
    }


def volume_bytes(work: Work) -> int:
    """Return the bytes of the normalized volume, whose bands are stored in full precision."""
    return (REFLECTANCE * len(work.recipe.bands) or HALF) * work.volume.size


def stored_tile_bytes(work: TileWork) -> dict[str, int]:
    """Return the bytes that the tiles of a folder are stored in, by stage.

    Parameters
    ----------
    work : TileWork
        The sample.
    """
    values = REFLECTANCE * len(work.recipe.classes) if work.recipe.kind == "refinement" else 1
    return {"predict_tiles": values * work.pixels}


def _results(work: Work, predicted: int) -> dict[str, int]:
    """Return the bytes of what is made of a prediction: labels, a heatmap in the scan, a mosaic."""
    if work.recipe.kind == "detection":
        return {"detect_nodules": HEAT * work.source.size}
    if work.recipe.kind == "refinement":
        # the overviews add a third
        pixels = work.source.size * len(work.recipe.classes)
        return {"export_mosaic": 4 * REFLECTANCE * pixels // 3}
    return {"segment_objects": LABELS * predicted}


def _tokens(view: View, work: Work) -> int:
    """Return the bytes of a view's features."""
    dimensions = work.recipe.network.dimensions
    arguments = parse_arguments(view.backbone, dimensions=dimensions)
    if isinstance(arguments, Dinov3Arguments):
        channels = _width(arguments)
        step = arguments.plane_step if arguments.planes == "xy" else arguments.stride
        stride = (step, arguments.stride, arguments.stride)
    else:
        channels = len(arguments.channels(dimensions))
        stride = arguments.strides(dimensions)
    return HALF * channels * view.grid.coarsened(stride).size


def _width(arguments: Dinov3Arguments) -> int:
    """Return the features of a transformer's token, of `WIDEST` where they cannot be known."""
    config = Path(arguments.weights) / "config.json"
    try:
        return int(json.loads(config.read_text(encoding="utf-8"))["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return WIDEST


def _summed(work: Work) -> int:
    """Return the voxels of all shards' sums: those near a border are in several."""
    layout = work.layout
    parts = [part for part in layout.shards(work.shards) if part.size]
    return sum(layout.covered(part).size for part in parts)
