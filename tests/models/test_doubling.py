"""Doubling the resolution in place agrees with torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from parafovea.models.doubling import double_into


@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 2, 1), (4, 6)])
def test_agrees_with_linear_interpolation_and_leaves_other_channels_alone(
    shape: tuple[int, ...],
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *shape, 7, generator=generator).movedim(-1, 1)
    out = torch.zeros(2, *[2 * n for n in shape], 10).movedim(-1, 1)
    double_into(x, out[:, 1:8])
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    wanted = F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
    torch.testing.assert_close(out[:, 1:8], wanted, rtol=1e-6, atol=1e-6)
    assert not out[:, :1].any()
    assert not out[:, 8:].any()
