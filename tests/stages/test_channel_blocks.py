"""A volume of several channels is the same bytes in one block and in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from parafovea.preprocess import source_statistics
from parafovea.stages.extract_features import extract_features
from parafovea.stages.join_features import join_features
from parafovea.stages.join_volume import join_volume
from parafovea.stages.merge_scan import merge_scan
from parafovea.stages.resample_volume import resample_volume
from parafovea.stages.scan_block import scan_block
from parafovea.storage.store import open_stored

#: Several shards of the volume.
SHAPE = (130, 70, 258)
NAMES = ("DAPI", "GFP", "RFP")
BACKBONE = {"name": "filterbank", "arguments": {"scales": [1.0], "kinds": ["gaussian"]}}


def written(folder: Path) -> str:
    """Write a channel of each of three types, which need one, two and four passes."""
    random = np.random.default_rng(0)
    values = random.normal(size=(3, *SHAPE))
    channels = (
        (values[0] * 3000 + 9000).astype(np.uint16),
        values[1].astype(np.float32),
        1e9 + values[2],
    )
    for name, channel in zip(NAMES, channels, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", channel, photometric="minisblack")
    return ";".join(str(folder / f"{name}.tif") for name in NAMES)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file of an image."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_volume_and_features_of_blocks_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # slabs of a few planes
    monkeypatch.setattr(source_statistics, "SCANNED_VOXELS", 7 * SHAPE[1] * SHAPE[2])
    source = {"source": written(tmp_path), "metadata": "spacing=2,1,1 unit=micrometer"}
    view: dict[str, Any] = {"spacing": (2, 1, 1), "unit": "micrometer", "channels": NAMES}
    normalization = {"normalization": {"method": "percentile"}}
    whole = tmp_path / "one/volume.ome.zarr"
    resample_volume(whole, **source, **view, **normalization)

    blocks, scans = 3, []
    for number in range(1, 5):
        parts = [tmp_path / f"scan/{number}/{block}.npz" for block in range(1, blocks + 1)]
        for block, part in enumerate(parts, start=1):
            common = {**source, **view, **normalization, "block": block, "blocks": blocks}
            scan_block(part, scans=scans, **common)
        merge_scan(parts, tmp_path / f"scan/{number}.npz")
        scans.append(tmp_path / f"scan/{number}.npz")
    parts = [tmp_path / f"parts/{block}.zarr" for block in range(1, blocks + 1)]
    for block, part in enumerate(parts, start=1):
        common = {**source, **view, **normalization, "block": block, "blocks": blocks}
        resample_volume(part, scans=scans, **common)
    joined = tmp_path / "many/volume.ome.zarr"
    join_volume(parts, joined, **source, **view)
    assert files_of(joined) == files_of(whole)
    assert len([name for name in files_of(whole) if name.startswith("0/c/")]) > 3

    features = {"spacing": (2, 1, 1), "backbone": BACKBONE, "dimensions": 3}
    extract_features(whole, tmp_path / "one/features.zarr", **features)
    parts = [tmp_path / f"features/{block}.zarr" for block in range(1, blocks + 1)]
    for block, part in enumerate(parts, start=1):
        extract_features(joined, part, **features, block=block, blocks=blocks)
    join_features(parts, tmp_path / "many/features.zarr")
    wanted = files_of(tmp_path / "one/features.zarr")
    assert files_of(tmp_path / "many/features.zarr") == wanted


def test_percentiles_are_those_of_each_channel(tmp_path: Path) -> None:
    path = written(tmp_path)
    volume = tmp_path / "volume.ome.zarr"
    resample_volume(
        volume,
        source=path,
        metadata="spacing=2,1,1 unit=micrometer",
        spacing=(2, 1, 1),
        unit="micrometer",
        channels=NAMES,
        normalization={"method": "percentile", "low": 1, "high": 99, "clip": False},
    )
    stored = open_stored(volume)
    for name, found in zip(NAMES, stored.read(), strict=True):
        values = tifffile.imread(tmp_path / f"{name}.tif").astype(np.float64)
        low, high = np.percentile(values, (1, 99))
        wanted = (values - low) / (high - low)
        np.testing.assert_allclose(found, wanted, atol=2e-3)
