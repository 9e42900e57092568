"""Stage join_features: one array of features from the blocks that `extract_features` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parafovea.storage.parts import join_parts


def join_features(parts: Sequence[Path], features: Path) -> None:
    """Join the blocks of features of one view without copying them.

    Parameters
    ----------
    parts : sequence of Path
        All blocks of the features.
    features : Path
        OME-Zarr to write: see `extract_features`.

    Raises
    ------
    StoreError
        If a part is missing, damaged, or made with other settings.
    """
    join_parts(parts, features)
