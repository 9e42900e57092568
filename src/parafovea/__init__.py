"""Segmentation of large volumes with local and context features, fused in a UNet.

The package holds all the logic of the Snakemake workflow around it. Imports point one way: from
`cli` and `stages` down to `grid`.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parafovea.inference.volume import load_inference_model

__all__ = ["__version__", "load_inference_model"]

__version__ = version("parafovea")


def __getattr__(name: str) -> Any:
    """Return `load_inference_model` when it is first asked for, since it loads torch."""
    if name == "load_inference_model":
        from parafovea.inference.volume import load_inference_model

        return load_inference_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
