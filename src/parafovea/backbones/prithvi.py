"""Tokens of a Prithvi-EO encoder (IBM and NASA) for the slices of an image with bands.

The architecture is restated from the published description: a pre-norm vision transformer whose
positions are sine and cosine, with the time and the place of an image added as embeddings.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from parafovea.backbones.backbone import fingerprint_of, token_shape
from parafovea.errors import ModelError, shown
from parafovea.geometry.grid import Shape
from parafovea.runtime.documents import json_values, read_text
from parafovea.runtime.kept_objects import kept
from parafovea.settings.backbones import (
    PRITHVI_BANDS,
    PRITHVI_IMAGE,
    PrithviArguments,
    PrithviVariant,
)

logger = logging.getLogger(__name__)

#: Reflectance 1 as the numbers of the statistics.
REFLECTANCE = 1e4

#: Mean and deviation of the bands of version 1 and 2.
STATISTICS = {
    True: ((775, 1081, 1229, 2497, 2204, 1611), (1282, 1270, 1399, 1368, 1292, 1155)),
    False: ((1087, 1342, 1433, 2734, 1958, 1363), (2248, 2179, 2178, 1850, 1242, 1049)),
}

#: Tensors of the files that are not used: positions are computed, and images are not masked.
_UNUSED = re.compile(r"^(?:decoder[._]|mask_token$|pos_embed$|decoder_pos_embed$)")


class PrithviBlock(nn.Module):
    """A pre-norm block: attention, then two layers with an exact GELU between them.

    Parameters
    ----------
    width, heads : int
        Features per token, and heads that share them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return tokens (image, token, channel) after the block."""
        images, count, width = tokens.shape
        mixed = self.attn["qkv"](self.norm1(tokens))
        query, key, value = mixed.reshape(images, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.attn["proj"](seen.transpose(1, 2).reshape(images, count, width))
        inner: torch.Tensor = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))
        return tokens + inner


class PrithviEncoder(nn.Module):
    """The encoder of Prithvi-EO for one image, without its decoder.

    Parameters
    ----------
    variant : PrithviVariant
        Width, depth, heads and patch.
    bands : int
        Number of bands.
    """

    def __init__(self, variant: PrithviVariant, bands: int) -> None:
        super().__init__()
        self.variant = variant
        patch = (1, variant.patch, variant.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, variant.width))
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv3d(bands, variant.width, kernel_size=patch, stride=patch)}
        )
        self.blocks = nn.ModuleList(
            PrithviBlock(variant.width, variant.heads) for _ in range(variant.depth)
        )
        self.norm = nn.LayerNorm(variant.width, eps=1e-5)
        if variant.coordinates:
            self.temporal_embed_enc = nn.ParameterDict({"scale": torch.zeros(1)})
            self.location_embed_enc = nn.ParameterDict({"scale": torch.zeros(1)})

    def forward(
        self,
        images: torch.Tensor,
        *,
        levels: Sequence[int],
        date: tuple[int, int] | None = None,
        place: tuple[float, float] | None = None,
    ) -> torch.Tensor:
        """Return the patch tokens of images after some of the blocks.

        Parameters
        ----------
        images : torch.Tensor
            (image, band, row, column) normalized; sides are multiples of the patch.
        levels : sequence of int
            Blocks, from 1; tokens of several are concatenated, each after the last normalization.
        date : tuple of int, optional
            Year and day of the year, from 1.
        place : tuple of float, optional
            The two coordinates in degrees, in the order that the encoder takes.

        Returns
        -------
        torch.Tensor
            (image, channel, row, column) float32.
        """
        embedded = self.patch_embed["proj"](images[:, :, None])[:, :, 0]
        rows, columns = embedded.shape[-2:]
        width = self.variant.width
        tokens = embedded.flatten(2).transpose(1, 2)
        tokens = tokens + positions(self.variant, rows, columns).to(tokens)
        if date is not None:
            tokens = tokens + self.temporal_embed_enc["scale"] * _pair(width, date).to(tokens)
        if place is not None:
            tokens = tokens + self.location_embed_enc["scale"] * _pair(width, place).to(tokens)
        states = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        found: dict[int, torch.Tensor] = {}
        for number, block in enumerate(self.blocks, 1):
            states = block(states)
            if number in levels:
                found[number] = self.norm(states)[:, 1:].float()
        joined = torch.cat([found[level] for level in levels], dim=2)
        return joined.transpose(1, 2).reshape(len(images), -1, rows, columns)


def positions(variant: PrithviVariant, rows: int, columns: int) -> torch.Tensor:
    """Return the embeddings of positions, (row x column, channel) float32.

    Of the width, 6/16 stand for columns, 6/16 for rows and 4/16 for the frame, the first and only
    one. Other sizes than those of the training are interpolated from it.
    """
    side, unit = PRITHVI_IMAGE // variant.patch, variant.width // 16
    along = sine_cosine(6 * unit, torch.arange(side))
    across = along[None].expand(side, -1, -1)
    frame = sine_cosine(4 * unit, torch.zeros(1))[None].expand(side, side, -1)
    grid = torch.cat([across, across.transpose(0, 1), frame], dim=2)
    if (rows, columns) != (side, side):
        maps = grid.permute(2, 0, 1)[None]
        maps = F.interpolate(maps, (rows, columns), mode="bicubic", align_corners=True)
        grid = maps[0].permute(1, 2, 0)
    return grid.reshape(rows * columns, -1)


def sine_cosine(width: int, places: torch.Tensor) -> torch.Tensor:
    """Return sines, then cosines, of places at falling frequencies: (place, width) float32."""
    steps = torch.arange(width // 2, dtype=torch.float32) / (width / 2)
    angles = places.float()[:, None] / 10000**steps
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _pair(width: int, values: Sequence[float]) -> torch.Tensor:
    """Return the embedding of two numbers, (1, width): half of the width for each."""
    half = width // 2
    first, second = (torch.tensor([float(v)]) for v in values)
    return torch.cat([sine_cosine(half, first), sine_cosine(width - half, second)], dim=1)


class Prithvi:
    """Backbone `prithvi`; see `Backbone` for its attributes.

    Every z slice is an image of its own. A token depends on the whole tile that contains it.

    Parameters
    ----------
    arguments : PrithviArguments
        Weights, variant, stride, tile, overlap, layers, date and place.
    bands : sequence of str
        Names of the bands of a block (band, z, y, x), reflectances.
    device : str
        Device to compute on; bfloat16 autocast on CUDA, float32 elsewhere.

    Raises
    ------
    ModelError
        If none of the encoder's bands is there, or the weights are missing, damaged or of another
        architecture.
    """

    def __init__(
        self, arguments: PrithviArguments, *, bands: Sequence[str], device: str = "cpu"
    ) -> None:
        self._arguments = arguments
        variant = arguments.architecture
        self._taken, names = _matched(bands)
        places = [PRITHVI_BANDS.index(name) for name in names]
        path = Path(arguments.weights).expanduser()
        mean, std = _stated(path, arguments) or STATISTICS[variant.first]
        self._mean, self._std = ([part[n] for n in places] for part in (mean, std))
        self._device = torch.device(device)
        network = kept(
            ("prithvi", arguments.model_dump_json(), tuple(places)),
            path,
            lambda: _loaded(path, arguments, places),
        )
        self._network = network.to(self._device)
        self.channels = tuple(
            f"prithvi_{i:04d}" if level == variant.depth else f"prithvi_{level}_{i:04d}"
            for level in arguments.levels
            for i in range(variant.width)
        )
        stride, margin, tile = (
            arguments.pixels_per_token,
            arguments.margin_pixels,
            arguments.tile_pixels,
        )
        self.stride: Shape = (1, stride, stride)
        self.halo: Shape = (0, margin, margin)
        self.tile: Shape = (arguments.batch_size, tile, tile)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        settings = arguments.model_dump(mode="json", exclude={"weights", "batch_size"})
        self.fingerprint = fingerprint_of(
            "prithvi",
            sha256=digest,
            arguments={**settings, "layers": arguments.levels, "tile": tile, "overlap": margin},
            bands=[[bands[n], name] for n, name in zip(self._taken, names, strict=True)],
            statistics=[self._mean, self._std],
        )

    def to(self, device: str) -> Self:
        """Move the network to another device and return this backbone."""
        self._device = torch.device(device)
        self._network.to(self._device)
        return self

    @torch.inference_mode()
    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the encoder's tokens of a block (band, z, y, x); see `Backbone.__call__`."""
        shape = token_shape(block.shape[-3:], stride=self.stride, halo=self.halo)
        images = block[self._taken].to(self._device, torch.float32).movedim(1, 0)
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self._mean, self._std))
        images = (images * REFLECTANCE - mean) / std
        patch, stride = self._arguments.architecture.patch, self.stride[1]
        if patch != stride:
            sides = [n // stride * patch for n in images.shape[2:]]
            images = F.interpolate(images, size=sides, mode="bilinear", align_corners=False)
        place = self._arguments.place
        if place is not None and self._arguments.place_order == "longitude_latitude":
            place = (place[1], place[0])
        margin = self.halo[1] // stride
        found = torch.empty((len(self.channels), *shape), device=self._device)
        size = self._arguments.batch_size
        cuda = self._device.type == "cuda"
        for start in range(0, shape[0], size):
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=cuda):
                tokens = self._network(
                    images[start : start + size],
                    levels=self._arguments.levels,
                    date=self._arguments.date,
                    place=place,
                )
            inner = tokens[..., margin : margin + shape[1], margin : margin + shape[2]]
            found[:, start : start + size] = inner.movedim(0, 1)
        return found


