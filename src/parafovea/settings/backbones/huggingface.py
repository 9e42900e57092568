"""Arguments of the backbones `huggingface` and `dinov3`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from parafovea.errors import ModelError
from parafovea.geometry.grid import Shape
from parafovea.settings.backbones.arguments import Arguments, Count


class Compatibility(Arguments):
    """Plane sampling of DINOv3UNet3D checkpoints; written by `import-model`, never by hand."""

    slice_size: Count = Field(description="Side of a plane as the transformer's input, in pixels.")
    window: tuple[Count, Count, Count] = Field(
        description="Voxels along z, y, x of a window, which is cut into whole planes."
    )
    oversampling: Count = Field(1, description="Voxels of the source per voxel of the result.")


class HuggingfaceArguments(Arguments):
    """Arguments of `huggingface`, and of `dinov3`: tokens of a vision model applied to planes."""

    weights: str = Field(min_length=1, description="Local folder, or name on the hub.")
    planes: Literal["xy", "xy+xz+yz"] = Field(
        "xy", description="Orientation of the planes; tokens of several are averaged."
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="Voxels per token in a plane, by default the patch size; below it, planes are "
        "upsampled.",
    )
    plane_step: int = Field(
        1, ge=1, description="Only for xy: slices per token along z; the middle one is used."
    )
    tile: int | None = Field(
        None,
        ge=1,
        description="Side of a tile of a plane in pixels, without overlap; default 512 upsampled.",
    )
    overlap: int | None = Field(
        None, ge=0, description="Margin on every side of a tile in pixels; default four tokens."
    )
    batch_size: int = Field(8, ge=1, description="Planes per pass; does not change the result.")
    layers: tuple[int, ...] = Field(
        (),
        description="Blocks of a transformer, or stages of a ConvNeXt, whose tokens are "
        "concatenated: from 1, or from -1 backwards; the last one by default. Tokens of a "
        "transformer pass its last normalization.",
    )
    colours: tuple[str, ...] = Field(
        ("B04", "B03", "B02"),
        min_length=1,
        description="For an input with bands: the bands used as the network's channels, which are "
        "mostly red, green and blue.",
    )
    gain: float = Field(
        3.0, gt=0, description="For an input with bands: factor from reflectance to colour."
    )
    compatibility: Compatibility | None = Field(
        None, description="Plane sampling of DINOv3UNet3D checkpoints; imported models only."
    )

    def colour_indices(self, bands: Sequence[str], *, count: int) -> tuple[int, ...]:
        """Return the indices of the bands used as colours; empty for an input without bands.

        Parameters
        ----------
        bands : sequence of str
            Names of the input's channels.
        count : int
            Channels of the network.

        Raises
        ------
        ModelError
            If the input lacks one of these bands, or they are not as many as the channels.
        """
        if not bands:
            if count not in (1, 3):
                raise ModelError(
                    f"backbone huggingface: the network takes {count} channels, but the input has "
                    "one unnamed channel: use weights with 1 or 3 channels, or an input with bands"
                )
            return ()
        missing = [name for name in self.colours if name not in bands]
        if missing:
            raise ModelError(
                f"backbone huggingface uses {', '.join(self.colours)} as colours, but the input "
                f"has the bands {', '.join(bands)}: name {count} of them in the argument `colours`"
            )
        if len(self.colours) != count:
            raise ModelError(
                f"backbone huggingface: the network takes {count} channels, but colours names "
                f"{', '.join(self.colours)}: name {count} of {', '.join(bands)}"
            )
        return tuple(list(bands).index(name) for name in self.colours)

    def voxels_per_token(self, patch: int) -> int:
        """Return the voxels per token in a plane, for patches of `patch` pixels.

        Raises
        ------
        ModelError
            If that is more than a patch, or does not divide tile or overlap.
        """
        if self.stride is None:
            reason = self._uneven(patch)
            if reason is not None:
                raise ModelError(f"backbone huggingface: {reason}")
            return patch
        if self.stride > patch:
            raise ModelError(
                f"backbone huggingface: stride {self.stride} is coarser than the patch of {patch} "
                f"pixels: use a stride of at most {patch}, or coarser voxels"
            )
        return self.stride

    def strides(self, patch: int) -> Shape:
        """Return the voxels per token along z, y, x, for patches of `patch` pixels."""
        stride = self.voxels_per_token(patch)
        return (self.plane_step if self.planes == "xy" else stride, stride, stride)

    def margin_pixels(self, patch: int) -> int:
        """Return the margin on every side of a tile in pixels, before upsampling."""
        return 4 * self.voxels_per_token(patch) if self.overlap is None else self.overlap

    def tile_pixels(self, patch: int) -> int:
        """Return the side of a tile in pixels, for patches of `patch` pixels."""
        stride = self.voxels_per_token(patch)
        return stride * max(1, 512 // patch) if self.tile is None else self.tile

    def _uneven(self, stride: int) -> str | None:
        """Return why tile or overlap are not whole tokens."""
        for name in ("tile", "overlap"):
            value = getattr(self, name)
            if value is not None and value % stride:
                return f"{name} {value} must be a multiple of stride {stride}"
        return None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        reason = None if self.stride is None else self._uneven(self.stride)
        if reason is not None:
            raise ValueError(reason)
        if self.compatibility is not None:
            self._check_compatible(self.compatibility)
        if self.planes != "xy" and self.plane_step != 1:
            stride = "one" if self.stride is None else self.stride
            raise ValueError(
                f"plane_step {self.plane_step} applies to planes xy only, since {self.planes} has "
                f"stride {stride} along every axis: remove it"
            )
        return self

    def _check_compatible(self, compatibility: Compatibility) -> None:
        given = [
            name
            for name in ("tile", "overlap", "plane_step", "layers")
            if name in self.model_fields_set
        ]
        if given:
            raise ValueError(
                f"{' and '.join(given)} cannot be set in compatibility mode, where a tile is a "
                "window: remove them"
            )
        stride = 16 if self.stride is None else self.stride
        if any(n % stride for n in compatibility.window):
            raise ValueError(f"window {compatibility.window} must be a multiple of stride {stride}")
