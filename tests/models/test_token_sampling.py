"""Tokens at a window's voxels: at the right place, whichever window asks, projected early."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import random_network, store_volume

from parafovea.geometry.grid import Box, Grid
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.token_sampling import (
    TokenSampler,
    interpolate,
    project_context,
    project_local,
)
from parafovea.settings.recipe import BackboneSpec
from parafovea.stages.extract_features import extract_features
from parafovea.storage.store import open_stored

LOCAL = Grid((24, 40, 36), (8, 8, 8), (100.0, 0.0, -50.0))


def sampled(tokens: torch.Tensor, sampler: TokenSampler, box: Box) -> torch.Tensor:
    part = tokens[(slice(None), *sampler.needed(box).slices)]
    return interpolate(part, sampler.weights(box))


def random_tokens(grid: Grid, channels: int = 5) -> torch.Tensor:
    values = np.random.default_rng(0).normal(size=(channels, *grid.shape))
    return torch.from_numpy(values.astype(np.float16)).float()


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 4, 3), (5, 1, 2), (8, 8, 8)])
@pytest.mark.parametrize("window", [(16, 16, 16), (16, 32, 48), (32, 16, 32)])
def test_a_feature_at_a_voxel_does_not_depend_on_the_window_that_reads_it(
    stride: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    local = Grid((40, 72, 72), (8, 8, 8))
    grid = local.coarsened(stride)
    tokens, sampler = random_tokens(grid), TokenSampler(local, grid)
    whole = sampled(tokens, sampler, local.box)
    rng = np.random.default_rng(1)
    for _ in range(8):
        start = [int(rng.integers(n - w + 1)) for n, w in zip(local.shape, window, strict=True)]
        box = Box.sized(start, window)
        assert torch.equal(sampled(tokens, sampler, box), whole[(slice(None), *box.slices)])


@pytest.mark.parametrize("factor", [1, 2])
def test_a_feature_at_a_pixel_does_not_depend_on_the_flat_window_that_reads_it(factor: int) -> None:
    local = Grid((5, 72, 72), (8, 8, 8))
    grid = local.resampled((8, 8 * factor, 8 * factor)).coarsened((1, 2, 2))
    tokens, sampler = random_tokens(grid), TokenSampler(local, grid)
    whole = sampled(tokens, sampler, local.box)
    for z, y, x in ((0, 0, 0), (2, 13, 40), (4, 41, 7)):
        box = Box.sized((z, y, x), (1, 16, 32))
        assert torch.equal(sampled(tokens, sampler, box), whole[(slice(None), *box.slices)])


@settings(max_examples=20)
@given(st.tuples(*[st.integers(0, 20)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_boxes_too_small_for_a_network_agree_to_the_last_digit(
    start: tuple[int, int, int], shape: tuple[int, int, int]
) -> None:
    grid = LOCAL.coarsened((2, 3, 4))
    tokens, sampler = random_tokens(grid), TokenSampler(LOCAL, grid)
    box = Box.sized(start, shape).intersection(LOCAL.box)
    whole = sampled(tokens, sampler, LOCAL.box)[(slice(None), *box.slices)]
    torch.testing.assert_close(sampled(tokens, sampler, box), whole, rtol=0, atol=1e-6)


@settings(max_examples=30)
@given(
    st.tuples(*[st.floats(1, 5)] * 3),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.sampled_from(["nanometer", "micrometer"]),
)
def test_context_that_is_its_own_coordinate_is_read_as_the_voxels_coordinate(
    factor: tuple[float, float, float], stride: tuple[int, int, int], unit: str
) -> None:
    local = Grid((40, 40, 40), (30, 8, 4), (100.0, -60.0, 0.0))
    coarse = local.resampled([s * f for s, f in zip(local.spacing, factor, strict=True)])
    wide = coarse.coarsened(stride).converted(unit)
    here = wide.converted(local.unit)
    for axis in range(3):
        index = np.indices(wide.shape)[axis]
        world = (here.origin[axis] + index * here.spacing[axis]) / local.spacing[axis]
        tokens = torch.from_numpy(world[None].astype(np.float32))
        found = sampled(tokens, TokenSampler(local, wide), local.box).numpy()[0]
        own = local.origin[axis] / local.spacing[axis] + np.indices(local.shape)[axis]
        # Before the first and after the last token's centre the outermost token's value goes on.
        wanted = np.clip(own, world.min(), world.max())
        assert np.abs(found - wanted).max() < 1e-3


def test_context_of_a_ramp_is_read_at_the_windows_own_place(tmp_path: Path) -> None:
    local = Grid((48, 48, 48), (40, 10, 20))
    inner = Box((14, 14, 14), (34, 34, 34))  # where no border reaches
    raw = BackboneSpec(name="raw", arguments={"stride": 2})
    for axis in range(3):
        path = store_volume(tmp_path / "volume.zarr", np.indices(local.shape)[axis], local)
        extract_features(
            path, tmp_path / "context.zarr", spacing=(80, 40, 80), backbone=raw, dimensions=3
        )
        context = open_stored(tmp_path / "context.zarr")
        sampler = TokenSampler(local, context.grid)
        found = sampled(torch.from_numpy(context.read()).float(), sampler, inner)[0]
        own = np.indices(local.shape)[axis][inner.slices]
        assert np.abs(found.numpy() - own).max() < 1e-3


def test_voxels_beyond_the_volume_are_read_mirrored() -> None:
    grid = LOCAL.coarsened((2, 3, 4))
    tokens = torch.randn(2, *grid.shape, generator=torch.Generator().manual_seed(0))
    sampler = TokenSampler(LOCAL, grid)
    whole = sampled(tokens, sampler, LOCAL.box).numpy()
    margin = (4, 12, 7)
    found = sampled(tokens, sampler, LOCAL.box.expanded(margin)).numpy()
    wanted = np.pad(whole, [(0, 0), *((m, m) for m in margin)], mode="reflect")
    np.testing.assert_array_equal(found, wanted)


def test_tokens_as_fine_as_the_volume_are_read_unchanged() -> None:
    tokens = torch.randn(3, *LOCAL.shape)
    assert torch.equal(sampled(tokens, TokenSampler(LOCAL, LOCAL), LOCAL.box), tokens)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("with_raw", [True, False])
@pytest.mark.parametrize("fusion", ["attention", "concat"])
def test_projecting_tokens_then_interpolating_is_interpolating_then_projecting(
    dimensions: int, with_raw: bool, fusion: str
) -> None:
    flat = dimensions == 2
    local = Grid((1, 32, 32) if flat else (16, 16, 32), (8, 8, 8))
    near = local.coarsened((1 if flat else 2, 2, 2))
    far = local.resampled((8 if flat else 32, 32, 32))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(6, *near.shape, generator=generator).half()
    wide = torch.randn(5, *far.shape, generator=generator).half()
    raw = torch.rand(local.shape, generator=generator).half() if with_raw else None
    network = random_network(
        FusedUNet(
            6 + with_raw, 3, base_channels=4, context_channels=5, fusion=fusion,  # type: ignore[arg-type]
            dimensions=dimensions,
        )
    )  # fmt: skip
    close, coarse = TokenSampler(local, near), TokenSampler(local, far)
    full = sampled(tokens.float(), close, local.box)
    if raw is not None:
        full = torch.cat([raw.float()[None], full])
    context = sampled(wide.float(), coarse, local.box)

    def batch(x: torch.Tensor) -> torch.Tensor:
        return x[None].squeeze(2) if flat else x[None]

    weights = close.weights(local.box)
    with torch.inference_mode():
        early = network.forward_projected(
            batch(project_local(network, tokens, weights, raw)),
            batch(project_context(network, wide, coarse.weights(local.box))),
        )
        late = network(batch(full), batch(context))
    assert early.shape == (1, 3, *local.shape[1 if flat else 0 :])
    torch.testing.assert_close(early, late, rtol=1e-5, atol=1e-5)


def test_the_weights_of_boxes_that_lie_anywhere_do_not_stay_in_memory():
    rng = np.random.default_rng(0)
    grid = Grid((1, 600, 600), (1.0, 1.0, 1.0))
    sampler = TokenSampler(grid, grid)
    tracemalloc.start()
    try:
        for _ in range(600):
            start, size = rng.integers(0, 300, 2), rng.integers(200, 300, 2)
            sampler.weights(Box((0, *start.tolist()), (1, *(start + size).tolist())))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # of 1200 axes, of 0.26 MB each
    assert held < 100e6
