"""Concentric context: the window's centre and number of voxels, at the context's own spacing.

The context is its own world coordinate, so that a shift of one voxel fails.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sample import store_volume

from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.windows import Layout
from parafovea.models.context_alignment import concentric, padded_share, surroundings
from parafovea.models.token_sampling import TokenSampler, interpolate
from parafovea.settings.recipe import BackboneSpec
from parafovea.stages.extract_features import extract_features
from parafovea.storage.store import Stored, open_stored

LOCAL = Grid((48, 64, 56), (30, 8, 8), (300.0, -80.0, 16.0))
WIDE = (60.0, 32.0, 24.0)  # 2, 4 and 3 times as coarse
WINDOW = (16, 16, 32)
RAW = BackboneSpec(name="raw", arguments={"stride": 1})


def coordinates(folder: Path, axis: int, window: tuple[int, int, int] | None) -> Stored:
    """Context features of a volume that holds each voxel's number along an axis."""
    volume = store_volume(folder / "volume.zarr", np.indices(LOCAL.shape)[axis], LOCAL)
    extract_features(
        volume, folder / "context.zarr", spacing=WIDE, backbone=RAW, dimensions=3,
        concentric_window=window,
    )  # fmt: skip
    return open_stored(folder / "context.zarr")


def sampled(context: Stored, sampler: TokenSampler, box: Box) -> np.ndarray:
    needed = sampler.needed(box)
    assert needed.intersection(context.grid.box) == needed
    values = torch.from_numpy(context.read(needed)).float()
    return interpolate(values, sampler.weights(box))[0].numpy()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concentric_context_is_read_around_the_windows_centre(tmp_path: Path, axis: int) -> None:
    context = coordinates(tmp_path, axis, WINDOW)
    zoom = tuple(w / s for w, s in zip(WIDE, LOCAL.spacing, strict=True))
    sampler = TokenSampler(LOCAL, context.grid, zoom=zoom)
    ratio = zoom[axis]
    for start in ((16, 24, 12), (15, 25, 13), (17, 23, 11)):
        box = Box.sized(start, WINDOW)
        found = np.moveaxis(sampled(context, sampler, box), axis, 0)
        centre = start[axis] + (WINDOW[axis] - 1) / 2
        own = centre + (np.arange(WINDOW[axis]) - (WINDOW[axis] - 1) / 2) * ratio
        inside = (own >= ratio) & (own <= LOCAL.shape[axis] - 1 - ratio)
        assert inside.sum() >= 8
        wanted = own[inside, None, None]
        assert np.abs(found[inside] - wanted).max() < 0.05 * ratio


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_registered_context_is_read_where_the_window_is(tmp_path: Path, axis: int) -> None:
    context = coordinates(tmp_path, axis, None)
    sampler = TokenSampler(LOCAL, context.grid)
    box = Box.sized((16, 24, 12), WINDOW)
    own = np.indices(LOCAL.shape)[axis][box.slices]
    assert np.abs(sampled(context, sampler, box) - own).max() < 0.05


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_beyond_the_border_the_wide_view_is_reflected(tmp_path: Path, axis: int) -> None:
    context = coordinates(tmp_path, axis, WINDOW)
    zoom = tuple(w / s for w, s in zip(WIDE, LOCAL.spacing, strict=True))
    sampler = TokenSampler(LOCAL, context.grid, zoom=zoom)
    view = LOCAL.resampled(WIDE)
    ratio, count = zoom[axis], view.shape[axis]
    for start in ((0, 0, 0), tuple(n - w for n, w in zip(LOCAL.shape, WINDOW, strict=True))):
        box = Box.sized(start, WINDOW)
        found = np.moveaxis(sampled(context, sampler, box), axis, 0)[:, 0, 0]
        own = concentric(box.start[axis], box.stop[axis], ratio)
        # Reflection is at the centres of the outermost voxels of the view.
        place = (own - (ratio - 1) / 2) / ratio
        folded = np.abs(place)
        folded = np.where(folded > count - 1, 2 * (count - 1) - folded, folded)
        wanted = folded * ratio + (ratio - 1) / 2
        # The outermost voxels of the view average what is cut at the border.
        inner = (folded > 1) & (folded < count - 2)
        assert (inner & ((own < 0) | (own > LOCAL.shape[axis] - 1))).any()
        assert np.abs(found - wanted)[inner].max() < 0.05 * ratio


def test_places_of_training_windows_look_where_windows_do() -> None:
    tokens = LOCAL.resampled(WIDE)
    zoom = tuple(w / s for w, s in zip(WIDE, LOCAL.spacing, strict=True))
    sampler = TokenSampler(LOCAL, tokens, zoom=zoom)
    box = Box.sized((16, 24, 12), WINDOW)
    places = np.stack(np.meshgrid(*map(np.arange, box.start, box.stop), indexing="ij"), axis=-1)
    found = sampler.positions(places.astype(float))
    for axis in range(3):
        seen = concentric(box.start[axis], box.stop[axis], zoom[axis])
        world = LOCAL.origin[axis] + seen * LOCAL.spacing[axis]
        wanted = (world - tokens.origin[axis]) / tokens.spacing[axis]
        np.testing.assert_allclose(np.moveaxis(found[..., axis], axis, 0)[:, 0, 0], wanted)


def test_a_flat_axis_has_no_surroundings() -> None:
    assert surroundings(Grid((5, 64, 64), (40, 8, 8)), (40, 32, 32), (1, 32, 32)) == (0, 13, 13)


@pytest.mark.parametrize("shape", [(48, 64, 56), (9, 20, 64)])
def test_surroundings_hold_all_that_windows_look_at(shape: tuple[int, int, int]) -> None:
    local = Grid(shape, (8, 8, 8))
    wide = (16.0, 32.0, 20.0)
    margin = surroundings(local, wide, WINDOW)
    view = local.resampled(wide)
    tokens = view.crop(view.box.expanded(margin))
    sampler = TokenSampler(local, tokens, zoom=tuple(w / 8 for w in wide))
    for box in Layout.regular(shape, WINDOW, overlap=0.5).windows():
        for axis, weights in enumerate(sampler.weights(box)):
            step = np.diff(weights.matrix @ np.arange(weights.start, weights.stop))
            # Where tokens ended too early, the last of them would be repeated.
            np.testing.assert_allclose(step, 1.0, atol=1e-3, err_msg=f"axis {axis} of {box}")


def test_the_padded_share_is_that_of_all_windows_voxels() -> None:
    layout = Layout.regular((40, 48, 64), (16, 16, 32), overlap=0.5)
    zoom = (2.0, 4.0, 1.0)
    outside = []
    for box in layout.windows():
        seen = [concentric(a, b, f) for a, b, f in zip(box.start, box.stop, zoom, strict=True)]
        grid = np.stack(np.meshgrid(*seen, indexing="ij"))
        bounds = np.reshape(layout.shape, (3, 1, 1, 1)) - 0.5
        outside.append(((grid < -0.5) | (grid > bounds)).any(axis=0).mean())
    assert padded_share(layout, zoom) == pytest.approx(float(np.mean(outside)))
    assert padded_share(layout) == 0
    assert padded_share(Layout.regular((8, 16, 16), (16, 16, 16), overlap=0.5)) == 0.5
