import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.backbones import feature_channels, load_backbone
from parafovea.backbones.filterbank import STANDARD, TRUNCATE
from parafovea.geometry.grid import Box
from parafovea.settings.recipe import BackboneSpec


def bank(spacing=(1.0, 1.0, 1.0), dimensions=3, **arguments):
    return load_backbone(BackboneSpec(arguments=arguments), spacing=spacing, dimensions=dimensions)


def features(backbone, volume):
    """Tokens of a whole volume by channel, reflected beyond its faces as the driver does."""
    padded = np.pad(volume, [(h, h) for h in backbone.halo], mode="reflect")
    tokens = backbone(torch.from_numpy(padded)).numpy()
    return dict(zip(backbone.channels, tokens, strict=True))


def plain(name, values):
    """Undo the fixed standardization of a channel."""
    offset, factor = STANDARD[name.split("_")[0]]
    return values / factor + offset


def noise(*shape):
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def cells(size):
    """Bright cells, dark membranes, blur and noise: what a micrograph looks like."""
    generator = np.random.default_rng(2)
    seeds = np.zeros((size,) * 3, bool)
    seeds[tuple(generator.integers(0, size, (3, 60)))] = True
    owner = ndimage.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    label = np.ravel_multi_index(owner, seeds.shape)
    membrane = ndimage.maximum_filter(label, 3) != ndimage.minimum_filter(label, 3)
    image = ndimage.gaussian_filter(0.75 - 0.6 * membrane, 1.0)
    return np.clip(image + generator.normal(0, 0.05, image.shape), 0, 1).astype(np.float32)


CELLS = cells(48)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_announced_channels_are_those_computed(dimensions):
    backbone = bank(dimensions=dimensions)
    found = features(backbone, noise(8, 32, 32))
    assert len(found) == feature_channels(BackboneSpec(), dimensions=dimensions)
    assert set(found) == set(backbone.channels)
    shape = (8, 16, 16) if dimensions == 2 else (4, 16, 16)
    assert all(values.shape == shape for values in found.values())


@given(
    dimensions=st.sampled_from([2, 3]),
    stride=st.sampled_from([1, 2, 3]),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (40.0, 4.0, 4.0)]),
    cut=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
)
@settings(max_examples=12)
def test_tiles_with_halo_equal_the_whole_volume(dimensions, stride, spacing, cut):
    backbone = bank(spacing, dimensions, scales=[1, 2], stride=stride)
    volume = CELLS[:24, :30, :36]
    padded = torch.from_numpy(np.pad(volume, [(h, h) for h in backbone.halo], mode="reflect"))
    whole = backbone(padded)
    pieces = torch.full_like(whole, torch.nan)
    for box in Box.whole(volume.shape).tiles([6 * n + 6 for n in cut]):
        ends = zip(box.start, box.stop, backbone.halo, backbone.stride, strict=True)
        block, tokens = zip(
            *[(slice(a, b + 2 * h), slice(a // k, b // k)) for a, b, h, k in ends], strict=True
        )
        pieces[(slice(None), *tokens)] = backbone(padded[block])
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-5)


def test_wide_planes_do_not_depend_on_their_tiles():
    backbone = bank(dimensions=2)
    halo = backbone.halo[1]
    padded = torch.from_numpy(np.pad(noise(1, 360, 400), [(h, h) for h in backbone.halo]))
    whole = backbone(padded)
    part = backbone(padded[:, 100 : 264 + 2 * halo, 36 : 330 + 2 * halo])
    torch.testing.assert_close(part, whole[:, :, 50:132, 18:165], atol=1e-5, rtol=1e-5)


def test_the_gaussian_channel_is_that_of_scipy():
    volume = noise(20, 24, 28)
    found = features(bank(kinds=["gaussian"], scales=[1.5], stride=1), volume)["gaussian_s1.5"]
    expected = ndimage.gaussian_filter(volume, 1.5, mode="mirror", truncate=TRUNCATE)
    np.testing.assert_allclose(plain("gaussian", found), expected, atol=1e-6)


def test_tokens_are_means_over_the_stride():
    volume = noise(8, 12, 16)
    kinds = ["gaussian", "laplacian", "gradient"]
    fine = features(bank(kinds=kinds, stride=1), volume)
    coarse = features(bank(kinds=kinds, stride=[2, 3, 4]), volume)
    for name, values in fine.items():
        means = values.reshape(4, 2, 4, 3, 4, 4).mean((1, 3, 5))
        np.testing.assert_allclose(coarse[name], means, atol=2e-5)


def test_gradient_and_structure_of_a_ramp_are_its_slope_times_the_scale():
    slope = 0.01
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32) * slope, (32, 32, 64)).copy()
    backbone = bank(kinds=["gradient", "structure"], scales=[2])
    found = features(backbone, ramp)
    for name, values in found.items():
        expected = 0.0 if name in ("structure2_s2", "structure3_s2") else 2 * slope
        centre = plain(name, values[8, 8, 16])
        # The eigenvalue's root is shifted by `FLAT` at most.
        assert centre == pytest.approx(expected, abs=1.1e-3), name


