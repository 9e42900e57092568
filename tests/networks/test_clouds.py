"""A real ONNX network, ukis-csmask, segments clouds and shadows as its own package does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clouds import (
    CLASSES,
    Image,
    imported,
    overlaps,
    run,
    scene_classes,
    tile_classes,
    write_project,
)
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor

NAMES = ["blue", "green", "red", "nir"]


def by_package(scene: Image, level: str) -> Any:
    """Return the package's own answer for (4, y, x) reflectance."""
    from ukis_csmask.mask import CSmask

    image = np.ascontiguousarray(scene.transpose(1, 2, 0))
    return CSmask(image, NAMES, product_level=level, providers=["CPUExecutionProvider"])


def direct_classes(own: Any, tile: Image) -> NDArray[np.int64]:
    """Return the classes of one window by the package's normalization and session alone."""
    image = own.normalize(tile.transpose(1, 2, 0).copy(), own.band_mean, own.band_std)
    taken = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    found: NDArray[np.int64] = own.session.run(None, {own.input_names: taken})[0][0].argmax(0)
    return found


def sliding_classes(own: Any, image: Image) -> NDArray[np.int64]:
    """Return the classes of an image by the package's session in MONAI's sliding windows."""
    values = own.normalize(image.transpose(1, 2, 0).copy(), own.band_mean, own.band_std)

    def probabilities(windows: Tensor) -> Tensor:
        (found,) = own.session.run(None, {own.input_names: windows.numpy()})
        return torch.from_numpy(found).softmax(1)

    images = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32))
    found = sliding_window_inference(
        images, (256, 256), 1, probabilities, overlap=0.25, mode="gaussian", sigma_scale=0.125
    )
    return found[0].argmax(0).numpy()


@pytest.mark.parametrize("level", ["l1c", "l2a"])
def test_one_command_imports_it_and_tiles_and_a_mosaic_have_its_classes(
    csmask: Path,
    scene: tuple[Image, NDArray[np.int64] | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    level: str,
) -> None:
    image, truth = scene
    said = imported(csmask, level, tmp_path / "clouds")
    assert "assumed" not in said
    assert "1 x 256 x 256, and no other" in said
    write_project(tmp_path / "project", tmp_path / "clouds", image)
    monkeypatch.chdir(tmp_path / "project")
    run(tmp_path / "project", "tiles")
    own = by_package(image, level)
    tiles = tile_classes(tmp_path / "project")
    assert len(tiles) == 4
    for (row, column), found in tiles.items():
        tile = image[:, row : row + 256, column : column + 256]
        # a tile is one window: the difference is the rounding of float32
        assert (found != direct_classes(own, tile)).mean() < 1e-4
    run(tmp_path / "project", "scene")
    found, answer = scene_classes(tmp_path / "project"), own.csm[..., 0]
    assert set(np.unique(answer)) == set(range(len(CLASSES)))
    assert (found != sliding_classes(own, image)).mean() < 1e-3
    if truth is not None:
        # the package's windows lie elsewhere, and it blends them in another way
        different = float((found != answer).mean())
        print(f"{level}: {different:.4f} of the pixels differ from the package")
        assert different < 0.05
        ours, theirs = overlaps(found, truth), overlaps(answer, truth)
        print(f"{level}: IoU {ours}, the package {theirs}")
        assert all(ours[name] > theirs[name] - 0.02 for name in ours)


@pytest.mark.parametrize("level", ["l1c"])
def test_openvino_gives_the_same_probabilities(csmask: Path, tmp_path: Path, level: str) -> None:
    from parafovea.models.loading import load_network
    from parafovea.models.networks.image_network import ImageNetwork

    imported(csmask, level, tmp_path / "clouds")
    _, network = load_network(tmp_path / "clouds")
    assert isinstance(network, ImageNetwork)
    images = torch.rand(2, 4, 256, 256, generator=torch.Generator().manual_seed(1))
    cpu, float32 = torch.device("cpu"), torch.float32
    found = [
        network.selected(network.runner(cpu, float32, engine)(images)).softmax(1)
        for engine in ("onnxruntime", "openvino")
    ]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-3)
