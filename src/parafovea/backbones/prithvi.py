"""Tokens of a Prithvi-EO encoder (IBM and NASA) for the slices of an image with bands.

The architecture is restated from the published description: a pre-norm vision transformer whose
positions are sine and cosine, with the time and the place of an image added as embeddings.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from parafovea.backbones.encoder_weights import Tensors, fill_network, read_tensors
from parafovea.backbones.image_encoder import ImageEncoder, columns_of, joined_levels
from parafovea.errors import ModelError, shown
from parafovea.runtime.documents import json_values, read_text
from parafovea.runtime.kept_objects import kept
from parafovea.settings.backbones.image_encoder import ENCODER_IMAGE
from parafovea.settings.backbones.prithvi import PRITHVI_BANDS, PrithviArguments, PrithviVariant

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
        return joined_levels(found, levels).transpose(1, 2).reshape(len(images), -1, rows, columns)


def positions(variant: PrithviVariant, rows: int, columns: int) -> torch.Tensor:
    """Return the embeddings of positions, (row x column, channel) float32.

    Of the width, 6/16 stand for columns, 6/16 for rows and 4/16 for the frame, the first and only
    one. Other sizes than those of the training are interpolated from it.
    """
    side, unit = ENCODER_IMAGE // variant.patch, variant.width // 16
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


class Prithvi(ImageEncoder):
    """Backbone `prithvi`.

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
        network = kept(
            ("prithvi", arguments.model_dump_json(), tuple(places)),
            path,
            lambda: _loaded(path, arguments, places),
        )
        super().__init__(
            "prithvi",
            arguments,
            network,
            device=device,
            bands=[[bands[n], name] for n, name in zip(self._taken, names, strict=True)],
            statistics=[self._mean, self._std],
        )

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as the encoder takes them; see `ImageEncoder.normalized`."""
        numbers = images[:, self._taken] * REFLECTANCE
        return (numbers - columns_of(self._mean, images)) / columns_of(self._std, images)

    def encoded(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of normalized images; see `ImageEncoder.encoded`."""
        said = self._arguments
        place = said.place
        if place is not None and said.place_order == "longitude_latitude":
            place = (place[1], place[0])
        tokens: torch.Tensor = self._network(
            images, levels=said.levels, date=said.date, place=place
        )
        return tokens


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
    variant, name = arguments.architecture, "patch_embed.proj.weight"
    with torch.device("meta"):
        network = PrithviEncoder(variant, len(places))
    fill_network(
        network,
        _tensors(path),
        shapes={name: (variant.width, len(PRITHVI_BANDS), 1, variant.patch, variant.patch)},
        chosen={name: lambda values: values[:, list(places)]},
        blocks="blocks.",
        what="variant",
        unfit=lambda reason: _unfit(path, arguments, reason),
    )
    return network


def _tensors(path: Path) -> Tensors:
    """Return the encoder's tensors of a file, under the names of this module."""
    content = read_tensors(
        path,
        backbone="prithvi",
        source="such as Prithvi_EO_V2_300M_TL.pt, from https://huggingface.co/ibm-nasa-geospatial",
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
