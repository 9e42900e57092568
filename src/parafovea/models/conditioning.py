"""Conditioning of a network on a tile's month and biome.

Feature-wise linear modulation (FiLM; Perez et al., AAAI 2018): each channel of an encoder level is
scaled and shifted by values that a small network computes from the conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parafovea.settings.networks import Condition

BIOMES = 16
HARMONICS = 2
HIDDEN = 32

WIDTH: dict[Condition, int] = {"month": 2 * HARMONICS, "biome": BIOMES}


def condition_channels(conditions: Sequence[Condition]) -> int:
    """Return the number of values that encode the conditions of a tile."""
    return sum(WIDTH[name] for name in conditions)


def encoded_conditions(
    conditions: Sequence[Condition], values: Mapping[str, Sequence[int] | NDArray[Any]]
) -> NDArray[np.float32]:
    """Encode the conditions of planes.

    A month is encoded as sine and cosine with one and two periods per year, so that December is
    next to January; a biome is one-hot over `BIOMES` kinds.

    Parameters
    ----------
    conditions : sequence of {"month", "biome"}
        Conditions of the network, in its order.
    values : mapping
        For each condition, the month (1 to 12) or the biome (0 to 15) of each plane.

    Returns
    -------
    ndarray
        (plane, channel) float32.
    """
    parts = []
    for name in conditions:
        given = np.asarray(values[name], dtype=np.int64)
        if name == "biome":
            parts.append(np.eye(BIOMES)[given])
            continue
        turns = [2 * np.pi * n * (given - 1) / 12 for n in range(1, HARMONICS + 1)]
        parts.append(np.stack([f(turn) for turn in turns for f in (np.sin, np.cos)], axis=1))
    return np.concatenate(parts, axis=1).astype(np.float32)


class Modulation(nn.Module):
    """Scale and shift of channels by conditions, initialized as the identity.

    Parameters
    ----------
    inputs : int
        Number of values that encode the conditions.
    channels : int
        Number of modulated channels.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, HIDDEN)
        self.output = nn.Linear(HIDDEN, 2 * channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, values: Tensor, conditions: Tensor) -> Tensor:
        """Return modulated values.

        Parameters
        ----------
        values : Tensor
            (N, channel, y, x).
        conditions : Tensor
            (N, inputs).
        """
        made = self.output(torch.relu(self.hidden(conditions)))
        gain, offset = made[:, :, None, None].chunk(2, dim=1)
        return cast(Tensor, values * (1 + gain) + offset)
