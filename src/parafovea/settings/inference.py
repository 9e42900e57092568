"""Inference settings of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from parafovea.geometry.grid import Vector
from parafovea.geometry.symmetry import check_views
from parafovea.settings.field_types import PositiveFloat, PositiveInt, ShapeTuple, Strict

BlendingMode = Literal["gaussian", "gaussian_radial", "bump", "bump_wu", "linear", "constant"]
Mode = Literal["sliding_window", "whole_volume"]
Precision = Literal["auto", "float32", "bfloat16"]
EngineName = Literal["torch", "openvino", "onnxruntime"]
EngineChoice = Literal["auto", "torch", "openvino", "onnxruntime"]


ScaleFactor = Annotated[float, Field(ge=1 / 16, le=16)]

#: The blending modes that have a width.
WIDE = ("gaussian", "gaussian_radial")

#: Widths of which a map can be computed, as shares of the window.
NARROWEST, WIDEST = 0.001, 1000.0


#: Most jobs that a sample's windows may be shared by: Snakemake takes minutes to plan 10,000.
MOST_SHARDS = 100_000


class InferenceSettings(Strict):
    """Placement, execution and blending of windows."""

    mode: Mode = Field(
        "sliding_window",
        description="whole_volume: one window that covers the sample, mirrored at its border up "
        "to a multiple of 16; an error if the sample does not fit in memory.",
    )
    window: ShapeTuple | Literal["auto"] | None = Field(
        "auto",
        description="Voxels of a window along z, y, x; the model's own when null. auto: those of "
        "about a gigabyte of memory that compute the fewest voxels twice, for the sample's shape; "
        "the model's own if `overlap` is a share, `stride` is given, `do_eval` is false, or the "
        "network needs the size it was trained with.",
    )
    overlap: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] | None = Field(
        "auto",
        description="Share of a window that overlaps with the next; null if `stride` is given. "
        "auto: 16 voxels for a FusedUNet, half a window for other networks.",
    )
    stride: ShapeTuple | None = Field(
        None,
        description="Voxels from one window to the next along z, y, x, instead of `overlap`.",
    )
    blending: BlendingMode = Field(
        "gaussian", description="Importance map that weights the voxels of a window."
    )
    sigma: PositiveFloat | None = Field(
        None, description="Width of the Gaussian maps; 0.125 (gaussian), 0.2 (radial) when null."
    )
    batch_size: PositiveInt = Field(1, description="Windows per forward pass.")
    tta: tuple[str, ...] = Field(
        (),
        description="Test-time augmentation: views to average with the original, any of `flip_x`, "
        "`flip_y`, `flip_z`, `rotate_90_xy`, `rotate_90_xz`, `rotate_90_yz`. They are not "
        "combined; `flip_x+flip_y` is one view with both. Each repeats features and inference.",
    )
    do_eval: bool = Field(
        True,
        description="Use the model's batch normalization statistics; false: those of the current "
        "batch, so that results depend on `batch_size` and, above a batch of 1, on `shards`.",
    )
    caution: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="Refinement by a network with `correction: filter`: how much of a change of "
        "brightness is held back where the network expects to be wrong; 0 takes its result as it "
        "is. No effect with other networks.",
    )
    skip_empty: bool = Field(
        True,
        description="Detection only: skip windows without body; their prediction is 0. "
        "A segmentation computes every window.",
    )
    precision: Precision = Field(
        "auto",
        description="auto: bfloat16 if the processor computes it natively, otherwise float32.",
    )
    output_scale: ScaleFactor | tuple[ScaleFactor, ScaleFactor, ScaleFactor] = Field(
        1.0,
        description="Voxels of the prediction per voxel of the model's grid, one number or z, y, "
        "x: 2 is finer, 0.5 coarser. Later stages use the voxels of the prediction.",
    )
    engine: EngineChoice = Field(
        "auto",
        description="Inference engine. auto: openvino on a CPU without bfloat16 if it is "
        "installed (`parafovea[openvino]`), otherwise torch, which was faster in bfloat16; an ONNX "
        "network runs by onnxruntime (`parafovea[onnx]`) or openvino.",
    )
    compile: bool = Field(
        False,
        description="Compile the network with torch.compile, which takes up to minutes per job "
        "and needs a C++ compiler.",
    )
    shards: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Number of jobs that share the windows of a sample; results do not depend on "
        "it. auto: by `windows_per_shard`, at most 10,000. The sheet's column takes precedence.",
    )
    windows_per_shard: PositiveInt = Field(
        2000,
        description="For `shards: auto`: maximum number of windows per job, over all views. A "
        "window of 64 x 64 x 64 took 0.1 to 0.14 s on two cores with the included cell model; an "
        "automatic one of 96 x 96 x 96 takes 3.4 times as long.",
    )

    @property
    def stated_window(self) -> ShapeTuple | None:
        """`window` where it states voxels, None where it is chosen or the model's own."""
        return None if self.window == "auto" else self.window

    @property
    def output_scales(self) -> Vector:
        """`output_scale` along z, y, x."""
        scale = self.output_scale
        return (scale, scale, scale) if isinstance(scale, float) else scale

    @property
    def views(self) -> int:
        """Number of views that are averaged: the original, and each augmentation."""
        return 1 + len(self.tta)

    @field_validator("shards")
    @classmethod
    def _plannable(cls, number: int | str) -> int | str:
        if isinstance(number, int) and number > MOST_SHARDS:
            raise ValueError(f"a sample has at most {MOST_SHARDS} shards")
        return number

    @field_validator("tta")
    @classmethod
    def _known_views(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_views(names)
        return names

    @model_validator(mode="before")
    @classmethod
    def _without_overlap(cls, values: Any) -> Any:
        """Drop the default overlap if it does not apply: only an explicit one is a conflict."""
        if not isinstance(values, dict) or "overlap" in values:
            return values
        if values.get("stride") is not None or values.get("mode") == "whole_volume":
            return {**values, "overlap": None}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mode == "whole_volume":
            given = [
                n for n in ("window", "overlap", "stride") if getattr(self, n) not in (None, "auto")
            ]
            if given:
                raise ValueError(
                    f"mode whole_volume uses one window, but {' and '.join(given)} is given: set "
                    "it to null, or use mode: sliding_window"
                )
        elif self.stride is not None and self.overlap is not None:
            share = self.overlap if self.overlap == "auto" else f"{self.overlap:g}"
            raise ValueError(
                f"overlap ({share}) and stride {self.stride} are both given: set one of "
                "them to null"
            )
        elif self.stride is None and self.overlap is None:
            raise ValueError("neither overlap nor stride is given: set overlap: auto")
        if self.stride is not None and self.stated_window is not None:
            check_stride(self.stated_window, self.stride)
        if self.sigma is not None and self.blending not in WIDE:
            raise ValueError(
                f"sigma ({self.sigma:g}) does not apply to blending {self.blending}: set it to "
                f"null, or use {' or '.join(WIDE)}"
            )
        if self.sigma is not None and not NARROWEST <= self.sigma <= WIDEST:
            raise ValueError(
                f"sigma ({self.sigma:g}) is a share of the window, in {NARROWEST:g} to {WIDEST:g}: "
                "for example 0.125"
            )
        return self

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        if self.compile and self.engine not in ("auto", "torch"):
            raise ValueError(
                f"compile: true applies to engine torch only, not to {self.engine}: set "
                "engine: torch, or compile: false"
            )
        if not self.do_eval and (self.compile or self.engine not in ("auto", "torch")):
            raise ValueError(
                "do_eval: false requires engine torch without compilation: set engine: torch and "
                "compile: false"
            )
        return self


def check_stride(window: Sequence[int], stride: Sequence[int]) -> None:
    """Raise `ValueError` if a stride would leave voxels between windows uncovered."""
    if any(s > w for w, s in zip(window, stride, strict=True)):
        raise ValueError(
            f"stride {tuple(stride)} is larger than the window {tuple(window)}, which leaves "
            "voxels uncovered: use a stride of at most the window"
        )
