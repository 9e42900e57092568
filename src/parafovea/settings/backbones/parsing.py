"""Arguments of a backbone, validated by its name and the dimensions of the network."""

from __future__ import annotations

from pydantic import ValidationError

from parafovea.errors import ModelError
from parafovea.settings.backbones.filterbank import FilterbankArguments
from parafovea.settings.backbones.huggingface import HuggingfaceArguments
from parafovea.settings.backbones.image_encoder import EncoderArguments
from parafovea.settings.backbones.network import NetworkArguments
from parafovea.settings.backbones.prithvi import PrithviArguments
from parafovea.settings.backbones.raw import RawArguments
from parafovea.settings.backbones.terramind import TerramindArguments
from parafovea.settings.recipe import BackboneSpec

BackboneArguments = (
    RawArguments
    | FilterbankArguments
    | HuggingfaceArguments
    | PrithviArguments
    | TerramindArguments
    | NetworkArguments
)

_ARGUMENTS: dict[str, type[BackboneArguments]] = {
    "raw": RawArguments,
    "filterbank": FilterbankArguments,
    "huggingface": HuggingfaceArguments,
    "dinov3": HuggingfaceArguments,
    "prithvi": PrithviArguments,
    "terramind": TerramindArguments,
    "network": NetworkArguments,
}

#: Names of the backbones that are encoders of images with bands.
ENCODERS = tuple(name for name, kind in _ARGUMENTS.items() if issubclass(kind, EncoderArguments))


def parse_arguments(spec: BackboneSpec, *, dimensions: int) -> BackboneArguments:
    """Return the validated arguments of a backbone.

    Parameters
    ----------
    spec : BackboneSpec
        Name, revision and arguments by name.
    dimensions : int
        3, or 2 if every z slice is independent.

    Returns
    -------
    BackboneArguments
        The arguments with defaults filled in.

    Raises
    ------
    ModelError
        If an argument is unknown or invalid, or does not fit `dimensions`.
    """
    if dimensions not in (2, 3):
        raise ModelError(f"backbone {spec.name}: dimensions {dimensions} must be 2 or 3")
    kind = _ARGUMENTS[spec.name]
    if spec.revision is not None and kind is not HuggingfaceArguments:
        raise ModelError(
            f"backbone {spec.name}: revision {spec.revision!r} cannot be set, since only "
            "huggingface has weights of the hub: remove it"
        )
    unknown = sorted(set(spec.arguments) - set(kind.model_fields))
    if unknown:
        raise ModelError(
            f"backbone {spec.name}: unknown argument{'s' * (len(unknown) > 1)} "
            f"{', '.join(map(repr, unknown))}: allowed are {', '.join(kind.model_fields)}"
        )
    try:
        arguments = kind.model_validate(spec.arguments)
    except ValidationError as error:
        raise ModelError(f"backbone {spec.name}: {_reasons(error)}") from error
    _check_dimensions(spec.name, arguments, dimensions)
    return arguments


def _check_dimensions(name: str, arguments: BackboneArguments, dimensions: int) -> None:
    """Raise `ModelError` if arguments mix slices that must stay independent."""
    if isinstance(arguments, NetworkArguments):
        _check_network(arguments, dimensions)
        return
    if isinstance(arguments, RawArguments) and arguments.neighbours and dimensions == 3:
        raise ModelError(
            f"backbone {name}: neighbours {arguments.neighbours} are for a network of 2 "
            "dimensions; one of 3 sees other planes already: remove it"
        )
    if dimensions == 3 or isinstance(arguments, EncoderArguments):
        return
    if not isinstance(arguments, HuggingfaceArguments):
        if arguments.strides(2)[0] != 1:
            raise ModelError(
                f"backbone {name}: stride {arguments.strides(2)} must be 1 along z, "
                "since the network has 2 dimensions"
            )
    elif arguments.planes != "xy":
        raise ModelError(
            f"backbone {name}: planes {arguments.planes} need a network of 3 dimensions, "
            "not 2: use planes xy"
        )
    elif arguments.plane_step != 1:
        raise ModelError(
            f"backbone {name}: plane_step {arguments.plane_step} must be 1, "
            "since the network has 2 dimensions"
        )


def _check_network(arguments: NetworkArguments, dimensions: int) -> None:
    found = arguments.description
    if found.dimensions == 3:
        given = {"planes", "plane_step"} & arguments.model_fields_set
        if given:
            raise ModelError(
                f"backbone network: {' and '.join(sorted(given))} cannot be set, since "
                f"{arguments.weights} takes volumes, not planes: remove it"
            )
        if dimensions == 2:
            raise ModelError(
                f"backbone network: {arguments.weights} takes volumes, but the network of the "
                "model has 2 dimensions: use a backbone of planes"
            )
    elif arguments.planes != "xy" and found.stride[1] != found.stride[2]:
        raise ModelError(
            f"backbone network: planes {arguments.planes} need the same stride along both axes of "
            f"a plane, but {arguments.weights} has {found.stride}: use planes xy"
        )
    elif dimensions == 2 and (arguments.planes != "xy" or arguments.plane_step != 1):
        raise ModelError(
            f"backbone network: planes {arguments.planes} of step {arguments.plane_step} need a "
            "network of 3 dimensions, not 2: use planes xy and plane_step 1"
        )
    if arguments.tile is None:
        return
    period = max(found.period)
    if found.reach is None or found.fixed_window:
        raise ModelError(
            f"backbone network: tile {arguments.tile} cannot be set, since {arguments.weights} "
            f"has windows of {found.window} voxels: remove it"
        )
    if arguments.tile % period:
        raise ModelError(f"backbone network: tile {arguments.tile} must be a multiple of {period}")


def _reasons(error: ValidationError) -> str:
    """Return pydantic's errors in one line: argument, value, what is allowed."""
    parts: list[str] = []
    for item in error.errors():
        # The names of union members ("int", "tuple[…]") mean nothing to the author of a config.
        where = str(item["loc"][0]) if item["loc"] else ""
        value = "" if item["type"] == "missing" or not where else f" {item['input']!r}"
        reason = item["msg"].removeprefix("Value error, ")
        parts.append(f"argument {where}{value}: {reason}" if where else reason)
    return "; ".join(parts)
