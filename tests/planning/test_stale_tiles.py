"""Which results of folders of tiles are current: `b` is made of the results of `a`."""

import os
from pathlib import Path

import numpy as np
import pytest
from recorded_results import compared, make_everything

from parafovea.config import read_project
from parafovea.formats.tiles.ledger import write_share
from parafovea.formats.tiles.npz import write_tile

ALL = {"predict_tiles", "collect_tiles", "measure_tiles", "render_tiles"}
MEASURED = {"measure_tiles", "render_tiles"}


def tile(folder, name, value=0.5, month=6):
    arrays = {"opt_v1": np.full((4, 32, 32), value, np.float32)}
    write_tile(folder, name, arrays, {"month": month, "biome_code": 3})


@pytest.fixture
def place(project_folder, monkeypatch):
    """Finish a project of two chained samples of tiles, and go to its folder."""
    folder = project_folder.path
    for name in ("one", "two"):
        tile(folder / "tiles", name)
        tile(folder / "truth", name, 0.4)
        for sample in "ab":
            tile(folder / f"results/{sample}/tiles", name)
    project_folder.config["tasks"]["cell"]["inference"] = {"shards": 1}
    project_folder.rows[:] = [["b", "cell", "@a", "", ""], ["a", "cell", "tiles", "truth", ""]]
    project_folder.write()
    monkeypatch.chdir(folder)
    make_everything()
    for sample in "ab":
        outputs = [f"results/{sample}/tiles/{name}.npz" for name in ("one", "two")]
        rows = [{"name": Path(output).stem, "output": output} for output in outputs]
        write_share(folder / f"results/{sample}/shards/1.tsv", rows)
    return folder


def stale(sample):
    staleness = compared()
    return {
        job.stage.name
        for job, status in staleness.statuses(staleness.jobs(sample)).items()
        if status != "done" and dict(job.wildcards)["sample"] == sample
    }


def test_a_finished_chain_is_current(place):
    assert stale("a") == stale("b") == set()


def test_a_touched_folder_and_tiles_written_anew_as_they_were_are_current(place):
    tile(place / "tiles", "one")
    for file in [*(place / "tiles").iterdir(), place / "tiles", place / "truth"]:
        os.utime(file)
    assert stale("a") == stale("b") == set()


@pytest.mark.parametrize(
    ("folder", "change", "first", "second"),
    [
        ("tiles", {"value": 0.25}, ALL, ALL),
        ("tiles", {"month": 7}, ALL, ALL),
        ("truth", {"value": 0.25}, MEASURED, set()),
    ],
)
def test_a_tile_that_was_edited_in_place_is_seen(place, folder, change, first, second):
    times = (place / folder).stat()
    file = place / folder / "one.npz"
    before = [file.read_bytes(), file.with_suffix(".json").read_bytes()]
    tile(place / "edited", "one", **{"value": 0.5 if folder == "tiles" else 0.4, **change})
    file.write_bytes((place / "edited/one.npz").read_bytes())
    file.with_suffix(".json").write_bytes((place / "edited/one.json").read_bytes())
    os.utime(place / folder, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (stale("a"), stale("b")) == (first, second)
    file.write_bytes(before[0])
    file.with_suffix(".json").write_bytes(before[1])
    assert stale("a") == stale("b") == set()


def test_a_tile_that_came_or_went_is_seen(place):
    tile(place / "tiles", "three")
    assert stale("a") == stale("b") == ALL
    for ending in ("npz", "json"):
        (place / f"tiles/three.{ending}").unlink()
    assert stale("a") == set()


@pytest.mark.parametrize("gone", ["one.npz", "two.json"])
def test_a_result_that_was_deleted_is_predicted_again(place, gone):
    (place / "results/b/tiles" / gone).unlink()
    assert stale("a") == set()
    assert stale("b") == {"predict_tiles"}


def test_the_hash_of_tiles_that_are_made_here_is_none(place):
    project = read_project(Path("config/config.yaml"))
    assert project.tile_content("b") == ""
    assert len(project.tile_content("a")) == 64
    assert project.tile_content("a", "truth") != project.tile_content("a")