def test_a_membrane_has_one_strong_direction_and_a_filament_two():
    z, y, _ = np.mgrid[:48, :48, :48] - 23.5
    plane = np.exp(-((y / 2.0) ** 2)).astype(np.float32)
    line = np.exp(-((y / 2.0) ** 2) - (z / 2.0) ** 2).astype(np.float32)
    backbone = bank(kinds=["structure"], scales=[2])
    for volume, strong in ((plane, 1), (line, 2)):
        found = features(backbone, volume)
        roots = [plain(name, found[name][12, 12, 12]) for name in backbone.channels]
        assert roots == sorted(roots, reverse=True)
        assert roots[strong - 1] > 0.07
        assert all(root < 0.01 for root in roots[strong:])


def test_anisotropic_voxels_see_the_same_world_as_isotropic_ones():
    def world(spacing_z):
        z = (np.arange(int(48 / spacing_z)) + 0.5) * spacing_z
        y, x = np.arange(48) + 0.5, np.arange(48) + 0.5
        waves = np.sin(z / 5)[:, None, None] * np.cos(y / 6)[None, :, None] * np.cos(x / 4)
        return (0.5 + 0.4 * waves).astype(np.float32)

    scales = [4]
    even = features(bank((1, 1, 1), scales=scales, stride=4), world(1.0))
    thick = features(bank((2, 1, 1), scales=scales, stride=[2, 4, 4]), world(2.0))
    inner = (slice(3, -3),) * 3
    for name in even:
        want, got = plain(name, even[name])[inner], plain(name, thick[name])[inner]
        assert np.abs(want - got).max() < 0.08 * np.ptp(want) + 2e-3, name


def test_an_axis_far_coarser_than_the_scale_is_not_smoothed():
    volume = noise(12, 16, 16)
    found = features(bank((40, 4, 4), kinds=["gaussian"], scales=[2], stride=1), volume)
    expected = ndimage.gaussian_filter(volume, (0, 2, 2), mode="mirror", truncate=TRUNCATE)
    np.testing.assert_allclose(plain("gaussian", found["gaussian_s2"]), expected, atol=1e-6)


def test_a_slice_ignores_its_neighbours_in_two_dimensions():
    volume = noise(3, 32, 32)
    other = volume.copy()
    other[[0, 2]] = 0.0
    backbone = bank((1, 4, 4), dimensions=2)
    assert backbone.stride[0] == 1
    assert backbone.halo[0] == 0
    before, after = features(backbone, volume), features(backbone, other)
    for name, values in before.items():
        np.testing.assert_array_equal(values[1], after[name][1])


def test_channels_have_roughly_unit_variance_on_cells():
    for name, values in features(bank(), CELLS).items():
        assert 0.3 < values.std() < 3, name
        assert abs(values.mean()) < 3, name


def test_features_fit_float16_for_the_harshest_input():
    harsh = (noise(24, 24, 24) > 0.5).astype(np.float32)
    for volume in (harsh, np.zeros_like(harsh), np.ones_like(harsh)):
        for values in features(bank(), volume).values():
            assert np.isfinite(values).all()
            assert np.abs(values).max() < 1000


def test_fingerprint_follows_what_changes_features_and_nothing_else():
    base = bank().fingerprint
    assert json.loads(base)["name"] == "filterbank"
    changed = [
        bank(scales=[1, 2]),
        bank(kinds=["gaussian"]),
        bank(stride=1),
        bank((2, 1, 1)),
        bank(dimensions=2),
    ]
    prints = {base, *(backbone.fingerprint for backbone in changed)}
    assert len(prints) == len(changed) + 1
    assert bank((8, 8, 8)).fingerprint == base
    assert bank(kinds=["structure", "gradient", "laplacian", "gaussian"]).fingerprint == base
    assert bank().to("cpu").fingerprint == base
