"""The choices of sliding-window inference, as they stand in a task of the config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from parafovea.models.spec import PositiveFloat, PositiveInt, ShapeTuple, Strict

BlendingMode = Literal["gaussian", "gaussian_radial", "bump", "bump_wu", "linear", "constant"]
Precision = Literal["auto", "float32", "bfloat16"]
EngineChoice = Literal["auto", "torch", "openvino"]


class InferenceSettings(Strict):
    """How windows are placed, run and blended."""

    window: ShapeTuple | None = Field(
        None, description="Voxels of a window along z, y, x; the model's own when null."
    )
    overlap: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="Share of a window that its neighbour covers too."
    )
    blending: BlendingMode = Field(
        "gaussian", description="Importance map that weights a window's voxels in the sum."
    )
    sigma: PositiveFloat | None = Field(
        None, description="Width of the Gaussian maps; 0.125 (gaussian), 0.2 (radial) when null."
    )
    batch_size: PositiveInt = Field(1, description="Windows in one call of the network.")
    precision: Precision = Field(
        "auto",
        description="auto: bfloat16 where the processor computes it natively, else float32.",
    )
    engine: EngineChoice = Field(
        "auto",
        description="What runs the network. auto: openvino on a CPU without bfloat16 where it is "
        "installed (`parafovea[openvino]`), else torch, which was the faster one in bfloat16.",
    )
    compile: bool = Field(
        False,
        description="Compile the network by torch.compile first, which takes up to minutes a job "
        "and needs a C++ compiler.",
    )
    shards: PositiveInt = Field(
        1, description="Jobs that a sample's windows are divided into; results do not depend on it."
    )

    @model_validator(mode="after")
    def _compiles_torch(self) -> InferenceSettings:
        if self.compile and self.engine == "openvino":
            raise ValueError(
                "compile: true is for torch, since openvino always compiles: set engine: torch, "
                "or compile: false"
            )
        return self
