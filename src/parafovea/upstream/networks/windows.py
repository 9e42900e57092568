"""Windows of networks for which neither the file nor an option states one."""

from __future__ import annotations

from collections.abc import Mapping

from parafovea.geometry.grid import Shape

#: Voxels along z, y, x, by the dimensions of the network.
WINDOWS: Mapping[int, Shape] = {2: (1, 256, 256), 3: (64, 64, 64)}
