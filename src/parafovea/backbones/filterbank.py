"""Gaussian derivatives and the structure tensor at several scales: features without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F

from parafovea.backbones.arguments import FilterbankArguments
from parafovea.backbones.backbone import fingerprint_of, token_shape, whole_tile
from parafovea.backbones.filters import (
    SMALLEST_SIGMA,
    TRUNCATE,
    differences,
    eigenvalues,
    gaussian_radius,
    laplacian,
    smooth,
)
from parafovea.grid import Shape, Vector, shape3, vector3

#: What is subtracted from each kind, and what it is then multiplied with, for roughly zero mean
#: and unit variance on electron micrographs in [0, 1]: fixed, so that a feature means the same in
#: every sample. Measured at scales 1, 2, 4 on isotropic FIB-SEM of a fly's brain and on ssTEM of
#: its nerve cord (4.6 and 9.2 nm in plane, 46 nm sections); each is within a factor of two.
STANDARD: dict[str, tuple[float, float]] = {
    "gaussian": (0.55, 5.5),
    "laplacian": (0.0, 11.0),
    "gradient": (0.075, 24.0),
    "structure1": (0.072, 31.0),
    "structure2": (0.028, 85.0),
    "structure3": (0.014, 150.0),
}

#: Keeps the square root of an eigenvalue from magnifying rounding where nothing changes.
FLAT = 1e-3


@dataclass(frozen=True, slots=True)
class Scale:
    """One scale of the bank, in voxels of a view.

    Parameters
    ----------
    scale : float
        Sigma in voxels of the finest axis; makes derivatives comparable between scales.
    sigma : tuple of float
        Sigma in voxels along z, y, x; 0 where an axis is not smoothed.
    token_sigma : tuple of float
        The same in tokens, for the structure tensor.
    ratio : tuple of float
        Finest spacing over the axis' spacing, along z, y, x.
    axes : tuple of int
        The axes that derivatives run along.
    """

    scale: float
    sigma: Vector
    token_sigma: Vector
    ratio: Vector
    axes: tuple[int, ...]

    @classmethod
    def of(cls, scale: float, *, spacing: Vector, stride: Shape, dimensions: int) -> Scale:
        """Return the scale for a voxel size; in 2 dimensions z is neither smoothed nor seen."""
        axes = (1, 2) if dimensions == 2 else (0, 1, 2)
        finest = min(spacing[axis] for axis in axes)
        ratio = vector3([finest / s if axis in axes else 0.0 for axis, s in enumerate(spacing)])
        return cls(
            scale=scale,
            sigma=vector3([scale * r for r in ratio]),
            token_sigma=vector3([scale * r / k for r, k in zip(ratio, stride, strict=True)]),
            ratio=ratio,
            axes=axes,
        )

    @property
    def token_reach(self) -> Shape:
        """Tokens that the structure tensor's own smoothing reaches, along z, y, x."""
        return shape3([gaussian_radius(s) for s in self.token_sigma])

    @property
    def difference_reach(self) -> Shape:
        """Voxels that a difference reaches, along z, y, x."""
        return shape3([int(axis in self.axes) for axis in range(3)])

    @property
    def reach(self) -> Shape:
        """Voxels that a smoothed difference reaches, along z, y, x."""
        terms = zip(self.sigma, self.difference_reach, strict=True)
        return shape3([gaussian_radius(s) + d for s, d in terms])


