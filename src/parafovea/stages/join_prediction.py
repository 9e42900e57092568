"""Stage join_prediction: one prediction from the blocks that `blend_shards` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.inference.blended_shards import ShardFacts, blended, once
from parafovea.storage.parts import join_parts
from parafovea.storage.store import open_stored


def join_prediction(parts: Sequence[Path], prediction: Path) -> None:
    """Join the blocks of a prediction without copying them.

    Parameters
    ----------
    parts : sequence of Path
        All blocks of the prediction.
    prediction : Path
        OME-Zarr to write: see `blend_shards`.

    Raises
    ------
    StoreError
        If a part is missing, damaged or made with other settings, or windows are missing.
    """
    blending = open_stored(parts[0]).attributes["blending"]

    def described(facts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        shards = once(ShardFacts.from_dict(each) for part in facts for each in part["shards"])
        return blended(blending, shards, min(part["least"] for part in facts))

    join_parts(parts, prediction, described=described)
