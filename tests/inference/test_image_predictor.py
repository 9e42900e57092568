"""Windows by networks of other projects: the output is placed, chosen, and made probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parafovea.errors import ModelError, ScoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.inference.array_windows import blended
from parafovea.inference.blending import window_weights
from parafovea.inference.image_predictor import ImagePredictor
from parafovea.inference.sample_inputs import RegionReader
from parafovea.inference.window_loop import predicted
from parafovea.inference.window_plan import planned_layout
from parafovea.models.networks.image_network import ModuleNetwork
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.networks import ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec

CPU = torch.device("cpu")
SHAPE = (20, 27, 30)


def described(window: tuple[int, int, int] = (16, 16, 16), **changes: Any) -> ModelSpec:
    """Return a model whose network has two outputs, with changes of the recipe or the network."""
    network = {"type": "exported", "dimensions": 3, "output_channels": 2}
    network |= {
        name: changes.pop(name) for name in set(changes) & set(ImageNetworkSpec.model_fields)
    }
    values = {
        "name": "other",
        "spacing": (8, 8, 8),
        "backbone": {"name": "none"},
        "network": network,
        "classes": ("background", "dark"),
        "window": window,
        "input_channels": max(1, len(changes.get("bands", ()))),
        "weights_sha256": "0" * 64,
        **changes,
    }
    return ModelSpec.model_validate(values)


def everywhere(
    spec: ModelSpec, module: nn.Module, volume: NDArray[np.float32], *, batch: int = 3
) -> NDArray[np.float32]:
    """Return the blended prediction of a volume by windows that overlap by half."""
    assert isinstance(spec.network, ImageNetworkSpec)
    network = ModuleNetwork(spec.network, module.eval(), spec.name)
    predictor = ImagePredictor(network, spec, device=CPU, dtype=torch.float32, batch_size=batch)
    grid = Grid(volume.shape[-3:], spec.spacing)
    reader = RegionReader(ArrayOnGrid(volume, grid), raw_input=True, margin=spec.margin)
    settings = InferenceSettings(overlap=0.5, blending="constant")
    layout = planned_layout(grid.shape, spec, settings)
    windows = predicted(reader, predictor, layout, layout.lattice)
    weights = window_weights(settings, layout.window)
    return blended(windows, layout, weights, classes=len(spec.classes))


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def seeded(module: nn.Module) -> nn.Module:
    """Fill a module with the same weights at every call."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in module.parameters():
            values.copy_(torch.randn(values.shape, generator=generator))
    return module


def test_a_valid_convolution_sees_its_margin_everywhere() -> None:
    conv, volume = seeded(nn.Conv3d(1, 2, 5)), noise(*SHAPE)
    found = everywhere(described(margin=(2, 2, 2)), conv, volume)
    padded = np.pad(volume, 2, mode="reflect")
    with torch.inference_mode():
        wanted = conv(torch.from_numpy(padded)[None, None]).softmax(1)[0].numpy()
    # sums have steps of 2**-18
    np.testing.assert_allclose(found, wanted, atol=4e-6)


def test_a_coarse_output_is_interpolated_to_the_voxels() -> None:
    pool = seeded(nn.Conv3d(1, 2, 2, stride=2))
    volume = np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32), (16, 16, 32)).copy()
    spec = described((16, 16, 32), stride=(2, 2, 2))
    found = everywhere(spec, pool, volume)
    with torch.inference_mode():
        coarse = pool(torch.from_numpy(volume)[None, None])
        fine = nn.functional.interpolate(coarse, size=(16, 16, 32), mode="trilinear")
        wanted = fine.softmax(1)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_channels_are_those_of_the_classes_and_the_background_is_the_rest() -> None:
    class Probabilities(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"aside": images, "scores": torch.cat([images / 8, images / 2, images / 4], 1)}

    spec = described(
        output_channels=3, entry="scores", channels=(2, 1), complement=True, activation="none",
        classes=("background", "dark", "bright"),
    )  # fmt: skip
    volume = noise(16, 16, 16)
    found = everywhere(spec, Probabilities(), volume)
    np.testing.assert_allclose(found[1], volume / 4, atol=1e-6)
    np.testing.assert_allclose(found[2], volume / 2, atol=1e-6)
    np.testing.assert_allclose(found[0], 1 - volume * 0.75, atol=1e-6)


