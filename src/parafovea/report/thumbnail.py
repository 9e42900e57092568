"""Small pictures of samples for the page of all samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: Longest side in pixels.
SIDE = 96

_QUALITY = 76

#: Grey of a sample that has nothing to show.
_NOTHING = 0.8


def write_thumbnail(
    picture: np.ndarray[Any, Any] | None, path: Path, *, extent: tuple[float, float] | None = None
) -> None:
    """Write a picture as a small JPEG.

    Parameters
    ----------
    picture : (row, column, 3) float or None
        Red, green and blue in [0, 1]; None for a grey square.
    path : Path
        File to write; equal pictures give equal bytes.
    extent : (float, float), optional
        Height and width in the world; by default, pixels are square.
    """
    if picture is None:
        picture = np.full((SIDE, SIDE, 3), _NOTHING)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    tall, wide = extent or (image.height, image.width)
    scale = SIDE / max(tall, wide)
    size = (max(1, round(wide * scale)), max(1, round(tall * scale)))
    smaller = size[0] < image.width
    kind = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
    image.resize(size, kind).save(path, format="JPEG", quality=_QUALITY, optimize=True)
