"""One block or several: the same bytes in every array and table, from the source to the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tiny_sample import smooth_volume

from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain, run_sample
from parafovea.kinds.stages import stages
from parafovea.planning.staleness import Staleness
from parafovea.storage.store import open_stored

#: Several shards of every array, few of them whole.
SHAPE = (66, 260, 130)

#: Parts of results that state the name of the sample.
NAMED = ("report.html",)


def bytes_of(folder: Path) -> dict[str, str]:
    """Return a hash of every result in a sample's folder, without records of what made them."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not {".made", ".made.json"} & set(path.parts)
        and path.name not in NAMED
        and not {"shards", "blocks"} & set(path.parts)
    }


def source_of(dtype: str) -> np.ndarray[Any, Any]:
    """Return voxels of a type, with outliers that percentiles leave out."""
    smooth = smooth_volume(SHAPE).astype(np.float64)
    if dtype == "float64":
        return 1e9 + smooth
    values = smooth * 200
    values[0, 0, :5] = 250
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "inference"),
    [
        ("uint8", {"shards": 3, "window": None}),
        ("float32", {"tta": ["flip_x"], "shards": 2, "window": None}),
        ("float64", {"output_scale": [1.0, 0.5, 0.5]}),
    ],
)
def test_results_are_the_same_bytes_in_one_block_and_in_several(
    make_runnable: Callable[[Path], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    inference: dict[str, Any],
) -> None:
    folder = make_runnable(tmp_path / "project")
    monkeypatch.chdir(folder.path)
    (row,) = folder.rows
    tifffile.imwrite(folder.path / row[2], source_of(dtype), photometric="minisblack")
    truth = (source_of("uint8") > 120).astype(np.uint8)
    tifffile.imwrite(folder.path / row[3], truth, photometric="minisblack")
    task = folder.config["tasks"]["cell"]
    task["inference"] = {"overlap": 0.0, "precision": "float32", **inference}
    found = {}
    for blocks in (1, 5):
        folder.rows = [[f"in_{blocks}", *row[1:]]]
        task["blocks"] = blocks
        folder.write()
        project = read_project(folder.path / "config/config.yaml")
        done: list[str] = []
        run_chain(project, f"in_{blocks}", Staleness(project), announce=done.append)
        ran_blocks = {name for name in done if stages()[name].blockwise}
        assert bool(ran_blocks) == (blocks > 1)
        found[blocks] = bytes_of(folder.path / f"results/in_{blocks}")
        again: list[str] = []
        run_chain(project, f"in_{blocks}", Staleness(project), announce=again.append)
        assert again == []

    assert found[5] == found[1]
    stored = open_stored(folder.path / "results/in_5/volume.ome.zarr")
    assert stored.grid.shape == SHAPE
    assert stored.read().astype(np.float32).std() > 0.1


# values of 4 bytes are counted in two passes, the second of which needs the first
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_run_of_all_stages_leaves_no_parts(
    make_runnable: Callable[[Path], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
) -> None:
    folder = make_runnable(tmp_path / "project")
    monkeypatch.chdir(folder.path)
    source = folder.path / folder.rows[0][2]
    tifffile.imwrite(source, tifffile.imread(source).astype(dtype), photometric="minisblack")
    folder.config["tasks"]["cell"]["blocks"] = 2
    folder.write()
    page = run_sample(read_project(folder.path / "config/config.yaml"), "a")
    left = {path.parent.name for path in (page.parent / "blocks").rglob("*") if path.is_file()}
    # the counts of quality are kept, as features are
    assert left == {"quality"}
    assert open_stored(page.parent / "prediction.ome.zarr").grid.shape == (20, 40, 36)
