"""What backbones ask of the input of a model."""

from __future__ import annotations

from parafovea.errors import ModelError
from parafovea.settings.backbones.image_encoder import EncoderArguments
from parafovea.settings.backbones.network import NetworkArguments
from parafovea.settings.backbones.parsing import parse_arguments
from parafovea.settings.backbones.raw import sees_neighbours
from parafovea.settings.backbones.terramind import TerramindArguments
from parafovea.settings.quantities import Range
from parafovea.settings.recipe import BackboneSpec, Recipe


def check_backbone(spec: BackboneSpec, recipe: Recipe) -> None:
    """Raise `ModelError` if arguments of a model's backbone are invalid, or do not fit the model.

    Parameters
    ----------
    spec : BackboneSpec
        The backbone of its local view or of its context.
    recipe : Recipe
        The model.
    """
    arguments = parse_arguments(spec, dimensions=recipe.network.dimensions)
    if recipe.is_image and sees_neighbours(spec):
        raise ModelError(
            f"backbone {spec.name}: neighbours {spec.arguments['neighbours']} are for planes of a "
            "volume, but the planes here are tiles, which have no order: remove it"
        )
    method = recipe.normalization.method
    reflectance = isinstance(arguments, EncoderArguments)
    if isinstance(arguments, NetworkArguments):
        arguments.band_indices(recipe.bands)
        # its statistics are of these bands as they are
        reflectance = bool(arguments.description.bands)
    if reflectance and method != "none":
        raise ModelError(
            f"backbone {spec.name} takes reflectance, but normalization.method is {method}, which "
            "changes it: set normalization: {method: none}"
        )


def input_ranges(recipe: Recipe) -> dict[str, Range]:
    """Return what 0 and 1 of a model's input are, for its bands that are no reflectance.

    Parameters
    ----------
    recipe : Recipe
        The model, whose backbones state it.

    Returns
    -------
    dict
        Decibels or metres, by band; empty for bands of which no backbone states it.

    Raises
    ------
    ModelError
        If the arguments of a backbone are invalid, or its local and its context view disagree.
    """
    found: dict[str, Range] = {}
    for spec in recipe.backbones:
        if spec.name != "terramind":
            continue
        arguments = parse_arguments(spec, dimensions=recipe.network.dimensions)
        if not isinstance(arguments, TerramindArguments):
            continue
        for band, limits in arguments.ranges.items():
            if found.setdefault(band, limits) != limits:
                raise ModelError(
                    f"backbone {spec.name}: the range of {band} is {list(found[band])} in the "
                    f"local view and {list(limits)} in that of the context: state the same in both"
                )
    return found
