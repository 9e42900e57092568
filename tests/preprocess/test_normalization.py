"""Statistics of a whole source, streamed, and the values they become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Box, Grid
from parafovea.preprocess import source_statistics
from parafovea.preprocess.normalization import ValueMap, value_map
from parafovea.preprocess.source_statistics import (
    Counts,
    SourceScan,
    Statistics,
    load_counts,
    merged,
    passes_of,
    save_counts,
    scan,
    slabs_of,
)
from parafovea.settings.recipe import Normalization
from parafovea.storage.blocks import share_of

PERCENTS = (0, 0.5, 3, 25, 50, 99.5, 100)


def scanned(volume: np.ndarray[Any, Any]) -> Statistics:
    grid = Grid(volume.shape, (1, 1, 1))
    return scan(
        lambda box: volume[box.slices], grid, volume.dtype, percentiles=PERCENTS, spread=True
    )


def drawn(dtype: str) -> Any:
    return hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))


@settings(max_examples=30)
@given(st.one_of(drawn("uint8"), drawn("int8"), drawn("uint16"), drawn("int16"), drawn(">i2")))
def test_percentiles_of_short_integers_are_numpys_exactly(volume: np.ndarray[Any, Any]) -> None:
    found = scanned(volume)
    for percent in PERCENTS:
        wanted = np.percentile(volume.astype(np.float64), percent)
        assert found.percentile(percent) == pytest.approx(wanted, rel=1e-12, abs=1e-9)
    assert (found.minimum, found.maximum) == (volume.min(), volume.max())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint64", "bool"])
def test_percentiles_of_wide_types_are_numpys_to_a_bin(dtype: str) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (20, 20, 20))
    volume = (noise > 0 if dtype == "bool" else np.abs(noise) * 1000).astype(dtype)
    found = scanned(volume)
    width = (float(volume.max()) - float(volume.min())) / (source_statistics.BINS - 1)
    for percent in PERCENTS:
        wanted = np.percentile(volume.astype(np.float64), percent)
        assert abs(found.percentile(percent) - wanted) <= width
    assert found.maximum == pytest.approx(float(volume.max()))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_slabs_do_not_change_the_statistics(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    volume = np.random.default_rng(1).integers(0, 200, (13, 6, 5)).astype(dtype)
    whole = scanned(volume)
    monkeypatch.setattr(source_statistics, "SCANNED_VOXELS", 2 * 6 * 5)
    slabs = scanned(volume)
    np.testing.assert_array_equal(slabs.counts, whole.counts)
    np.testing.assert_array_equal(slabs.edges, whole.edges)


def test_the_hash_tells_content_shape_and_type_but_not_byte_order_or_layout() -> None:
    volume = np.arange(60, dtype="<i2").reshape(3, 4, 5)
    known = scanned(volume).sha256
    assert scanned(volume.astype(">i2")).sha256 == known
    assert scanned(np.asfortranarray(volume)).sha256 == known
    assert scanned(volume.reshape(4, 3, 5)).sha256 != known
    assert scanned(volume.astype("<i4")).sha256 != known
    other = volume.copy()
    other[2, 3, 4] += 1
    assert scanned(other).sha256 != known


def test_voxels_that_are_not_finite_are_counted_and_refused_with_the_fix() -> None:
    volume = np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 4)
    volume[0, 0, :3] = np.nan, np.inf, -np.inf
    statistics = scanned(volume)
    assert statistics.nonfinite == 3
    assert statistics.counts.sum() == 61
    with pytest.raises(VoxelError, match=r"3 of 64 voxels are NaN .* set input.nonfinite"):
        value_map(statistics, Normalization())


def test_the_fill_takes_the_place_of_voxels_that_are_not_finite() -> None:
    volume = np.linspace(0, 10, 64, dtype=np.float32).reshape(4, 4, 4)
    volume[0, 0, :3] = np.nan, np.inf, -np.inf
    window = Normalization(method="window", low=0, high=10)
    values = value_map(scanned(volume), window, nonfinite=5.0)
    found = values(values.finite(volume))
    np.testing.assert_allclose(found[0, 0, :3], 0.5)
    np.testing.assert_allclose(found.ravel()[3:], volume.ravel()[3:] / 10, atol=1e-6)


def test_a_volume_without_a_finite_voxel_is_refused() -> None:
    with pytest.raises(VoxelError, match="all voxels are NaN or infinite"):
        scanned(np.full((2, 2, 2), np.nan, np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
def test_a_constant_volume_is_refused_with_its_value(dtype: str) -> None:
    statistics = scanned(np.full((3, 3, 3), 7, dtype))
    with pytest.raises(VoxelError, match=r"percentiles 0.5 and 99.5 .* both 7 \(range 7 to 7\)"):
        value_map(statistics, Normalization())


def test_a_window_of_values_maps_its_ends_to_0_and_1() -> None:
    hounsfield = np.array([-2000, -1000, -300, 400, 3000], np.int16).reshape(1, 1, 5)
    window = Normalization(method="window", low=-1000, high=400)
    found = value_map(scanned(hounsfield), window)(hounsfield)
    np.testing.assert_allclose(found.ravel(), [0, 0, 0.5, 1, 1])
    assert found.dtype == np.float32
    loose = Normalization(method="window", low=-1000, high=400, clip=False)
    found = value_map(scanned(hounsfield), loose)(hounsfield)
    np.testing.assert_allclose(found.ravel(), [-1000 / 1400, 0, 0.5, 1, 4000 / 1400], rtol=1e-6)


def test_percentile_normalization_clips_what_lies_outside() -> None:
    volume = np.arange(101, dtype=np.uint8).reshape(1, 1, 101)
    values = value_map(scanned(volume), Normalization(low=10, high=90))
    assert (values.low, values.high) == (10, 90)
    found = values(volume).ravel()
    assert found[10] == 0
    assert found[90] == 1
    assert (found[:10] == 0).all()
    assert (found[91:] == 1).all()
    assert found[50] == pytest.approx(0.5)


def test_no_normalization_passes_values_unchanged() -> None:
    volume = np.array([-3.5, 0, 7], np.float32).reshape(1, 1, 3)
    values = value_map(scanned(volume), Normalization(method="none"))
    assert values == ValueMap()
    np.testing.assert_array_equal(values(volume), volume)


def test_the_source_is_read_a_slab_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_statistics, "SCANNED_VOXELS", 3 * 16)
    volume = np.random.default_rng(2).random((10, 4, 4)).astype(np.float32)
    sizes = []

    def read(box: Box) -> np.ndarray[Any, Any]:
        sizes.append(box.size)
        return volume[box.slices]

    scan(read, Grid(volume.shape, (1, 1, 1)), volume.dtype)
    assert max(sizes) <= 3 * 16


@pytest.mark.parametrize("planes", [1, 7])
def test_a_plane_with_bands_is_scanned_in_pieces_as_if_it_were_read_whole(
    monkeypatch: pytest.MonkeyPatch, planes: int
) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (3, planes, 50, 70)).astype(np.uint16)
    grid, read = Grid(image.shape[1:], (1, 1, 1)), []

    def box_of(box: Box) -> np.ndarray[Any, Any]:
        read.append(box)
        return image[(slice(None), *box.slices)]

    whole = scan(box_of, grid, image.dtype, bands=3)
    assert read == [grid.box]
    monkeypatch.setattr(source_statistics, "BAND_VALUES", 3 * 20 * 20)
    monkeypatch.setattr(source_statistics, "PIECE_SIDE", 10)
    pieces = scan(box_of, grid, image.dtype, bands=3)
    assert max(box.size for box in read[1:]) <= 20 * 20
    assert sum(box.size for box in read[1:]) == grid.size
    np.testing.assert_array_equal(pieces.counts, whole.counts)
    assert (pieces.minimum, pieces.maximum) == (whole.minimum, whole.maximum)


SCENE = Grid((20, 30, 40), (1.0, 1.0, 1.0))


def _hot(value):
    values = np.clip(np.random.default_rng(0).normal(0.5, 0.15, SCENE.shape), 0, 1)
    values[3, 3, 3] = value
    return values


def _tight():
    # one hundredth of the voxels spreads over 60 orders of magnitude, the others over 1e-4
    rng = np.random.default_rng(1)
    values = 1 + 1e-4 * rng.random(SCENE.shape)
    values[::10, ::10, 0] = 10.0 ** rng.uniform(-30, 30, values[::10, ::10, 0].shape)
    return values


DISTRIBUTIONS = {
    "one voxel of 1e5": (_hot(1e5), "f4"),
    "one voxel of 1e6": (_hot(1e6), "f4"),
    "one voxel of -1e30": (_hot(-1e30), "f8"),
    "half floats": (_hot(6e4), "f2"),
    "thin": (_tight(), "f4"),
    "thin doubles": (_tight(), "f8"),
    "int32 with its largest": (np.where(_hot(9) > 1, 2**31 - 1, _hot(9) * 200), "i4"),
    "uint32 near 2**31": (_hot(1) * 200 + 2**31, "u4"),
    "int64 around 0": ((_hot(1) - 0.5) * 2e12, "i8"),
    "uint64": (_hot(1) * 1e4 + 2**40, "u8"),
    "big-endian": (_hot(1e5), ">f4"),
    "below zero": (-_hot(1e5), "f4"),
    "doubles with an offset": (1e9 + _hot(2), "f8"),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("percents", [(0.5, 99.5), (3.0, 60.0)])
def test_percentiles_are_numpys_for_any_distribution(name, percents):
    values, dtype = DISTRIBUTIONS[name]
    values = values.astype(dtype)
    statistics = scan(lambda box: values[box.slices], SCENE, values.dtype, percentiles=percents)
    expected = np.percentile(values.astype("f8"), percents)
    found = statistics.percentiles(*percents)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.ptp(expected))
    made = value_map(statistics, Normalization(low=percents[0], high=percents[1]))(values)
    wanted = np.clip((values.astype("f8") - expected[0]) / np.ptp(expected), 0, 1)
    np.testing.assert_allclose(made, wanted, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("dtype", "passes"), [("u1", 1), ("f4", 2), ("i4", 2), ("f8", 4)])
def test_a_type_needs_no_more_passes_than_are_planned_for_it(dtype, passes):
    values = _hot(100).astype(dtype)
    read = []

    def count(box):
        read.append(box)
        return values[box.slices]

    statistics = scan(count, SCENE, values.dtype, percentiles=(0.5, 99.5))
    slabs = len(slabs_of(SCENE.shape))
    assert len(read) == passes * slabs == passes_of(values.dtype) * slabs
    statistics.percentiles(0.5, 99.5)
    assert len(read) == passes * slabs


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_passes_counted_in_parts_give_the_same_statistics(tmp_path, monkeypatch, name, parts):
    monkeypatch.setattr(source_statistics, "SCANNED_VOXELS", 2**12)
    values, dtype = DISTRIBUTIONS[name]
    values = values.astype(dtype)
    asked = (0.5, 99.5)
    whole = scan(lambda box: values[box.slices], SCENE, values.dtype, percentiles=asked)
    slabs = slabs_of(SCENE.shape)
    assert len(slabs) > 5
    kept: list[Counts] = []
    while True:
        passes = SourceScan(values.dtype, SCENE.shape, percentiles=asked)
        for counts in kept:
            passes.keep(counts)
        if passes.is_complete:
            break
        tables = []
        for part in range(1, parts + 1):
            table = passes.begin()
            for number in share_of(len(slabs), part, parts):
                passes.count(table, number, values[slabs[number].slices])
            save_counts(tmp_path / f"{part}.npz", [table, passes.begin()])
            tables.append(load_counts(tmp_path / f"{part}.npz")[0])
        kept.append(merged(reversed(tables)))
    found = passes.statistics()
    assert found.sha256 == whole.sha256
    assert found.percentiles(*asked) == whole.percentiles(*asked)
    assert (found.minimum, found.maximum) == (whole.minimum, whole.maximum)
    np.testing.assert_array_equal(found.counts, whole.counts)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("nonzero", [False, True])
def test_zscore_is_that_of_numpy_in_any_division(monkeypatch, tmp_path, dtype, nonzero):
    monkeypatch.setattr(source_statistics, "SCANNED_VOXELS", 100)
    generator = np.random.default_rng(3)
    volume = generator.normal(60, 15, (9, 8, 7)).astype(dtype)
    volume[generator.random(volume.shape) < 0.3] = 0
    chosen = volume[volume != 0] if nonzero else volume
    whole = scanned(volume)
    mean, deviation = whole.spread(nonzero=nonzero)
    assert mean == pytest.approx(chosen.mean(dtype=np.float64), rel=1e-12)
    assert deviation == pytest.approx(chosen.std(dtype=np.float64), rel=1e-12)
    slabs = slabs_of(volume.shape)
    assert len(slabs) > 3
    passes = SourceScan(volume.dtype, volume.shape, percentiles=PERCENTS, spread=True)
    while not passes.is_complete:
        tables = []
        for block in (3, 1, 2):
            counts = passes.begin()
            for number in share_of(len(slabs), block, 3):
                passes.count(counts, number, volume[slabs[number].slices])
            save_counts(tmp_path / "counts.npz", [counts])
            tables += load_counts(tmp_path / "counts.npz")
        passes.keep(merged(tables))
    assert passes.statistics().spread(nonzero=nonzero) == (mean, deviation)
    values = value_map(whole, Normalization(method="zscore", nonzero=nonzero))(volume)
    wanted = (volume.astype(np.float64) - mean) / deviation
    np.testing.assert_allclose(values, np.where(nonzero & (volume == 0), 0, wanted), atol=1e-5)


def test_zscore_needs_contrast():
    volume = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(VoxelError, match="voxels other than 0 have the deviation 0"):
        value_map(scanned(volume), Normalization(method="zscore", nonzero=True))
    volume[0] = 5
    with pytest.raises(VoxelError, match="no contrast"):
        value_map(scanned(volume), Normalization(method="zscore", nonzero=True))
    assert value_map(scanned(volume), Normalization(method="zscore")).low == 2.5


def test_nonzero_is_for_zscore_alone():
    with pytest.raises(ValueError, match="nonzero is for the method zscore, not window"):
        Normalization(method="window", low=0, high=1, nonzero=True)
