"""Result files of tiles, and detection of finished results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea import __version__
from parafovea.formats.tiles.npz import CLASSES, npz_bytes, place_tile
from parafovea.formats.tiles.tile import Tile
from parafovea.storage.provenance import current_time, stated_time

#: Array of refined bands.
REFINED = "opt_v2"

#: Array of the trust in a refinement.
TRUST = "trust"

#: Keys of the input's metadata that say what its bands hold, and nothing of refined ones.
OF_BANDS = ("radar", "elevation", "decibels")

#: Keys of the input's metadata that are moved to `processing.earlier` in a result.
EARLIER = ("stage", "timestamp", "processing")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TileForm:
    """Form of a result: its arrays, and the keys of its metadata.

    Parameters
    ----------
    stage : str
        Value of `stage` in the metadata.
    names : str
        Metadata key for the names of the output channels.
    arrays : callable
        Returns the arrays by key, given the network's output (channel, y, x) float32 and the mask
        of measured pixels (y, x) bool, or None if all were measured.
    """

    stage: str
    names: str
    arrays: Callable[[NDArray[np.float32], NDArray[np.bool_] | None], Arrays]


def _bands(values: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> Arrays:
    return {REFINED: values if valid is None else np.where(valid, values, 0)}


def _classes(values: NDArray[np.float32], _: NDArray[np.bool_] | None) -> Arrays:
    return {
        CLASSES: values.argmax(axis=0).astype(np.uint8),
        "probabilities": values.astype(np.float16),
    }


#: Channels that are bands, and channels that are class probabilities.
BAND_FORM = TileForm("stage2_refined", "bands", _bands)
CLASS_FORM = TileForm("segmented", "classes", _classes)


@dataclass(frozen=True)
class Maker:
    """Model and settings that produce the results of tiles.

    Parameters
    ----------
    kind : str
        Kind of model; part of the fingerprint.
    form : TileForm
        Form of the results.
    model : str
        Model folder.
    weights_sha256 : str
        SHA-256 of the weights.
    classes : tuple of str
        Bands or classes of the result.
    settings : mapping
        Other settings that affect the result, JSON-serializable.
    device : str
        Device of the network.
    half : bool
        Whether convolutions use half precision.
    """

    kind: str
    form: TileForm
    model: str
    weights_sha256: str
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    device: str
    half: bool

    def fingerprint(self, inputs: Sequence[str]) -> str:
        """Return the hash of model, settings and the digests of all tiles that are used."""
        facts = [self.kind, self.weights_sha256, dict(self.settings), list(inputs)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_finished(folder: Path, name: str, fingerprint: str) -> bool:
    """Return whether the result of a tile is complete and has the same fingerprint.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    name : str
        Name of the tile.
    fingerprint : str
        Expected fingerprint.
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
    trust: NDArray[np.float32] | None = None,
) -> Path:
    """Write the result of a tile: `NAME.npz` and `NAME.json`.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    tile : Tile
        The input tile; its metadata are kept.
    values : ndarray
        (class, y, x) float32, 0 to 1.
    maker : Maker
        Model and settings.
    fingerprint : str
        Hash of the maker and its inputs.
    seconds : float
        Processing time of the tile, its share of a batch.
    neighbours : sequence of str
        Names of the neighbouring tiles used.
    trust : ndarray, optional
        (y, x) float32, 0 to 1: the share of the network's change of brightness that was made.

    Returns
    -------
    Path
        Path of the NPZ file. A refinement has `opt_v2`, (band, y, x) float32, 0 where nothing was
        measured, and `trust`, (y, x) float16, if given; a segmentation has `classes`, (y, x) uint8,
        and `probabilities`, (class, y, x) float16. If some pixels were not measured, there is also
        `valid`, (y, x) bool.
    """
    # the names of the input's bands, if stated, are not those of the result
    named = "bands" in tile.metadata and maker.form is BAND_FORM
    earlier = {key: tile.metadata[key] for key in EARLIER if key in tile.metadata}
    refined = maker.form is BAND_FORM
    metadata: dict[str, Any] = {
        **{k: v for k, v in tile.metadata.items() if not (refined and k in OF_BANDS)},
        **({"bands": list(maker.classes)} if named else {}),
        **({} if tile.position is None else {"position": asdict(tile.position)}),
        "month": tile.month,
        "biome_code": tile.biome,
        "stage": maker.form.stage,
        "timestamp": (current_time() or stated_time()).removesuffix("Z"),
        "processing": {
            "input_file": str(tile.path),
            "checkpoint": maker.model,
            "device": maker.device,
            "use_amp": maker.half,
            "processing_time_ms": round(1000 * seconds, 3),
            maker.form.names: list(maker.classes),
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
    arrays = maker.form.arrays(values, tile.valid)
    if trust is not None:
        arrays[TRUST] = trust.astype(np.float16)
    if tile.valid is not None:
        arrays["valid"] = tile.valid
    content = npz_bytes(arrays)
    metadata["processing"]["output_sha256"] = hashlib.sha256(content).hexdigest()
    return place_tile(folder, tile.name, content, metadata)
