"""The choices of inference, as they stand in a task of the config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from parafovea.geometry.grid import Vector
from parafovea.geometry.symmetry import check_views
from parafovea.settings.recipe import PositiveFloat, PositiveInt, ShapeTuple, Strict

BlendingMode = Literal["gaussian", "gaussian_radial", "bump", "bump_wu", "linear", "constant"]
Mode = Literal["sliding_window", "whole_volume"]
Precision = Literal["auto", "float32", "bfloat16"]
EngineChoice = Literal["auto", "torch", "openvino"]


ScaleFactor = Annotated[float, Field(ge=1 / 16, le=16)]

#: The blending modes that have a width.
WIDE = ("gaussian", "gaussian_radial")


class InferenceSettings(Strict):
    """How windows are placed, run and blended."""

    mode: Mode = Field(
        "sliding_window",
        description="whole_volume: one window that covers the sample, mirrored at its border up "
        "to a multiple of 16; for samples that fit the memory, others are refused.",
    )
    window: ShapeTuple | None = Field(
        None, description="Voxels of a window along z, y, x; the model's own when null."
    )
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        0.5,
        description="Share of a window that its neighbour covers too; null where `stride` says it.",
    )
    stride: ShapeTuple | None = Field(
        None,
        description="Voxels from one window to the next along z, y, x, instead of `overlap`.",
    )
    blending: BlendingMode = Field(
        "gaussian", description="Importance map that weights a window's voxels in the sum."
    )
    sigma: PositiveFloat | None = Field(
        None, description="Width of the Gaussian maps; 0.125 (gaussian), 0.2 (radial) when null."
    )
    batch_size: PositiveInt = Field(1, description="Windows in one call of the network.")
    tta: tuple[str, ...] = Field(
        (),
        description="Views to average with the sample as it is, any of `flip_x`, `flip_y`, "
        "`flip_z`, `rotate_90_xy`, `rotate_90_xz`, `rotate_90_yz`. They are not combined: "
        "`flip_x+flip_y` names a view that is both. Each costs features and inference again.",
    )
    do_eval: bool = Field(
        True,
        description="Batch normalization by the model's statistics; false: by those of the batch "
        "at hand, so that results depend on `batch_size` and, above a batch of 1, on `shards`.",
    )
    skip_empty: bool = Field(
        True,
        description="Detection only: leave out windows in which the scan shows no body; they count "
        "as predicted 0. A segmentation computes every window.",
    )
    precision: Precision = Field(
        "auto",
        description="auto: bfloat16 where the processor computes it natively, else float32.",
    )
    output_scale: ScaleFactor | tuple[ScaleFactor, ScaleFactor, ScaleFactor] = Field(
        1.0,
        description="Voxels of the prediction per voxel of the model's grid, one number or z, y, "
        "x: 2 is finer, 0.5 coarser. What follows counts in the prediction's voxels.",
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
    shards: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Jobs that a sample's windows are divided into; results do not depend on it. "
        "auto: as many as `windows_per_shard` asks for, at most 10,000. The sheet's column wins.",
    )
    windows_per_shard: PositiveInt = Field(
        2000,
        description="For `shards: auto`: windows of a job at most, those of each view counted. "
        "One of 64 x 64 x 64 took two processor cores 0.1 to 0.14 s with the shipped cell model.",
    )

    @property
    def output_scales(self) -> Vector:
        """`output_scale` along z, y, x."""
        scale = self.output_scale
        return (scale, scale, scale) if isinstance(scale, float) else scale

    @property
    def views(self) -> int:
        """How many views of the sample are averaged: itself, and each augmentation."""
        return 1 + len(self.tta)

    @field_validator("tta")
    @classmethod
    def _known_views(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_views(names)
        return names

    @model_validator(mode="before")
    @classmethod
    def _without_overlap(cls, values: Any) -> Any:
        """Take the default overlap away where it has no meaning: only a stated one conflicts."""
        if not isinstance(values, dict) or "overlap" in values:
            return values
        if values.get("stride") is not None or values.get("mode") == "whole_volume":
            return {**values, "overlap": None}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mode == "whole_volume":
            given = [n for n in ("window", "overlap", "stride") if getattr(self, n) is not None]
            if given:
                raise ValueError(
                    f"mode whole_volume has one window, but {' and '.join(given)} is given: set "
                    "it to null, or use mode: sliding_window"
                )
        elif self.stride is not None and self.overlap is not None:
            raise ValueError(
                f"overlap ({self.overlap:g}) and stride {self.stride} are both given: set one of "
                "them to null"
            )
        elif self.stride is None and self.overlap is None:
            raise ValueError("neither overlap nor stride is given: set overlap: 0.5")
        if self.stride is not None and self.window is not None:
            check_stride(self.window, self.stride)
        if self.sigma is not None and self.blending not in WIDE:
            raise ValueError(
                f"sigma ({self.sigma:g}) has no meaning for blending {self.blending}: set it to "
                f"null, or use {' or '.join(WIDE)}"
            )
        return self

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        if self.compile and self.engine == "openvino":
            raise ValueError(
                "compile: true is for torch, since openvino always compiles: set engine: torch, "
                "or compile: false"
            )
        if not self.do_eval and (self.compile or self.engine == "openvino"):
            raise ValueError(
                "do_eval: false needs the network as torch runs it: set engine: torch and "
                "compile: false"
            )
        return self


def check_stride(window: Sequence[int], stride: Sequence[int]) -> None:
    """Raise `ValueError` where windows a stride apart would leave voxels between them."""
    if any(s > w for w, s in zip(window, stride, strict=True)):
        raise ValueError(
            f"stride {tuple(stride)} is larger than the window {tuple(window)}, so that voxels "
            "between windows are missed: use a stride of at most the window"
        )
