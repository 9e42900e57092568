"""What runs again for folders of tiles, asked of snakemake with the workflow's own helpers.

A rule of this test stands for the prediction and only lists names: `a` is a folder of tiles with
one of truths, `b` is made of `a`'s results.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from planner import Planner

from parafovea.config import read_project
from parafovea.formats.tiles.npz import write_tile

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("tile_folders")]

ROOT = Path(__file__).parents[2]

SNAKEFILE = """
configfile: "config/config.yaml"


include: "{root}/workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        predicted_tiles("tiles.tsv"),


rule predict_tiles:
    input:
        source=tile_files("source"),
        truth=tile_files("truth"),
    output:
        table="<results>/{{sample}}/tiles.tsv",
    wildcard_constraints:
        sample=samples_of_type("tiles"),
    params:
        source=setting("source"),
        content=tile_content("source"),
        truth_content=tile_content("truth"),
    run:
        tiles = Path(output.table).parent / "tiles"
        tiles.mkdir(exist_ok=True)
        names = sorted(file.name for file in Path(params.source).glob("*.npz"))
        for name in names:
            (tiles / name).touch()
        Path(output.table).write_text("".join(f"{{name}}\\n" for name in names))
"""


def tile(folder, name, value=0.5, month=6):
    arrays = {"opt_v1": np.full((4, 32, 32), value, np.float32)}
    write_tile(folder, name, arrays, {"month": month, "biome_code": 3})


@pytest.fixture(scope="module")
def place(make_project_folder, tmp_path_factory):
    """Finish a project of two chained samples of tiles; return its folder."""
    folder = make_project_folder(tmp_path_factory.mktemp("tiles"))
    for name in ("one", "two"):
        tile(folder.path / "tiles", name)
        tile(folder.path / "truth", name, 0.4)
    folder.rows[:] = [["b", "cell", "@a", "", ""], ["a", "cell", "tiles", "truth", ""]]
    folder.write()
    (folder.path / "code").mkdir()
    (folder.path / "code/Snakefile").write_text(SNAKEFILE.format(root=ROOT))
    (folder.path / "code/src").symlink_to(ROOT / "src")
    command = [sys.executable, "-m", "snakemake", "--snakefile", "code/Snakefile", "--cores", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.path)
    assert done.returncode == 0, done.stderr
    return folder.path


@pytest.fixture(scope="module")
def again(place):
    """Return a function that tells how many folders of tiles would be predicted again."""
    planner = Planner(place / "code")
    yield lambda: planner.plan(place).get("predict_tiles", 0)
    planner.close()


def test_a_chain_of_tiles_is_made_in_its_order(place, again):
    assert (place / "results/b/tiles.tsv").read_text() == "one.npz\ntwo.npz\n"
    assert (place / "results/b/tiles/two.npz").is_file()
    assert again() == 0


def test_a_touched_folder_and_tiles_written_anew_as_they_were_run_nothing_again(place, again):
    tile(place / "tiles", "one")
    for file in [*(place / "tiles").iterdir(), place / "tiles", place / "truth"]:
        os.utime(file)
    assert again() == 0


@pytest.mark.parametrize(
    ("folder", "change"),
    [("tiles", {"value": 0.25}), ("tiles", {"month": 7}), ("truth", {"value": 0.25})],
)
def test_a_tile_that_was_edited_in_place_runs_its_folder_and_what_follows_again(
    place, again, folder, change
):
    time = (place / folder).stat().st_mtime_ns
    file = place / folder / "one.npz"
    before = [file.read_bytes(), file.with_suffix(".json").read_bytes()]
    # as np.savez does it: the folder's own time stays
    tile(place / "edited", "one", **{"value": 0.5 if folder == "tiles" else 0.4, **change})
    file.write_bytes((place / "edited/one.npz").read_bytes())
    file.with_suffix(".json").write_bytes((place / "edited/one.json").read_bytes())
    assert (place / folder).stat().st_mtime_ns == time
    assert again() == 2
    file.write_bytes(before[0])
    file.with_suffix(".json").write_bytes(before[1])
    assert again() == 0


def test_a_tile_that_came_or_went_runs_its_folder_again(place, again):
    tile(place / "tiles", "three")
    assert again() == 2
    for ending in ("npz", "json"):
        (place / f"tiles/three.{ending}").unlink()
    assert again() == 0


def test_a_new_table_of_the_first_sample_runs_the_second_alone_again(place, again):
    table = place / "results/a/tiles.tsv"
    before = table.read_text()
    table.write_text(before + "more\n")
    os.utime(table)
    assert again() == 1
    # the same table counts as the same tiles, however new it is: it has to tell what they hold
    table.write_text(before)
    assert again() == 0


def test_the_hash_of_tiles_that_are_made_here_is_none(place, monkeypatch):
    monkeypatch.chdir(place)
    project = read_project(Path("config/config.yaml"))
    assert project.tile_content("b") == ""
    assert len(project.tile_content("a")) == 64
    assert project.tile_content("a", "truth") != project.tile_content("a")
