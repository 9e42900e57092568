"""Comparison of a phantom's findings with its voxels."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from parafovea_phantoms import Phantom


def require_exact_truth(phantom: Phantom) -> None:
    """Fail unless each object is whole and has the centre and the volume of its finding."""
    count = int(phantom.objects.max())
    assert count == len(phantom.findings) > 0
    np.testing.assert_array_equal(phantom.objects > 0, phantom.classes == 1)
    assert ndimage.label(phantom.objects)[1] == count
    centres = ndimage.center_of_mass(phantom.objects > 0, phantom.objects, range(1, count + 1))
    sizes = np.bincount(phantom.objects.ravel())[1:] * phantom.grid.voxel_volume
    for finding, centre, size in zip(phantom.findings, centres, sizes, strict=True):
        true = phantom.grid.index(finding.position)
        # The voxels that count fluctuate by the square root of those at the surface.
        surface = math.pi * finding.diameter**2 / phantom.grid.voxel_volume ** (2 / 3)
        exact = math.pi / 6 * finding.diameter**3
        slack = 1.5 * math.sqrt(surface) * phantom.grid.voxel_volume
        assert abs(size - exact) < slack
        assert math.dist(centre, true) < min(0.6, 6 / math.sqrt(surface))
