"""Layers in 2 or 3 dimensions with the names used in checkpoints; learned upsampling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Convolution3d(nn.Conv3d):
    """A 3D convolution with correct weight gradients for inputs of two planes in bfloat16.

    oneDNN in torch 2.13 leaves part of the weight gradient uninitialized if a kernel of three
    planes is applied to an input of two planes in bfloat16 on a CPU. With the two planes of zeros
    padded beforehand it computes all of it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution; for shapes see `torch.nn.Conv3d`."""
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
    """Return the layers that upsample a map by 2, 4 or 8.

    A doubling (transposed convolution, normalization, ReLU) for each factor of 2, then a
    convolution of kernel 3. Same form and layer numbers as in the DINOv3UNet3D family
    (davidackerman/dinov3_playground): the last convolution is number 3, 6 or 9.

    Parameters
    ----------
    factor : {2, 4, 8}
        Voxels of the result per voxel of the input along each axis.
    channels : int
        Channels of the input and the result.
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
    """Return the factor of a learned upsampling whose last convolution has number `last`."""
    return 1 << (last // 3)
