"""Features of a view: the same however it is cut, and those of the volume seen coarser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sample import smooth_volume, store_volume

from parafovea.backbones import load_backbone
from parafovea.backbones.backbone import Backbone
from parafovea.backbones.views import View, token_blocks
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import resample_box
from parafovea.settings.recipe import BackboneSpec
from parafovea.storage.store import Stored, open_stored

CPU = torch.device("cpu")
FILTERS = BackboneSpec(name="filterbank", arguments={"scales": [1.0, 2.0]})
SPACING = (8.0, 8.0, 8.0)


def volume_of(tmp_path: Path, voxels: np.ndarray[Any, Any], grid: Grid | None = None) -> Stored:
    return open_stored(store_volume(tmp_path / "volume.ome.zarr", voxels, grid))


def tokens_of(view: View, backbone: Backbone) -> np.ndarray[Any, Any]:
    grid = view.grid.coarsened(backbone.stride)
    tokens = np.full((len(backbone.channels), *grid.shape), np.nan, np.float16)
    for box, values in token_blocks(view, backbone, device=CPU):
        assert np.isnan(tokens[(slice(None), *box.slices)]).all()
        tokens[(slice(None), *box.slices)] = values
    return tokens


def test_tokens_do_not_depend_on_how_the_view_is_cut(tmp_path: Path) -> None:
    volume = volume_of(tmp_path, smooth_volume((23, 30, 26)))
    backbone = load_backbone(FILTERS, spacing=SPACING, dimensions=3)
    view = View(volume, volume.grid)
    assert len(list(token_blocks(view, backbone, device=CPU))) == 1
    whole = tokens_of(view, backbone)
    backbone.tile = (8, 16, 10)  # type: ignore[misc]
    assert len(list(token_blocks(view, backbone, device=CPU))) > 8
    np.testing.assert_allclose(tokens_of(view, backbone), whole, rtol=1e-3, atol=1e-3)
    assert whole.std() > 0.1


def test_the_context_view_is_the_volume_resampled_and_then_seen(tmp_path: Path) -> None:
    volume = volume_of(tmp_path, smooth_volume((24, 40, 36)))
    grid = volume.grid.resampled((16, 24, 20))
    backbone = load_backbone(FILTERS, spacing=grid.spacing, dimensions=3)
    coarse = resample_box(volume.read, volume.grid, grid, grid.box)
    (tmp_path / "coarse").mkdir()
    resampled = Stored(coarse, grid, None)  # type: ignore[arg-type]
    found = tokens_of(View(volume, grid), backbone)
    np.testing.assert_array_equal(found, tokens_of(View(resampled, grid), backbone))


def test_slices_of_a_flat_backbone_do_not_see_each_other(tmp_path: Path) -> None:
    voxels = smooth_volume((4, 32, 32))
    backbone = load_backbone(FILTERS, spacing=SPACING, dimensions=2)
    volume = volume_of(tmp_path, voxels)
    together = tokens_of(View(volume, volume.grid), backbone)
    for z in range(4):
        alone = volume_of(tmp_path, voxels[z : z + 1])
        np.testing.assert_allclose(
            tokens_of(View(alone, alone.grid), backbone)[:, 0], together[:, z], atol=1e-3
        )


def test_a_view_is_mirrored_beyond_its_border(tmp_path: Path) -> None:
    voxels = smooth_volume((6, 9, 7))
    volume = volume_of(tmp_path, voxels)
    found = View(volume, volume.grid).read(Box((-3, -4, 0), (8, 9, 12)))
    np.testing.assert_array_equal(found, np.pad(voxels, ((3, 2), (4, 0), (0, 5)), mode="reflect"))


def test_raw_tokens_are_the_means_of_their_blocks(tmp_path: Path) -> None:
    voxels = smooth_volume((8, 8, 12))
    volume = volume_of(tmp_path, voxels)
    raw = BackboneSpec(name="raw", arguments={"stride": 4})
    backbone = load_backbone(raw, spacing=SPACING, dimensions=3)
    wanted = voxels.astype(np.float64).reshape(2, 4, 2, 4, 3, 4).mean(axis=(1, 3, 5))
    found = tokens_of(View(volume, volume.grid), backbone)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (1, 17, 33)])
def test_volumes_of_any_shape_have_finite_tokens(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    volume = volume_of(tmp_path, np.ones(shape, np.float16) / 2)
    backbone = load_backbone(FILTERS, spacing=SPACING, dimensions=3)
    tokens = tokens_of(View(volume, volume.grid), backbone)
    assert np.isfinite(tokens).all()
    # A constant volume has no place that differs from another.
    np.testing.assert_allclose(tokens, tokens[:, :1, :1, :1] + 0 * tokens, atol=1e-3)
