"""Weights that a training starts from: those of another model."""

from __future__ import annotations

import logging
from pathlib import Path

from parafovea.errors import ModelError
from parafovea.models.folder import load_model
from parafovea.models.networks.fused_unet import LEVELS, FusedUNet
from parafovea.settings.recipe import ModelSpec
from parafovea.settings.recipe_comparison import has_same_output, noted_differences, unfit_to_start

logger = logging.getLogger(__name__)

#: The layer whose channels are the classes, and the modulation of them.
LAST = ("final_conv.", f"film{LEVELS + 2}.")


def take_weights(network: FusedUNet, spec: ModelSpec, folder: Path) -> bool:
    """Fill a network with the weights of a model, all but a last layer of other classes.

    Parameters
    ----------
    network : FusedUNet
        Network to train, with random weights; modified.
    spec : ModelSpec
        Description of the model to train.
    folder : Path
        Folder of the model that the training starts from.

    Returns
    -------
    bool
        Whether its last layer was taken, too.

    Raises
    ------
    ModelError
        If the folder cannot be read, or its network or features differ.
    """
    first, trained = load_model(folder)
    problem = unfit_to_start(spec, first)
    if problem is not None:
        raise ModelError(f"the training cannot start from {folder}: {problem}")
    whole = has_same_output(spec, first)
    weights = {
        name: tensor
        for name, tensor in trained.state_dict().items()
        if whole or not name.startswith(LAST)
    }
    network.load_state_dict(weights, strict=whole)
    rest = "" if whole else "; the last layer is new, for " + ", ".join(spec.classes)
    logger.info("starting from the weights of %s%s", folder, rest)
    for difference in noted_differences(spec, first):
        logger.info("unlike in %s, %s", folder, difference)
    return whole
