"""Features on disk: on their own token grid, with what made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_sample import BACKBONE, smooth_volume, store_volume
from tiny_vit import saved_model

from parafovea.backbones import filterbank
from parafovea.errors import ModelError, StoreError
from parafovea.geometry.grid import Vector
from parafovea.settings.recipe import BackboneSpec
from parafovea.stages.extract_features import extract_features
from parafovea.stages.join_features import join_features
from parafovea.storage.store import Stored, open_stored

FILTERS = BackboneSpec.model_validate(BACKBONE)


def extracted(
    tmp_path: Path, *, spacing: Vector = (8, 8, 8), backbone: BackboneSpec = FILTERS
) -> Stored:
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume((20, 30, 26)))
    output = tmp_path / "features.zarr"
    extract_features(volume, output, spacing=spacing, backbone=backbone, dimensions=3)
    return open_stored(output)


def test_features_lie_on_the_token_grid_of_their_view(tmp_path: Path) -> None:
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume((20, 30, 26)))
    grid = open_stored(volume).grid
    local = extracted(tmp_path)
    assert local.grid == grid.coarsened((2, 2, 2))
    assert local.channels == ("gaussian_s1", "gradient_s1")
    assert local.array.dtype == np.float16
    wide = extracted(tmp_path, spacing=(16, 24, 16))
    assert wide.grid == grid.resampled((16, 24, 16)).coarsened((2, 2, 2))
    assert np.isfinite(wide.read()).all()
    assert wide.read().std(axis=(1, 2, 3)).min() > 0.01


def test_features_say_what_made_them_and_how_large_they_are(tmp_path: Path) -> None:
    stored = extracted(tmp_path, spacing=(16, 16, 16))
    facts = stored.attributes["features"]
    assert facts["backbone"] == FILTERS.model_dump(mode="json")
    assert facts["view_spacing"] == [16, 16, 16]
    size = stored.array.nbytes / (20 * 30 * 26)
    assert facts["bytes_per_voxel"] == pytest.approx(size, abs=1e-3)
    assert stored.attributes["volume"]["source"]["sha256"] == "5" * 64


@pytest.mark.parametrize(
    ("name", "channels", "token"), [("dinov2", 64, 14), ("dinov3_convnext", 40, 4)]
)
def test_tokens_of_a_vision_model_lie_on_a_grid_of_any_patch(
    tmp_path: Path, name: str, channels: int, token: int
) -> None:
    folder = saved_model(tmp_path / "vision", name)
    arguments = {"weights": str(folder), "planes": "xy+xz+yz", "layers": [1, -1]}
    local = extracted(tmp_path, backbone=BackboneSpec(name="huggingface", arguments=arguments))
    assert local.grid.spacing == (8 * token,) * 3
    assert local.array.shape == (channels, *(-(-n // token) for n in (20, 30, 26)))
    assert local.read().std(axis=(1, 2, 3)).min() > 0


def test_extracting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        extracted(folder)
        files = (p for p in (folder / "features.zarr").rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}

    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_an_impossible_backbone_leaves_no_output(tmp_path: Path) -> None:
    backbone = BackboneSpec(name="filterbank", arguments={"scale": 3})
    with pytest.raises(ModelError, match="unknown argument 'scale'"):
        extracted(tmp_path, backbone=backbone)
    assert not (tmp_path / "features.zarr").exists()


def test_a_missing_volume_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone\.zarr is not a complete result"):
        extract_features(
            tmp_path / "gone.zarr",
            tmp_path / "features.zarr",
            spacing=(8, 8, 8),
            backbone=FILTERS,
            dimensions=3,
        )


@pytest.mark.parametrize("window", [None, (16, 32, 32)], ids=["registered", "concentric"])
def test_blocks_of_features_are_joined_into_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: tuple[int, int, int] | None
) -> None:
    # tiles of the backbone as small as the volume needs to have several
    monkeypatch.setattr(filterbank, "whole_tile", lambda tile, stride: (8, 16, 16))
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume((40, 70, 50)))
    arguments: dict[str, Any] = {
        "spacing": (16, 16, 16),
        "backbone": BACKBONE,
        "dimensions": 3,
        "concentric_window": window,
    }
    extract_features(volume, tmp_path / "one" / "features.zarr", **arguments)
    parts = [tmp_path / "parts" / f"{block}.zarr" for block in range(1, 4)]
    for block, part in enumerate(parts, start=1):
        extract_features(volume, part, **arguments, block=block, blocks=3)
    join_features(parts, tmp_path / "many" / "features.zarr")
    one, many = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (tmp_path / "one", tmp_path / "many")
    )
    assert len(one) > 4
    assert one == many