def _matched(bands: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the input's bands that are used, and the encoder's bands that they stand for."""
    given = list(bands)
    names = {name: name for name in PRITHVI_BANDS if name in given}
    if "B8A" not in names and "B08" in given:
        names["B8A"] = "B08"
        logger.warning(
            "backbone prithvi: B08 stands for B8A, the narrow near infrared that the encoder was "
            "trained with"
        )
    used = [name for name in PRITHVI_BANDS if name in names]
    if not used:
        raise ModelError(
            f"backbone prithvi takes {', '.join(PRITHVI_BANDS)}, but the input has "
            f"{', '.join(given) or 'one unnamed channel'}: use images with some of these bands"
        )
    missing = [name for name in PRITHVI_BANDS if name not in names]
    if missing:
        logger.warning(
            "backbone prithvi: the input has no %s; the patches are embedded by %s alone",
            ", ".join(missing),
            ", ".join(names[name] for name in used),
        )
    return [given.index(names[name]) for name in used], used


def _stated(
    path: Path, arguments: PrithviArguments
) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return the statistics in the `config.json` beside the weights, if there is one.

    Raises
    ------
    ModelError
        If it is of another architecture or variant.
    """
    card = path.with_name("config.json")
    if not card.is_file():
        return None
    values = json_values(
        read_text(card, "a configuration", error=ModelError), card, error=ModelError
    )
    stated = values.get("pretrained_cfg") if isinstance(values, dict) else None
    if not isinstance(stated, dict):
        raise ModelError(
            f"{card} has no pretrained_cfg, so it is not of Prithvi-EO: use the file that was "
            "published with the weights, or keep them in a folder of their own"
        )
    variant = arguments.architecture
    patch = stated.get("patch_size")
    found = {
        "embed_dim": (stated.get("embed_dim"), variant.width),
        "depth": (stated.get("depth"), variant.depth),
        "num_heads": (stated.get("num_heads"), variant.heads),
        "patch_size": (patch[-1] if isinstance(patch, list) and patch else patch, variant.patch),
    }
    for name, (given, wanted) in found.items():
        if given is not None and given != wanted:
            raise ModelError(
                f"{card}: {name} is {shown(repr(given))}, but {wanted} in the variant "
                f"{arguments.variant}: name the variant of the weights"
            )
    mean, std = stated.get("mean"), stated.get("std")
    if mean is None or std is None:
        return None
    for name, part in (("mean", mean), ("std", std)):
        numbers = isinstance(part, list) and all(
            isinstance(v, int | float) and not isinstance(v, bool) and v - v == 0 for v in part
        )
        if not numbers or len(part) != len(PRITHVI_BANDS) or (name == "std" and min(part) <= 0):
            raise ModelError(
                f"{card}: {name} {shown(repr(part))} must be {len(PRITHVI_BANDS)} numbers, one a "
                "band: download it again"
            )
    return mean, std


def _loaded(path: Path, arguments: PrithviArguments, places: Sequence[int]) -> PrithviEncoder:
    """Return the encoder with the weights of a file, for some of its bands."""
    variant = arguments.architecture
    tensors = _tensors(path)
    with torch.device("meta"):
        network = PrithviEncoder(variant, len(places))
    chosen: dict[str, torch.Tensor] = {}
    for name, empty in network.state_dict().items():
        wanted = tuple(empty.shape)
        if name == "patch_embed.proj.weight":
            wanted = (wanted[0], len(PRITHVI_BANDS), *wanted[2:])
        if name not in tensors:
            raise _unfit(path, arguments, f"tensor {name} is missing")
        values = tensors.pop(name)
        if tuple(values.shape) != wanted:
            raise _unfit(
                path,
                arguments,
                f"{name} is {tuple(values.shape)} in the file, {wanted} in the variant",
            )
        values = values.float()
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:
            raise _unfit(
                path, arguments, f"{wrong} of {values.numel()} numbers of {name} are not finite"
            )
        if name == "patch_embed.proj.weight":
            values = values[:, list(places)].contiguous()
        chosen[name] = values
    extra = sorted(n for n in tensors if n.startswith("blocks."))
    if extra:
        raise _unfit(path, arguments, f"{extra[0]} is of a block that the variant does not have")
    network.load_state_dict(chosen, assign=True)
    return network.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the encoder's tensors of a file, under the names of this module."""
    if not path.is_file():
        raise ModelError(
            f"backbone prithvi: file {path} does not exist: download the weights, such as "
            "Prithvi_EO_V2_300M_TL.pt, from https://huggingface.co/ibm-nasa-geospatial, and set "
            "the argument `weights` to that file"
        )
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickles that are refused in the next moment
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        EOFError,
        OSError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(
            f"backbone prithvi: {path} cannot be read as tensors alone, and nothing else in it is "
            f"run: {shown(' '.join(str(error).split()), longest=200)}: download it again"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise ModelError(
            f"backbone prithvi: {path} is not a dictionary of tensors: use the published weights"
        )
    if any("lora_" in name or "prithvi_refiner" in name for name in content):
        raise ModelError(
            f"backbone prithvi: {path} is a refined copy (LoRA), not an encoder: its head takes "
            "all tokens with that of the class as one row of 257, so that their places are lost; "
            "use the published weights and train a model of its own on them"
        )
    names = {name: name.removeprefix("_timm_module.") for name in content}
    if any(name.startswith("encoder.") for name in names.values()):
        names = {k: n.removeprefix("encoder.") for k, n in names.items() if n[:8] == "encoder."}
    return {n: content[k] for k, n in names.items() if not _UNUSED.match(n)}


def _unfit(path: Path, arguments: PrithviArguments, reason: str) -> ModelError:
    return ModelError(
        f"backbone prithvi: {path} does not fit the variant {arguments.variant}: {reason}: name "
        "the variant of the weights, or download them again"
    )
