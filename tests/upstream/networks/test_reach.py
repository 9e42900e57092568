"""How tokens lie over the input, as found by running a network: equal to what its layers say."""

import pytest
import torch
from tiny_networks import seeded
from torch import nn

from parafovea.errors import ModelError
from parafovea.upstream.networks.reach import LayoutFinder


def layout(*layers, sides=(64, 64), channels=1, **more):
    torch.manual_seed(0)
    network = seeded(nn.Sequential(*layers))
    with torch.inference_mode():
        finder = LayoutFinder(network, channels=channels, name="tensor")
        return finder.layout(sides, **{"fixed": False, **more})


def conv(channels, out, kernel, **more):
    return nn.Conv2d(channels, out, kernel, **more)


@pytest.mark.parametrize(
    ("layers", "stride", "period", "offset", "before", "after"),
    [
        # 3 x 3 twice: one pixel each
        ((conv(1, 4, 3, padding=1), conv(4, 4, 3, padding=1)), 1, 1, 0, 2, 2),
        # token i sees 2i - 3 to 2i + 3, and its own pixels are 2i and 2i + 1
        ((conv(1, 4, 3, stride=2, padding=1), conv(4, 4, 3, padding=1)), 2, 2, 0, 3, 2),
        # without padding, the first token is that of the pixel in the middle of the kernels
        ((conv(1, 4, 3), conv(4, 4, 5)), 1, 1, 3, 3, 3),
        # dilation 2: two pixels each
        ((conv(1, 4, 3, padding=2, dilation=2),), 1, 1, 0, 2, 2),
        # a patch is a token
        ((conv(1, 4, 16, stride=16),), 16, 16, 0, 0, 0),
        # pools of 4, 3 x 3 of them, upsampled: the two tokens of a pool see the same 4 + 2 * 4
        # pixels, and one more on each side
        (
            (
                conv(1, 4, 3, padding=1),
                nn.MaxPool2d(4),
                conv(4, 4, 3, padding=1),
                nn.Upsample(scale_factor=2),
            ),
            2,
            4,
            0,
            7,
            7,
        ),
        # five strides of 2 with one pixel of padding: token i sees 32i - 31 to 32i + 31, so it lies
        # 15 pixels before the middle of its own
        (
            tuple(conv(4 if n else 1, 4, 3, stride=2, padding=1) for n in range(5)),
            32,
            32,
            -15,
            16,
            15,
        ),
    ],
)
def test_stride_period_and_reach_are_those_of_the_layers(
    layers, stride, period, offset, before, after
):
    found = layout(*layers)
    assert found.stride == (1, stride, stride)
    assert found.period == (1, period, period)
    assert found.offset == (0, offset, offset)
    assert (found.before, found.after) == ((0, before, before), (0, after, after))


def test_axes_of_a_volume_are_looked_at_one_by_one():
    found = layout(
        nn.Conv3d(1, 3, (1, 3, 5), stride=(1, 1, 2), padding=(0, 1, 2)), sides=(8, 16, 32)
    )
    assert found.stride == (1, 1, 2)
    assert (found.before, found.after) == ((0, 1, 2), (0, 1, 1))


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)])
def test_what_depends_on_the_whole_image_has_no_reach(norm):
    found = layout(conv(1, 4, 3, padding=1), norm)
    assert found.before is None
    assert found.window == (1, 64, 64)


def test_a_reach_beyond_the_window_is_found_in_a_larger_one():
    found = layout(*(conv(1, 1, 3, padding=8, dilation=8) for _ in range(3)), sides=(32, 32))
    assert found.before == (0, 24, 24)
    assert found.window == (1, 128, 128)


class Positions(nn.Module):
    """Adds what depends on the place in the window alone."""

    def forward(self, images):
        return images + torch.linspace(0, 9, images.shape[-1])


def test_features_that_depend_on_the_place_in_the_window_have_no_reach():
    assert layout(conv(1, 2, 3, padding=1), Positions()).before is None


def test_a_network_of_one_size_is_looked_at_there_alone():
    class Fixed(nn.Sequential):
        def forward(self, images):
            if images.shape[-1] != 48:
                raise ModelError("takes 48")
            return super().forward(images)

    found = layout(Fixed(conv(1, 2, 3, stride=2, padding=1)), sides=(48, 48))
    assert found.fixed_window
    assert (found.stride, found.before, found.after) == ((1, 2, 2), (0, 1, 1), (0, 0, 0))


class Multiple(nn.Module):
    """Takes sides that are multiples of a number alone, as a network of many levels does."""

    def forward(self, images):
        if any(side % 28 for side in images.shape[2:]):
            raise ModelError("takes multiples of 28")
        return images


def test_windows_grow_by_what_the_network_takes():
    found = layout(Multiple(), conv(1, 2, 3, stride=2, padding=1), sides=(56, 56))
    assert not found.fixed_window
    assert (found.stride, found.before) == ((1, 2, 2), (0, 1, 1))
    assert found.period == (1, 56, 56)


def test_a_tensor_whose_size_does_not_follow_the_window_is_refused():
    with pytest.raises(ModelError, match=r"no whole number of voxels per token"):
        layout(nn.AdaptiveAvgPool2d(8))


def test_a_tensor_with_other_axes_is_refused():
    with pytest.raises(ModelError, match=r"\(1, 1, 4096\), 3 axes, but features of places have 4"):
        layout(nn.Flatten(2))


def test_values_that_are_not_finite_are_refused():
    class Broken(nn.Module):
        def forward(self, images):
            return images / 0

    with pytest.raises(ModelError, match="NaN or infinite"):
        layout(Broken())
