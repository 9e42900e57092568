"""Tokens of a TerraMind encoder (IBM and ESA) for images with bands of one or several sensors.

The architecture is restated from the published description: a pre-norm vision transformer without
class token and biases, whose tokens of all modalities pass through its blocks together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from parafovea.backbones.encoder_weights import fill_network, read_tensors
from parafovea.backbones.image_encoder import ImageEncoder, columns_of, joined_levels
from parafovea.errors import ModelError
from parafovea.runtime.kept_objects import kept
from parafovea.settings.backbones.image_encoder import ENCODER_IMAGE, EncoderVariant
from parafovea.settings.backbones.terramind import TERRAMIND_BANDS, Modality, TerramindArguments
from parafovea.settings.quantities import QUANTITIES

logger = logging.getLogger(__name__)

#: Name of a modality in the files.
_KEYS: dict[Modality, str] = {
    "S2L2A": "untok_sen2l2a@224",
    "S2L1C": "untok_sen2l1c@224",
    "RGB": "untok_sen2rgb@224",
    "S1GRD": "untok_sen1grd@224",
    "S1RTC": "untok_sen1rtc@224",
    "DEM": "untok_dem@224",
}

#: Mean and deviation of the bands of each modality: reflectance x 10,000, values of images from 0
#: to 255, decibels, metres.
STATISTICS: dict[Modality, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "S2L2A": (
        (
            *(1390.458, 1503.317, 1718.197, 1853.91, 2199.1, 2779.975),
            *(2987.011, 3083.234, 3132.22, 3162.988, 2424.884, 1857.648),
        ),
        (
            *(2106.761, 2141.107, 2038.973, 2134.138, 2085.321, 1889.926),
            *(1820.257, 1871.918, 1753.829, 1797.379, 1434.261, 1334.311),
        ),
    ),
    "S2L1C": (
        (
            *(2357.089, 2137.385, 2018.788, 2082.986, 2295.651, 2854.537, 3122.849),
            *(3040.56, 3306.481, 1473.847, 506.07, 2472.825, 1838.929),
        ),
        (
            *(1624.683, 1675.806, 1557.708, 1833.702, 1823.738, 1733.977, 1732.131),
            *(1679.732, 1727.26, 1024.687, 442.165, 1331.411, 1160.419),
        ),
    ),
    "RGB": ((87.271, 80.931, 66.667), (58.767, 47.663, 42.631)),
    "S1GRD": ((-12.599, -20.293), (5.195, 5.89)),
    "S1RTC": ((-10.93, -17.329), (4.391, 4.459)),
    "DEM": ((670.665,), (951.272,)),
}

#: Reflectance 1 as the numbers of the statistics.
REFLECTANCE = 1e4


@dataclass(frozen=True)
class TakenBands:
    """Bands of the input that one modality takes.

    Parameters
    ----------
    modality : str
        Its name.
    indices : tuple of int
        Their indices in the input.
    places : tuple of int
        Their places among the bands of the modality.
    offset, scale : tuple of float
        The number that the encoder takes is (offset + value * scale), one a band.
    """

    modality: Modality
    indices: tuple[int, ...]
    places: tuple[int, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]


class TerramindNorm(nn.Module):
    """A layer normalization whose bias is stored, but was never trained.

    Parameters
    ----------
    width : int
        Features per token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return normalized tokens (image, token, channel)."""
        return F.layer_norm(tokens, self.weight.shape, self.weight, self.get_buffer("bias"), 1e-6)


class TerramindBlock(nn.Module):
    """A pre-norm block: attention, then gated layers (SwiGLU), all without bias.

    Parameters
    ----------
    width, heads : int
        Features per token, and heads that share them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        hidden = 8 * width // 3

        def layer(into: int, out: int) -> nn.Linear:
            return nn.Linear(into, out, bias=False)

        self.norm1 = TerramindNorm(width)
        self.attn = nn.ModuleDict({"qkv": layer(width, 3 * width), "proj": layer(width, width)})
        self.norm2 = TerramindNorm(width)
        self.mlp = nn.ModuleDict(
            {
                "fc1": layer(width, hidden),
                "fc2": layer(hidden, width),
                "fc3": layer(width, hidden),
            }
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return tokens (image, token, channel) after the block."""
        images, count, width = tokens.shape
        mixed = self.attn["qkv"](self.norm1(tokens))
        query, key, value = mixed.reshape(images, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.attn["proj"](seen.transpose(1, 2).reshape(images, count, width))
        inner = self.norm2(tokens)
        gated: torch.Tensor = F.silu(self.mlp["fc1"](inner)) * self.mlp["fc3"](inner)
        after: torch.Tensor = self.mlp["fc2"](gated)
        return tokens + after


class TerramindEmbedding(nn.Module):
    """The patches of one modality as tokens, with the embeddings of their places and of itself.

    Parameters
    ----------
    variant : EncoderVariant
        Width and patch.
    bands : int
        Number of bands.
    """

    def __init__(self, variant: EncoderVariant, bands: int) -> None:
        super().__init__()
        self.side = ENCODER_IMAGE // variant.patch
        self.proj = nn.Conv2d(
            bands, variant.width, kernel_size=variant.patch, stride=variant.patch, bias=False
        )
        self.mod_emb = nn.Parameter(torch.zeros(1, 1, variant.width))
        self.register_buffer("pos_emb", torch.zeros(1, self.side**2, variant.width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens (image, token, channel) of images (image, band, row, column)."""
        embedded = self.proj(images)
        rows, columns = embedded.shape[-2:]
        places = self.get_buffer("pos_emb")
        if (rows, columns) != (self.side, self.side):
            grid = places.reshape(self.side, self.side, -1).permute(2, 0, 1)[None]
            grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
            places = grid.flatten(2).transpose(1, 2)
        tokens: torch.Tensor = embedded.flatten(2).transpose(1, 2)
        return tokens + places + self.mod_emb


class TerramindEncoder(nn.Module):
    """The encoder of TerraMind for some of its modalities, without its decoder.

    Parameters
    ----------
    variant : EncoderVariant
        Width, depth, heads and patch.
    bands : dict of str to int
        Number of bands of each modality, by its name in the files.
    """

    def __init__(self, variant: EncoderVariant, bands: dict[str, int]) -> None:
        super().__init__()
        self.encoder_embeddings = nn.ModuleDict(
            {name: TerramindEmbedding(variant, count) for name, count in bands.items()}
        )
        self.encoder = nn.ModuleList(
            TerramindBlock(variant.width, variant.heads) for _ in range(variant.depth)
        )
        self.encoder_norm = TerramindNorm(variant.width)
        self.patch = variant.patch

    def forward(self, images: Sequence[torch.Tensor], *, levels: Sequence[int]) -> torch.Tensor:
        """Return the tokens of images after some of the blocks, averaged over the modalities.

        Parameters
        ----------
        images : sequence of torch.Tensor
            (image, band, row, column) normalized, one a modality; sides are multiples of the patch.
        levels : sequence of int
            Blocks, from 1; tokens of several are concatenated, each after the last normalization.

        Returns
        -------
        torch.Tensor
            (image, channel, row, column) float32.
        """
        count = len(images[0])
        rows, columns = (n // self.patch for n in images[0].shape[-2:])
        embeddings = self.encoder_embeddings.values()
        states = torch.cat(
            [embed(each) for embed, each in zip(embeddings, images, strict=True)], dim=1
        )
        found: dict[int, torch.Tensor] = {}
        for number, block in enumerate(self.encoder, 1):
            states = block(states)
            if number in levels:
                each = self.encoder_norm(states).float()
                found[number] = each.unflatten(1, (len(images), rows * columns)).mean(dim=1)
        return joined_levels(found, levels).transpose(1, 2).reshape(count, -1, rows, columns)


class Terramind(ImageEncoder):
    """Backbone `terramind`.

    Parameters
    ----------
    arguments : TerramindArguments
        Weights, size, modalities, ranges, stride, tile, overlap and layers.
    bands : sequence of str
        Names of the bands of a block (band, z, y, x): reflectances, and quantities as `ranges`
        states them.
    device : str
        Device to compute on; bfloat16 autocast on CUDA, float32 elsewhere.

    Raises
    ------
    ModelError
        If none of a modality's bands is there, or the weights are missing, damaged or of another
        architecture.
    """

    def __init__(
        self, arguments: TerramindArguments, *, bands: Sequence[str], device: str = "cpu"
    ) -> None:
        taken = [_taken(name, bands, arguments) for name in arguments.modalities]
        self._levels = arguments.levels
        self._counts = [len(each.indices) for each in taken]
        self._indices = [n for each in taken for n in each.indices]
        self._offset = [number for each in taken for number in each.offset]
        self._scale = [number for each in taken for number in each.scale]
        path = Path(arguments.weights).expanduser()
        network = kept(
            ("terramind", arguments.model_dump_json(), tuple(bands)),
            path,
            lambda: _loaded(path, arguments, taken),
        )
        super().__init__(
            "terramind",
            arguments,
            network,
            device=device,
            bands=[[each.modality, [bands[n] for n in each.indices]] for each in taken],
            statistics=[self._offset, self._scale],
        )

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Return the bands of all modalities; see `ImageEncoder.normalized`."""
        scale, offset = columns_of(self._scale, images), columns_of(self._offset, images)
        return images[:, self._indices] * scale + offset

    def encoded(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of normalized images; see `ImageEncoder.encoded`."""
        parts = torch.split(images, self._counts, dim=1)
        tokens: torch.Tensor = self._network(parts, levels=self._levels)
        return tokens


def _taken(name: Modality, bands: Sequence[str], arguments: TerramindArguments) -> TakenBands:
    """Return the input's bands that a modality takes, and log those that are missing."""
    wanted, given = TERRAMIND_BANDS[name], list(bands)
    used = [band for band in wanted if band in given]
    if not used:
        raise ModelError(
            f"backbone terramind: modality {name} takes {', '.join(wanted)}, but the input has "
            f"{', '.join(given) or 'one unnamed channel'}: use images with some of these bands, or "
            "leave the modality out"
        )
    missing = [band for band in wanted if band not in given]
    if missing:
        logger.warning(
            "backbone terramind: the input has no %s; the patches of %s are embedded by %s alone",
            ", ".join(missing),
            name,
            ", ".join(used),
        )
    places = tuple(wanted.index(band) for band in used)
    mean, std = STATISTICS[name]
    offset, scale = [], []
    for band, place in zip(used, places, strict=True):
        low, high = _numbers(band, name, arguments)
        offset.append((low - mean[place]) / std[place])
        scale.append((high - low) / std[place])
    indices = tuple(given.index(band) for band in used)
    return TakenBands(name, indices, places, tuple(offset), tuple(scale))


def _numbers(band: str, name: Modality, arguments: TerramindArguments) -> tuple[float, float]:
    """Return what 0 and 1 of a band are in the unit of the modality's statistics."""
    if band in QUANTITIES:
        return arguments.ranges[band]
    if name == "RGB" and arguments.white is not None:
        return 0.0, 255 / arguments.white
    return 0.0, REFLECTANCE


def _loaded(
    path: Path, arguments: TerramindArguments, taken: Sequence[TakenBands]
) -> TerramindEncoder:
    """Return the encoder with the weights of a file, for some of its bands."""
    variant = arguments.architecture
    tensors = read_tensors(
        path,
        backbone="terramind",
        source="such as TerraMind_v1_base.pt, from https://huggingface.co/ibm-esa-geospatial",
    )
    with torch.device("meta"):
        network = TerramindEncoder(
            variant, {_KEYS[each.modality]: len(each.indices) for each in taken}
        )
    shapes: dict[str, tuple[int, ...]] = {}
    chosen: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    for each in taken:
        name = f"encoder_embeddings.{_KEYS[each.modality]}.proj.weight"
        count = len(TERRAMIND_BANDS[each.modality])
        shapes[name] = (variant.width, variant.patch**2 * count)
        chosen[name] = _kernel(variant, count, each.places)
    fill_network(
        network,
        tensors,
        shapes=shapes,
        chosen=chosen,
        blocks="encoder.",
        what="size",
        unfit=lambda reason: ModelError(
            f"backbone terramind: {path} does not fit the size {arguments.size} with modalities "
            f"{', '.join(arguments.modalities)}: {reason}: name the size of the weights, or "
            "download them again"
        ),
    )
    return network


def _kernel(
    variant: EncoderVariant, count: int, places: Sequence[int]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what turns a matrix over (row, column, band) into the kernel of some bands."""
    side = variant.patch

    def kernel(matrix: torch.Tensor) -> torch.Tensor:
        return matrix.view(-1, side, side, count)[..., list(places)].permute(0, 3, 1, 2)

    return kernel
