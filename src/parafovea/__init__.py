"""Segmentation of large volumes with local and context features, fused in a UNet.

The package holds all the logic of the Snakemake workflow around it. Imports point one way: from
`cli` and `stages` down to `grid`.
"""

from importlib.metadata import version

__version__ = version("parafovea")
