"""Layers in 2 or 3 dimensions, under the names that checkpoints use; learned upsampling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Convolution3d(nn.Conv3d):
    """A convolution whose weights get right gradients, also over two planes in bfloat16.

    oneDNN, as torch 2.13 ships it, leaves a part of the weights' gradient unset where a kernel of
    three planes crosses an input of two in bfloat16 on a CPU: the gradient holds whatever lay in
    that memory. With the two planes of zeros laid around beforehand it computes all of it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution; shapes as of `torch.nn.Conv3d`."""
        # In this order, since a traced network (never in training) must not compare shapes.
        crossed = self.training and self.kernel_size[0] == 3 and input.device.type == "cpu"
        if not crossed or input.shape[2] != 2:
            return super().forward(input)
        padded = F.pad(input, (0, 0, 0, 0, 1, 1))
        return F.conv3d(padded, self.weight, self.bias, padding=(0, 1, 1))


def conv(dimensions: int, inputs: int, outputs: int, kernel: int) -> nn.Module:
    """Return a convolution with bias that keeps the size, in 2 or 3 dimensions."""
    layer = Convolution3d if dimensions == 3 else nn.Conv2d
    return layer(inputs, outputs, kernel, padding=kernel // 2)


def batch_norm(dimensions: int, channels: int) -> nn.Module:
    """Return a batch normalization in 2 or 3 dimensions."""
    return nn.BatchNorm3d(channels) if dimensions == 3 else nn.BatchNorm2d(channels)


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
