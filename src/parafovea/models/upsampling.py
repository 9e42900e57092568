"""Learned upsampling: transposed convolutions from the resolution of tokens to that of voxels."""

from __future__ import annotations

from torch import nn

from parafovea.models.layers import batch_norm, conv


def learned_upsampling(factor: int, channels: int, dimensions: int) -> nn.Sequential:
    """Return the layers that enlarge a map by 2, 4 or 8.

    One doubling after the other (transposed convolution, normalization, ReLU), then a convolution
    of kernel 3. The form of the DINOv3UNet3D family (davidackerman/dinov3_playground), whose layer
    numbers are kept: the last convolution is number 3, 6 or 9.

    Parameters
    ----------
    factor : {2, 4, 8}
        Voxels of the result per voxel of the input along each axis.
    channels : int
        Of the input, and of the result.
    dimensions : {2, 3}
        Spatial dimensions.
    """
    enlarge = nn.ConvTranspose3d if dimensions == 3 else nn.ConvTranspose2d
    layers: list[nn.Module] = []
    for _ in range(factor.bit_length() - 1):
        layers.append(enlarge(channels, channels, kernel_size=4, stride=2, padding=1))
        layers.append(batch_norm(dimensions, channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, conv(dimensions, channels, channels, 3))


def upsampling_factor(last: int) -> int:
    """Return the factor of a learned upsampling whose last convolution has the number `last`."""
    return 1 << (last // 3)
