"""What is known of a network that is imported: by its file, and by the options of the import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt

from parafovea.settings.field_types import PositiveFloat, ShapeTuple, SpacingTuple, Strict
from parafovea.settings.networks import Margin
from parafovea.settings.recipe import KindName, Normalization

NetworkType = Literal["onnx", "torchscript", "exported", "monai", "pivot"]


class Stated(Strict):
    """Statements about a network, the fields of its recipe; None for what is not stated.

    Beside them is `trust`: whether the source of a file that is code is trusted.
    """

    trust: bool = False
    kind: KindName | None = None
    classes: tuple[str, ...] | None = None
    bands: tuple[str, ...] | None = None
    unit: str | None = None
    spacing: SpacingTuple | None = None
    window: ShapeTuple | None = None
    normalization: Normalization | None = None
    residual: bool | None = None
    dimensions: Literal[2, 3] | None = None
    axes: Literal["zyx", "xyz"] | None = None
    orientation: str | None = None
    architecture: str | None = None
    arguments: dict[str, Any] | None = None
    multiple_of: ShapeTuple | None = None
    fixed_window: bool | None = None
    fixed_batch: int | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[PositiveFloat, ...] | None = None
    entry: NonNegativeInt | str | None = None
    channels: tuple[NonNegativeInt, ...] | None = None
    complement: bool | None = None
    activation: Literal["softmax", "sigmoid", "none"] | None = None
    margin: Margin | None = None
    stride: ShapeTuple | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The statements by name."""
        named = {name: getattr(self, name) for name in type(self).model_fields if name != "trust"}
        return {name: value for name, value in named.items() if value is not None}

    def over(self, other: Stated) -> Stated:
        """Return these statements, and those of another where these say nothing."""
        return Stated.model_validate({**other.given, **self.given})


@dataclass(frozen=True)
class Found:
    """A network that was read from a file.

    Parameters
    ----------
    type : {"onnx", "torchscript", "exported", "monai", "pivot"}
        Type of the network in the model folder.
    files : mapping of str to Path
        Files of the model folder, by their name in it.
    stated : Stated
        What the file says.
    input_channels : int or None
        Channels of the input, if the file says so.
    origin : mapping
        Record of the file, with its name and hash, in `training.upstream` of the model.
    notes : tuple of str
        What else the user should know, a sentence each.
    """

    type: NetworkType
    files: Mapping[str, Path]
    stated: Stated = field(default_factory=Stated)
    input_channels: int | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