def test_bands_are_standardized_each_by_its_own_statistics() -> None:
    spec = described(
        bands=("T1", "T2"), mean=(0.25, 0.5), deviation=(0.5, 0.25), activation="sigmoid",
        kind="detection", classes=("a", "b"),
    )  # fmt: skip
    volume = noise(2, 16, 16, 16)
    found = everywhere(spec, nn.Identity(), volume)
    standard = (volume - np.array([0.25, 0.5])[:, None, None, None]) / np.array([0.5, 0.25])[
        :, None, None, None
    ]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-standard)), atol=1e-6)


def test_planes_are_independent_for_a_flat_network() -> None:
    conv, volume = seeded(nn.Conv2d(1, 2, 3, padding=1)), noise(3, 16, 16)
    found = everywhere(described((1, 16, 16), dimensions=2), conv, volume)
    with torch.inference_mode():
        wanted = conv(torch.from_numpy(volume)[:, None]).softmax(1).numpy()
    np.testing.assert_allclose(found, wanted.transpose(1, 0, 2, 3), atol=1e-6)


def test_a_network_of_a_fixed_batch_gets_full_batches_only() -> None:
    seen = []

    class Counting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return torch.cat([images, -images], 1)

    volume = noise(16, 16, 40)
    alone = everywhere(described(), Counting(), volume, batch=3)
    assert set(seen) == {3}
    seen.clear()
    assert np.array_equal(everywhere(described(fixed_batch=2), Counting(), volume, batch=3), alone)
    assert set(seen) == {2}


def test_a_refinement_adds_the_output_to_its_bands() -> None:
    spec = described(
        kind="refinement", bands=("B02", "B08", "B04"), classes=("B08", "B02"), residual=True,
        normalization={"method": "none"}, unit="meter", output_channels=2,
    )  # fmt: skip

    class Brighter(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :2] * 0 + torch.tensor([0.1, 0.2]).view(1, 2, 1, 1, 1)

    volume = noise(3, 16, 16, 16)
    found = everywhere(spec, Brighter(), volume)
    np.testing.assert_allclose(found[0], np.clip(volume[1] + 0.1, 0, 1), atol=1e-6)
    np.testing.assert_allclose(found[1], np.clip(volume[0] + 0.2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "module", "message"),
    [
        ({"activation": "none"}, nn.Conv3d(1, 2, 1), "scores and not probabilities"),
        ({}, nn.Conv3d(1, 3, 1), r"has the shape \(3, 3, 16, 16, 16\), but must have 5 axes"),
        ({}, nn.Conv3d(1, 2, 3), r"gives an output of \(14, 14, 14\), but with the margin"),
        ({"entry": "scores"}, nn.Conv3d(1, 2, 1), r"has no output 'scores': its outputs are 0"),
    ],
)
def test_an_output_that_is_not_what_the_description_says_is_one_error(
    changes: dict[str, Any], module: nn.Module, message: str
) -> None:
    torch.manual_seed(0)
    nn.init.constant_(module.bias, 3.0)
    with pytest.raises(ModelError, match=message):
        everywhere(described(**changes), module, noise(16, 16, 16))


def test_scores_that_are_not_finite_are_named_with_their_window() -> None:
    class Overflow(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([images, images / 0], 1)

    with pytest.raises(ScoreError, match="not finite: output 1 is inf at voxel"):
        everywhere(described(), Overflow(), noise(16, 16, 16))


def test_windows_are_those_of_the_output() -> None:
    layout = planned_layout(SHAPE, described(margin=(2, 2, 2)), InferenceSettings(overlap=0))
    assert layout.window == (12, 12, 12)
    whole = planned_layout(
        SHAPE,
        described(margin=(2, 2, 2), multiple_of=(4, 4, 4)),
        InferenceSettings(mode="whole_volume"),
    )
    assert whole.window == (20, 28, 32)
    assert next(iter(layout.windows())) == Box((0, 0, 0), (12, 12, 12))
