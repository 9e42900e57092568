"""Results of tiles as files, and whether one that is there is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea import __version__
from parafovea.formats.tiles.npz import npz_bytes, place_tile
from parafovea.formats.tiles.tile import Tile
from parafovea.storage.provenance import current_time, stated_time

#: What the metadata of a result call the stage that made it, by the kind of its task.
STAGES = {"refinement": "stage2_refined", "segmentation": "segmented"}

#: What a result keeps of the stage before it.
EARLIER = ("stage", "timestamp", "processing")


@dataclass(frozen=True)
class Maker:
    """What makes the results of tiles.

    Parameters
    ----------
    kind : str
        Kind of the task.
    model : str
        Its folder.
    weights_sha256 : str
        Of its weights.
    classes : tuple of str
        Bands or classes of the result.
    settings : mapping
        What else changes the result, JSON-ready.
    device : str
        Where the network runs.
    half : bool
        Whether its convolutions run in a half precision.
    """

    kind: str
    model: str
    weights_sha256: str
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    device: str
    half: bool

    def fingerprint(self, inputs: Sequence[str]) -> str:
        """Return the hash of model, settings and the digests of all tiles that are looked at."""
        facts = [self.kind, self.weights_sha256, dict(self.settings), list(inputs)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_finished(folder: Path, name: str, fingerprint: str) -> bool:
    """Return whether the result of a tile is there, whole, and made by the same from the same.

    Parameters
    ----------
    folder : Path
        Of the results.
    name : str
        Of the tile.
    fingerprint : str
        As the result's maker has it.
    """
    try:
        said = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["processing"]
        if said["fingerprint"] != fingerprint:
            return False
        with (folder / f"{name}.npz").open("rb") as stream:
            return bool(hashlib.file_digest(stream, "sha256").hexdigest() == said["output_sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_result(
    folder: Path,
    tile: Tile,
    values: NDArray[np.float32],
    *,
    maker: Maker,
    fingerprint: str,
    seconds: float,
    neighbours: Sequence[str] = (),
) -> Path:
    """Write what a model made of a tile: `NAME.npz` and `NAME.json`.

    Parameters
    ----------
    folder : Path
        Of the results.
    tile : Tile
        The input; all of its metadata is kept.
    values : ndarray
        (class, y, x) float32, 0 to 1.
    maker : Maker
        The model.
    fingerprint : str
        Of the maker and its inputs.
    seconds : float
        That the tile took, as its share of a batch.
    neighbours : sequence of str
        Tiles that were seen around it.

    Returns
    -------
    Path
        Of the NPZ file. A refinement is `opt_v2`, (band, y, x) float32, 0 where nothing was
        measured; a segmentation is `classes`, (y, x) uint8, and `probabilities`, (class, y, x)
        float16. Where some pixels were not measured, `valid` is (y, x) bool.
    """
    earlier = {key: tile.metadata[key] for key in EARLIER if key in tile.metadata}
    metadata: dict[str, Any] = {
        **tile.metadata,
        **({} if tile.position is None else {"position": asdict(tile.position)}),
        "month": tile.month,
        "biome_code": tile.biome,
        "stage": STAGES[maker.kind],
        "timestamp": (current_time() or stated_time()).removesuffix("Z"),
        "processing": {
            "input_file": str(tile.path),
            "checkpoint": maker.model,
            "device": maker.device,
            "use_amp": maker.half,
            "processing_time_ms": round(1000 * seconds, 3),
            "bands" if maker.kind == "refinement" else "classes": list(maker.classes),
            "assumed": list(tile.assumed),
            "neighbours": list(neighbours),
            "settings": dict(maker.settings),
            "weights_sha256": maker.weights_sha256,
            "input_sha256": tile.sha256,
            "fingerprint": fingerprint,
            "version": __version__,
        },
    }
    if earlier:
        metadata["processing"]["earlier"] = earlier
    content = npz_bytes(_arrays(tile, values, maker.kind))
    metadata["processing"]["output_sha256"] = hashlib.sha256(content).hexdigest()
    return place_tile(folder, tile.name, content, metadata)


def _arrays(tile: Tile, values: NDArray[np.float32], kind: str) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    if kind == "refinement":
        arrays["opt_v2"] = values if tile.valid is None else np.where(tile.valid, values, 0)
    else:
        arrays["classes"] = values.argmax(axis=0).astype(np.uint8)
        arrays["probabilities"] = values.astype(np.float16)
    if tile.valid is not None:
        arrays["valid"] = tile.valid
    return arrays
