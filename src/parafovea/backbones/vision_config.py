"""What the `config.json` of a vision model states; without torch, so that planning can read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.errors import ModelError, shown

#: The families of `transformers`, and what their configurations mean where they are silent.
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "dinov2": {"hidden_size": 768, "patch_size": 14},
    "dinov2_with_registers": {"hidden_size": 768, "patch_size": 16, "num_register_tokens": 4},
    "dinov3_vit": {"hidden_size": 384, "patch_size": 16},
    "dinov3_convnext": {"hidden_sizes": (96, 192, 384, 768), "depths": (3, 3, 9, 3)},
    "vit": {"hidden_size": 768, "patch_size": 16},
    "siglip": {"hidden_size": 768, "patch_size": 16},
}

#: Families whose positions are learned on a square of patches.
SQUARE = ("dinov2", "dinov2_with_registers", "vit", "siglip")

#: Largest size that a configuration may state, and most blocks of a transformer or a stage.
MOST, MOST_BLOCKS = 1 << 16, 1 << 10

#: Pixels per token after the first stage of a ConvNeXt; each further stage doubles them.
STEM = 4


@dataclass(frozen=True)
class VisionConfig:
    """A vision model as its configuration describes it.

    Attributes
    ----------
    family : str
        One of `FAMILIES`.
    colours : int
        Channels of its images.
    widths : tuple of int
        Features per token after each level: the embedding (of a transformer) and each block, or
        each stage of a ConvNeXt, whose level 0 is its image.
    strides : tuple of int
        Pixels per token after each level.
    prefix : int
        Tokens before those of the patches: class and registers.
    stated : mapping
        The configuration of the vision model, as the file has it.
    """

    family: str
    colours: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    prefix: int
    stated: Mapping[str, Any]

    @property
    def last(self) -> int:
        """Number of the last block or stage."""
        return len(self.widths) - 1

    @property
    def multiple(self) -> int:
        """Pixels that the sides of an image are a multiple of."""
        return self.strides[-1]

    def levels(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return blocks or stages by number, those counted from the end resolved.

        Parameters
        ----------
        layers : sequence of int
            From 1, or from -1 backwards; empty for the last one.

        Raises
        ------
        ModelError
            If one is not there, or is named twice.
        """
        what = "stages" if self.family == "dinov3_convnext" else "blocks"
        found = [n + len(self.widths) if n < 0 else n for n in layers] or [self.last]
        wrong = [n for n, level in zip(layers, found, strict=False) if not 1 <= level <= self.last]
        if wrong:
            raise ModelError(
                f"argument layers {wrong[0]}: the {self.family} has {self.last} {what}: name some "
                f"of 1 to {self.last}, or of -1 to -{self.last} from the end"
            )
        if len(set(found)) != len(found):
            raise ModelError(
                f"argument layers {list(layers)} names one of {self.last} {what} twice: name each "
                "once"
            )
        return tuple(found)

    def channels(self, layers: Sequence[int]) -> int:
        """Return the features per token of so many levels, one after the other."""
        return sum(self.widths[level] for level in self.levels(layers))

    def patch(self, layers: Sequence[int]) -> int:
        """Return the pixels per token: those of the finest of the levels."""
        return min(self.strides[level] for level in self.levels(layers))


