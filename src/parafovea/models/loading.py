"""Reading of model folders of any type."""

from __future__ import annotations

from pathlib import Path

from parafovea.models.folder import load_model
from parafovea.models.image_folder import load_image_network
from parafovea.models.model_json import read_spec
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.image_network import ImageNetwork
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.recipe import ModelSpec


def load_network(folder: Path) -> tuple[ModelSpec, FusedUNet | ImageNetwork]:
    """Read a model folder and return its description and its network, ready to predict.

    Parameters
    ----------
    folder : Path
        The model folder.

    Raises
    ------
    ModelError
        If a file is missing or damaged, a hash differs, or weights do not fit the architecture.
    MissingExtraError
        If a package that reads the network is not installed.
    """
    spec = read_spec(folder)
    if isinstance(spec.network, FusedUNetSpec):
        return load_model(folder)
    return spec, load_image_network(folder, spec)
