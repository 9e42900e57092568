"""A folder with one file per band, read like one image with all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Interleaving
from rasterio.windows import Window

from parafovea.errors import SourceError
from parafovea.formats.bands import described, is_named


class BandFiles:
    """Open datasets of one band each, with the interface of one rasterio dataset.

    Bands of another size or position than the finest ones (those of 20 and 60 m beside those of
    10 m) are listed, but cannot be read.

    Parameters
    ----------
    folder : str
        Path of the folder.
    files : mapping of str to Path
        File of each band, by the name of the band.
    open_file : callable
        Returns the open rasterio dataset of a file.

    Raises
    ------
    SourceError
        If a file cannot be opened, has several bands, or names another band than its file name.
    """

    driver = "bands"
    interleaving = Interleaving.band
    subdatasets: tuple[str, ...] = ()

    def __init__(
        self, folder: str, files: Mapping[str, Path], open_file: Callable[[str], Any]
    ) -> None:
        self.name = folder
        self.descriptions = tuple(files)
        self._parts: list[Any] = []
        try:
            for band, path in files.items():
                self._parts.append(open_file(str(path)))
                _check_one_band(path, band, self._parts[-1])
        except BaseException:
            self.close()
            raise
        self._finest = max(self._parts, key=lambda part: part.width * part.height)
        for name in ("width", "height", "crs", "transform", "gcps", "rpcs"):
            setattr(self, name, getattr(self._finest, name))

    def __getattr__(self, name: str) -> tuple[Any, ...]:
        """Return an attribute that rasterio states for each band, as a tuple over bands."""
        if name not in _OF_BANDS:
            raise AttributeError(name)
        return tuple(getattr(part, name)[0] for part in self._parts)

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self._parts)

    def close(self) -> None:
        """Close all files."""
        for part in self._parts:
            part.close()

    def tags(self, ns: str | None = None) -> dict[str, str]:
        """Return no tags, since those of the files need not agree."""
        return {}

    def require_same_pixels(self, bands: Sequence[int]) -> None:
        """Raise `SourceError` if bands, by index from 0, have other pixels than the finest ones."""
        best = self._finest
        for index in bands:
            part = self._parts[index]
            same_size = (part.height, part.width) == (best.height, best.width)
            apart = np.abs(np.subtract(part.transform, best.transform))[:6]
            side = abs(best.transform.a)
            if same_size and part.crs == best.crs and apart.max() <= side * _APART:
                continue
            one, other = (
                f"{each.height} x {each.width} pixels (y, x) of {abs(each.transform.a):g} from "
                f"{each.transform.c:.10g}, {each.transform.f:.10g}"
                for each in (part, best)
            )
            raise SourceError(
                f"{part.name} has {one}, but {Path(best.name).name} has {other}: resample it to "
                f"the same pixels, for example with gdalwarp -tr {side:g} {side:g} -r bilinear"
            )

    def read(self, bands: Sequence[int] | int, window: Window | None = None) -> NDArray[Any]:
        """Return bands, by index from 1: (band, y, x), or (y, x) of a single one."""
        if isinstance(bands, int):
            found: NDArray[Any] = self._parts[bands - 1].read(1, window=window)
            return found
        self.require_same_pixels([band - 1 for band in bands])
        return np.stack([self._parts[band - 1].read(1, window=window) for band in bands])

    def read_masks(self, band: int, window: Window | None = None) -> NDArray[Any]:
        """Return the mask of a band, by index from 1."""
        found: NDArray[Any] = self._parts[band - 1].read_masks(1, window=window)
        return found

    def part(self, band: int) -> Any:
        """Return the dataset of a band, by index from 0."""
        return self._parts[band]


#: Attributes of rasterio datasets that have a value for each band.
_OF_BANDS = frozenset(
    (
        *("nodatavals", "scales", "offsets", "colorinterp", "mask_flag_enums"),
        *("dtypes", "block_shapes", "units"),
    )
)

#: Tolerated difference between the positions of bands, in pixels.
_APART = 1e-3


def _check_one_band(path: Path, band: str, dataset: Any) -> None:
    if dataset.count != 1:
        raise SourceError(
            f"{path} has {dataset.count} bands, but its name is that of one, {band}, in a folder "
            "with a file for each: rename it if it is a tile of its own"
        )
    text = dataset.descriptions[0]
    if is_named(text) and described(text) != band:
        raise SourceError(
            f"{path} holds the band {described(text)} by its header, but {band} by its name: "
            "correct one of them"
        )
