"""The choices of post-processing, as they stand in a task of the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from parafovea.errors import ConfigError
from parafovea.models.spec import PositiveFloat, Strict

Method = Literal["argmax", "threshold"]
Connectivity = Literal[6, 18, 26]


class ClassSettings(Strict):
    """How the voxels of one class are cleaned and divided into objects."""

    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Least probability of the class, for the method `threshold`."
    )
    min_voxels: Annotated[int, Field(ge=0)] = Field(
        0, description="Objects of fewer voxels are removed."
    )
    fill_holes: bool = Field(
        False,
        description="Fill background that only this class encloses; what reaches the volume's "
        "border is no hole.",
    )
    split_distance: PositiveFloat | None = Field(
        None,
        description="Split touching objects whose centres are at least this far apart, in the "
        "model's unit of length; null splits nothing.",
    )
    instances: bool = Field(
        True, description="Number the objects of this class; false leaves it one region."
    )


class PostprocessSettings(Strict):
    """How probabilities become classes and objects."""

    method: Method = Field(
        "argmax",
        description="argmax: the most probable class; threshold: the most probable of the classes "
        "that reach their threshold.",
    )
    connectivity: Connectivity = Field(
        26, description="Neighbours of a voxel: over faces (6), edges (18) or corners (26)."
    )
    classes: dict[str, ClassSettings] = Field(
        default_factory=dict, description="Settings by class name; others have the defaults."
    )


def resolve_classes(
    settings: Mapping[str, ClassSettings], names: Sequence[str]
) -> tuple[ClassSettings, ...]:
    """Return the settings of every class but the background, in the order of the classes.

    Parameters
    ----------
    settings : mapping of str to ClassSettings
        Settings by class name; classes not named get the defaults.
    names : sequence of str
        Names of all classes; the first is the background.

    Returns
    -------
    tuple of ClassSettings
        One for each of `names[1:]`.

    Raises
    ------
    ConfigError
        If a name is not that of a class, or is that of the background.
    """
    known = names[1:]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ConfigError(
            f"postprocess.classes names {', '.join(map(repr, unknown))}, but the model's classes "
            f"are {', '.join(known)} (and {names[0]!r}, the background, which has no settings): "
            "use one of these names"
        )
    return tuple(settings.get(name, ClassSettings()) for name in known)