def vision_config(
    values: Any, where: str, *, families: Sequence[str] = tuple(FAMILIES)
) -> VisionConfig:
    """Return what a configuration describes.

    Parameters
    ----------
    values : object
        Content of a `config.json`.
    where : str
        Where it is from, for messages.
    families : sequence of str
        Families that are allowed.

    Raises
    ------
    ModelError
        If it is of another architecture, asks for code or for quantized weights, or states sizes
        that cannot be.
    """
    if not isinstance(values, Mapping):
        raise ModelError(f"{where} is not a mapping of names to values: download it again")
    kind = values.get("model_type")
    kind = kind if isinstance(kind, str) else repr(kind)
    family = "siglip" if kind == "siglip_vision_model" else kind
    if family not in families:
        other = family in FAMILIES
        raise ModelError(
            f"{where} is of a model of type {shown(repr(kind))}, not "
            f"{' or '.join(map(repr, families))}: "
            + ("use the backbone huggingface" if other else "use weights of such a vision model")
        )
    own = values.get("vision_config", {}) if kind == "siglip" else values
    if not isinstance(own, Mapping):
        raise ModelError(f"{where}: vision_config is not a mapping: download it again")
    refuse_code(values, where)
    refuse_code(own, where)
    if "quantization_config" in values or "quantization_config" in own:
        raise ModelError(
            f"{where} is of quantized weights (quantization_config), which are not supported: use "
            "weights in float16, bfloat16 or float32"
        )
    merged = {**FAMILIES[family], **own}
    colours = _count(merged, "num_channels", where, default=3)
    if family == "dinov3_convnext":
        return _convnext(merged, colours, own, where)
    depth = _count(merged, "num_hidden_layers", where, default=12, least=0, most=MOST_BLOCKS)
    width = _count(merged, "hidden_size", where)
    if width % _count(merged, "num_attention_heads", where, default=1):
        raise ModelError(
            f"{where}: hidden_size {width} is not a multiple of num_attention_heads "
            f"{merged['num_attention_heads']}: download it again"
        )
    patch = _square(merged, "patch_size", where)
    if family in SQUARE:
        side = _square({"image_size": 224, **merged}, "image_size", where)
        if side < patch:
            raise ModelError(
                f"{where}: image_size {side} is smaller than patch_size {patch}: download it again"
            )
    registers = 0
    if family in ("dinov2_with_registers", "dinov3_vit"):
        registers = _count(merged, "num_register_tokens", where, default=0, least=0)
    return VisionConfig(
        family=family,
        colours=colours,
        widths=(width,) * (depth + 1),
        strides=(patch,) * (depth + 1),
        prefix=0 if family == "siglip" else 1 + registers,
        stated=own,
    )


def refuse_code(values: Mapping[str, Any], where: str) -> None:
    """Raise `ModelError` if a configuration names code beside it, which would be executed."""
    if values.get("auto_map"):
        raise ModelError(
            f"{where} asks for code of its own (auto_map: {shown(str(values['auto_map']))}), which "
            "is never run: use weights whose architecture is part of transformers; if these are, "
            "remove auto_map from a local copy"
        )


def _convnext(
    merged: Mapping[str, Any], colours: int, own: Mapping[str, Any], where: str
) -> VisionConfig:
    widths = _counts(merged, "hidden_sizes", where)
    depths = _counts(merged, "depths", where, most=MOST_BLOCKS)
    if len(widths) != len(depths):
        raise ModelError(
            f"{where}: hidden_sizes {list(widths)} and depths {list(depths)} have different "
            "lengths: download it again"
        )
    return VisionConfig(
        family="dinov3_convnext",
        colours=colours,
        widths=(colours, *widths),
        strides=(1, *(STEM << stage for stage in range(len(widths)))),
        prefix=1,
        stated=own,
    )


def _count(
    values: Mapping[str, Any],
    name: str,
    where: str,
    *,
    default: int | None = None,
    least: int = 1,
    most: int = MOST,
) -> int:
    """Return a whole number of a configuration."""
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ModelError(
            f"{where}: {name} {shown(repr(value))} is not a number from {least} to {most}: "
            "download it again"
        )
    return value


def _counts(
    values: Mapping[str, Any], name: str, where: str, *, most: int = MOST
) -> tuple[int, ...]:
    """Return a list of whole numbers of a configuration."""
    found = values.get(name)
    if not isinstance(found, list | tuple) or not 1 <= len(found) <= 16:
        raise ModelError(
            f"{where}: {name} {shown(repr(found))} is not a list of 1 to 16 numbers: download it "
            "again"
        )
    return tuple(_count({name: value}, name, where, most=most) for value in found)


def _square(values: Mapping[str, Any], name: str, where: str) -> int:
    """Return the side of a square, stated once or twice."""
    value = values.get(name)
    if isinstance(value, list | tuple) and len(value) == 2:
        if value[0] != value[1]:
            raise ModelError(
                f"{where}: {name} {list(value)} is not a square: use weights with square patches "
                "that were trained on square images"
            )
        value = value[0]
    return _count({name: value}, name, where)
