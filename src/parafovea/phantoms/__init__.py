"""Volumes with exact truth, made from a seed: for the demo, the tests and the benchmarks."""

from collections.abc import Callable

from parafovea.phantoms.cell import CELL_CLASSES, cell_phantom
from parafovea.phantoms.phantom import Phantom

#: Makers of phantoms by name; each takes a seed, `shape`, `spacing` and `unit`.
PHANTOMS: dict[str, Callable[..., Phantom]] = {"cell": cell_phantom}

__all__ = ["CELL_CLASSES", "PHANTOMS", "Phantom", "cell_phantom"]
