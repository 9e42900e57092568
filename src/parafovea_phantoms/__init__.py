"""Synthetic volumes and landscapes with exact ground truth, for demo, tests and benchmarks."""

from collections.abc import Callable

from parafovea_phantoms.cells.cell import CELL_CLASSES, cell_phantom
from parafovea_phantoms.chests.chest import CHEST_CLASSES, chest_phantom, lung_mask
from parafovea_phantoms.chests.lesions import smallest_diameter
from parafovea_phantoms.phantom import Finding, Phantom

#: Phantom functions by name; each takes a seed, `shape`, `spacing` and `unit`, and a chest its
#: `variety`. A patient is a chest that has some by default.
PHANTOMS: dict[str, Callable[..., Phantom]] = {
    "cell": cell_phantom,
    "chest": chest_phantom,
    "patient": chest_phantom,
}

__all__ = [
    "CELL_CLASSES",
    "CHEST_CLASSES",
    "PHANTOMS",
    "Finding",
    "Phantom",
    "cell_phantom",
    "chest_phantom",
    "lung_mask",
    "smallest_diameter",
]
