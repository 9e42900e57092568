"""Radar to optical, optical to refined, refined to water: three lines of the sheet."""

import json

import numpy as np
import pytest
import yaml
from tiny_sample import BANDS, tiny_model, tiny_refinement

from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.formats.tiles.npz import write_tile
from parafovea.planning.staleness import Staleness

pytestmark = pytest.mark.workflow

RECIPES = {
    "sar": tiny_refinement(bands=("VV", "VH"), residual=False),
    "optical": tiny_refinement(),
    "water": tiny_refinement(kind="segmentation", classes=("land", "water")),
}
SIZES = {"north": 32, "south": 48}
SHEET = """sample\ttask\tsource\ttruth
wet\twater\t@refined\tclasses
refined\toptical\t@seen\ttruth
seen\tsar\tradar\ttruth
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with two radar tiles of two sizes, their truths and three tiny models."""
    path = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(1)
    for name, side in SIZES.items():
        radar = rng.uniform(0.1, 0.9, (2, side, side)).astype(np.float32)
        write_tile(path / "radar", name, {"sar": radar}, {"month": "jun", "biome_code": 3})
        truth = rng.uniform(0.05, 0.5, (4, side, side)).astype(np.float32)
        write_tile(path / "truth", name, {"opt_v2": truth})
        water = rng.integers(0, 2, (side, side), np.uint8)
        write_tile(path / "classes", name, {"classes": water})
    tasks = {
        task: {"kind": recipe.kind, "model": str(tiny_model(path / task, recipe))}
        for task, recipe in RECIPES.items()
    }
    (path / "config").mkdir()
    (path / "config/config.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    (path / "config/samples.tsv").write_text(SHEET)
    return path


def predicted(place):
    """Run the chain in one process; return the arrays of its last folders by stage and tile."""
    project = read_project(place / "config/config.yaml")
    run_chain(project, "wet", Staleness(project))
    found = {}
    for sample in ("seen", "refined", "wet"):
        for entry in read_ledger(place / f"results/{sample}/tiles.tsv"):
            with np.load(entry.output) as stored:
                found[sample, entry.name] = {key: stored[key] for key in stored.files}
    return found


def test_three_lines_are_one_plan_in_the_order_of_their_needs(place, planned):
    jobs = planned(place)
    each = ("predict_tiles", "collect_tiles", "measure_tiles", "render_tiles")
    assert {name: jobs[name] for name in each} == dict.fromkeys(each, 3)
    # the last stage waits for the tables of those before it, and for no report
    assert planned(place, "results/wet/tiles.tsv") == {"predict_tiles": 3, "collect_tiles": 3}


def test_radar_becomes_water_by_way_of_optical_tiles(place, monkeypatch):
    monkeypatch.chdir(place)
    found = predicted(place)
    assert len(found) == 6
    for name, side in SIZES.items():
        for sample in ("seen", "refined"):
            values = found[sample, name]["opt_v2"]
            assert values.shape == (len(BANDS), side, side)
            assert 0 <= values.min() < values.max() <= 1
        assert found["wet", name]["classes"].shape == (side, side)
        assert set(np.unique(found["wet", name]["classes"])) <= {0, 1}
        facts = json.loads((place / f"results/wet/tiles/{name}.json").read_text())
        assert (facts["month"], facts["biome_code"]) == (6, 3)
    (entry, _) = read_ledger(place / "results/wet/tiles.tsv")
    assert entry.source.resolve() == (place / f"results/refined/tiles/{entry.name}.npz").resolve()
    quality = json.loads((place / "results/wet/quality.json").read_text())
    assert quality["metrics"]["tiles"]["with_truth"] == 2
