"""A mosaic is a volume of one plane, whatever part of it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mosaic_sample import reflectance, write_mosaic
from scipy import ndimage

from parafovea.formats.geo import mosaic as reader
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source
from parafovea.geometry.grid import Box

BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture
def gaps() -> np.ndarray:
    """Return which pixels of 150 x 200 were not measured: holes, single pixels, a wide margin."""
    random = np.random.default_rng(4)
    found = ndimage.gaussian_filter(random.normal(size=(150, 200)), 4) > 0.05
    found |= random.random((150, 200)) < 0.02
    found[:, :90] = True
    return found


def opened(folder: Path, gaps: np.ndarray) -> Source:
    values = np.where(gaps, np.nan, reflectance(150, 200)).astype(np.float32)
    return open_source(str(write_mosaic(folder, values, nodata=np.nan)), bands=BANDS)


def test_any_part_of_a_mosaic_with_gaps_is_that_part_of_the_whole(
    tmp_path: Path, gaps: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "REACH", 10)
    source = opened(tmp_path, gaps)
    whole = source.read(source.grid.box)
    assert whole.shape == (4, 1, 150, 200)
    for box in source.grid.box.tiles((1, 23, 31)):
        np.testing.assert_array_equal(source.read(box), whole[(slice(None), *box.slices)])


def test_a_gap_repeats_what_is_beside_it_and_is_0_far_away(
    tmp_path: Path, gaps: np.ndarray
) -> None:
    values = reflectance(150, 200)
    source = opened(tmp_path, gaps)
    found = source.read(source.grid.box)[:, 0]
    np.testing.assert_array_equal(found[:, ~gaps], values[:, ~gaps])
    away = ndimage.distance_transform_edt(gaps)
    assert (found[:, away > reader.REACH] == 0).all()
    near = gaps & (away <= reader.REACH)
    assert (found[:, near] > 0).all()
    assert (away[:, 0] > reader.REACH).any()
    # a single missing pixel takes the value of one of its neighbours
    alone = ndimage.convolve(gaps.astype(int), np.ones((3, 3), int), mode="constant", cval=9) == 1
    y, x = next(zip(*np.nonzero(alone & gaps), strict=True))
    beside = [values[:, y + i, x + j] for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    assert any(np.array_equal(found[:, y, x], each) for each in beside)


def test_a_mosaic_without_any_measurement_is_0(tmp_path: Path) -> None:
    source = opened(tmp_path, np.ones((150, 200), bool))
    assert not source.read(Box((0, 10, 10), (1, 40, 40))).any()