class Filterbank:
    """Backbone `filterbank`; see `Backbone` for its attributes.

    Per scale s: the Gaussian; the Laplacian of Gaussian times s²; the gradient magnitude times s;
    and the square roots of the structure tensor's eigenvalues times s, descending (Bigün and
    Granlund 1987), which have the unit of the gradient. s is isotropic in the world: an axis of
    coarser voxels has a smaller sigma, and none below `SMALLEST_SIGMA` voxels. Voxel features are
    averaged over the stride; the structure tensor itself is averaged over the stride and then
    smoothed with s, before its eigenvalues are taken, once per token.

    Parameters
    ----------
    arguments : FilterbankArguments
        Scales, kinds and stride.
    spacing : tuple of float
        Voxel size along z, y, x; only ratios matter.
    dimensions : int
        3, or 2 where every z slice stands by itself.
    device : str
        Where to compute.
    """

    def __init__(
        self,
        arguments: FilterbankArguments,
        *,
        spacing: Vector,
        dimensions: int,
        device: str = "cpu",
    ) -> None:
        self._arguments = arguments
        self._spacing = spacing
        self._dimensions = dimensions
        self._device = torch.device(device)
        self.channels = arguments.channels(dimensions)
        self.stride = arguments.strides(dimensions)
        self._scales = tuple(
            Scale.of(scale, spacing=spacing, stride=self.stride, dimensions=dimensions)
            for scale in arguments.scales
        )
        self.halo = self._halo()
        self.tile = whole_tile((8, 512, 512) if dimensions == 2 else (128, 128, 128), self.stride)
        self.fingerprint = fingerprint_of(
            "filterbank",
            channels=self.channels,
            stride=self.stride,
            sigma=[[round(s, 6) for s in scale.sigma] for scale in self._scales],
            standard={key: list(value) for key, value in STANDARD.items()},
            truncate=TRUNCATE,
            smallest_sigma=SMALLEST_SIGMA,
            flat=FLAT,
        )

    def to(self, device: str) -> Self:
        """Return the same backbone on another device."""
        return type(self)(
            self._arguments, spacing=self._spacing, dimensions=self._dimensions, device=device
        )

    @torch.inference_mode()
    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the filter responses of a block; see `Backbone.__call__`."""
        shape = token_shape(block.shape, stride=self.stride, halo=self.halo)
        voxels = block.to(self._device, torch.float32)
        tokens = torch.empty((len(self.channels), *shape), device=self._device)
        rows = iter(range(len(self.channels)))
        for scale in self._scales:
            for name, response in self._responses(voxels, scale):
                offset, factor = STANDARD[name]
                tokens[next(rows)] = (response - offset) * factor
        return tokens

    def _responses(self, voxels: torch.Tensor, scale: Scale) -> list[tuple[str, torch.Tensor]]:
        """Return the name and the tokens of each feature of a scale, in the order of channels."""
        kinds = self._arguments.kinds
        margin = self._margin(scale)
        excess = [h - m - r for h, m, r in zip(self.halo, margin, scale.reach, strict=True)]
        smoothed = smooth(_without(voxels, excess), scale.sigma)
        inner = _without(smoothed, margin)
        responses: list[tuple[str, torch.Tensor]] = []
        if "gaussian" in kinds:
            responses.append(("gaussian", self._pooled(_without(inner, scale.difference_reach))))
        if "laplacian" in kinds:
            curvature = laplacian(inner, scale.ratio, axes=scale.axes) * scale.scale**2
            responses.append(("laplacian", self._pooled(curvature)))
        if "gradient" not in kinds and "structure" not in kinds:
            return responses
        ratio = [scale.scale * r for r in scale.ratio]
        slopes = differences(smoothed, ratio, axes=scale.axes)
        if "gradient" in kinds:
            squares = torch.stack([_without(slope, margin).square() for slope in slopes])
            responses.append(("gradient", self._pooled(squares.sum(0).sqrt())))
        if "structure" in kinds:
            roots = self._structure(slopes, scale)
            responses += [(f"structure{i + 1}", root) for i, root in enumerate(roots)]
        return responses

    def _structure(self, slopes: list[torch.Tensor], scale: Scale) -> torch.Tensor:
        """Return the roots of the structure tensor's eigenvalues, (eigenvalue, z, y, x)."""
        # In float64, as the small eigenvalues are differences of large components.
        tensor = [
            smooth(self._pooled(first * second).double(), scale.token_sigma)
            for i, first in enumerate(slopes)
            for second in slopes[i:]
        ]
        return (eigenvalues(tensor).clamp_min(0.0) + FLAT**2).sqrt() - FLAT

    def _pooled(self, voxels: torch.Tensor) -> torch.Tensor:
        """Return the means over the stride."""
        z, y, x = self.stride
        if z > 1:
            return F.avg_pool3d(voxels[None], self.stride)[0]
        if y == x == 1:
            return voxels
        # The same sums in the same order, measured three times faster on one CPU core.
        first, *others = [voxels[:, i::y, j::x] for i in range(y) for j in range(x)]
        total = first.clone()
        for other in others:
            total += other
        return total / (y * x)

    def _margin(self, scale: Scale) -> Shape:
        """Return the voxels around the block where this scale needs derivatives."""
        if "structure" not in self._arguments.kinds:
            return (0, 0, 0)
        return shape3([t * k for t, k in zip(scale.token_reach, self.stride, strict=True)])

    def _halo(self) -> Shape:
        """Return the farthest reach of all scales, rounded up to whole tokens."""
        needs = []
        for scale in self._scales:
            terms = zip(scale.reach, self._margin(scale), self.stride, strict=True)
            needs.append([-(-reach // k) * k + margin for reach, margin, k in terms])
        return shape3([max(column) for column in zip(*needs, strict=True)])


def _without(volume: torch.Tensor, margin: Shape | list[int]) -> torch.Tensor:
    """Return the volume without `margin` voxels on both sides of each axis."""
    for axis, n in enumerate(margin):
        volume = volume.narrow(axis, n, volume.shape[axis] - 2 * n)
    return volume
