"""The window of a network, also where neither its file nor an option states one."""

from __future__ import annotations

from collections.abc import Mapping

from parafovea.geometry.grid import Shape, shape3
from parafovea.upstream.networks.stated import Stated

#: Voxels along z, y, x, by the dimensions of the network.
WINDOWS: Mapping[int, Shape] = {2: (1, 256, 256), 3: (64, 64, 64)}


def window_of(stated: Stated, dimensions: int) -> Shape:
    """Return the voxels of a window along z, y, x.

    Parameters
    ----------
    stated : Stated
        What is known of the network.
    dimensions : {2, 3}
        Those of the network.

    Returns
    -------
    (int, int, int)
        The stated window; else the usual one, or the next larger one that the network takes.
    """
    if stated.window is not None:
        return stated.window
    usual, steps = WINDOWS[dimensions], stated.multiple_of or (1, 1, 1)
    return shape3([-(-n // step) * step for n, step in zip(usual, steps, strict=True)])
