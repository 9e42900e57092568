"""Radar to optical with TerraMind, optical to refined with Prithvi-EO, refined to water, trained.

The config is the repository's own; only the weights are seeded stand-ins of the smallest encoders.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from rasterio.transform import Affine
from tiny_prithvi import weights_of
from tiny_terramind import terramind_weights

from parafovea.config import read_project
from parafovea.config.source_headers import header_problems
from parafovea.drivers.one_process import run_chain
from parafovea.errors import ParafoveaError, describe
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.formats.tiles.npz import write_tile
from parafovea.models.folder import load_model
from parafovea.planning.staleness import Staleness

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]


#: What each model learns from here: fewer samples than in the config.
LEARNED = {"radar": ("radar_521", "radar_527"), "refine": ("refine_528", "refine_533")}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with the config, made small, its sheet, and weights for its encoders."""
    path = tmp_path_factory.mktemp("encoders")
    settings = yaml.safe_load((ROOT / "config/encoder_chain.yaml").read_text())
    settings["phantoms"] = {
        "landscape": {"tiles": [2, 1], "sizes": [64, 40]},
        "scene": {"tiles": [2], "sizes": [64]},
    }
    tasks = settings["tasks"]
    tasks["water"]["model"] = str(ROOT / tasks["water"]["model"])
    for task, published, made in (
        ("radar", {"size": "base"}, {"size": "tiny"}),
        ("refine", {"variant": "v2_300_tl"}, {"variant": "v2_tiny_tl"}),
    ):
        training = tasks[task]["training"]
        arguments = training["recipe"]["backbone"]["arguments"]
        assert published.items() <= arguments.items()
        arguments.update(made, overlap=8)
        first, last = LEARNED[task]
        assert first in training["samples"]
        assert last in training["validation"]
        training.update(samples=[first], validation=[last])
        training.update(steps=4, validate_every=2, batch_size=2)
        training["recipe"]["network"].update(base_channels=4, max_channels=8)
        tasks[task]["inference"] = {"precision": "float32"}
    (path / "weights").mkdir()
    torch.save(terramind_weights("tiny"), path / "weights/TerraMind_v1_base.pt")
    torch.save(weights_of("v2_tiny_tl"), path / "weights/Prithvi_EO_V2_300M_TL.pt")
    (path / "config").mkdir()
    (path / "config/config.yaml").write_text(yaml.safe_dump(settings))
    used = {
        "sample",
        "seen",
        "refined",
        "water",
        "seen_528",
        "seen_533",
        *sum(LEARNED.values(), ()),
    }
    lines = (ROOT / "config/encoder_chain.tsv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split("\t")[0] in used]
    # radar as it is delivered: decibels in tiles, linear power in one large image
    kept[0] = f"{kept[0].strip()}\tmetadata\n"
    kept += [
        "flight\tradar\tflight\t\tradar=decibels\n",
        "strip\tradar\tstrip.tif\t\tradar=power\n",
    ]
    levels = np.random.default_rng(5).uniform(-24, -8, (2, 48, 64)).astype(np.float32)
    write_tile(path / "flight", "a", {"sar": levels})
    write_power(path / "strip.tif", levels)
    (path / "config/encoder_chain.tsv").write_text("".join(kept))
    return path


def write_power(path, levels):
    height, width = levels.shape[1:]
    transform = Affine(10, 0, 500000, 0, -10, 5000000)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 2, "crs": "EPSG:32633"}
    with rasterio.open(
        path, "w", height=height, width=width, transform=transform, **profile
    ) as image:
        image.write(10 ** (levels / 10))
        image.descriptions = ("VV", "VH")


def test_the_pipeline_is_three_lines_of_the_sheet():
    lines = (ROOT / "config/encoder_chain.tsv").read_text().splitlines()
    first = [line.split("\t") for line in lines if not line.startswith("#")][1:4]
    assert [(name, task, source[:1]) for name, task, source, _ in first] == [
        ("seen", "radar", "r"),
        ("refined", "refine", "@"),
        ("water", "water", "@"),
    ]
    assert [line[2] for line in first[1:]] == ["@seen", "@refined"]


def test_models_are_trained_before_the_lines_that_need_them(place, planned):
    jobs = planned(place)
    assert {name: jobs[name] for name in ("train_model", "predict_tiles", "resample_volume")} == {
        "train_model": 2,
        "predict_tiles": 6,
        "resample_volume": 5,
    }


def test_encoders_with_stand_ins_for_their_weights_are_trained_on_and_predict(
    place, monkeypatch, caplog
):
    monkeypatch.chdir(place)
    project = read_project(place / "config/config.yaml")
    assert header_problems(project, tuple(project.samples)) == {}
    with caplog.at_level("WARNING", "parafovea"):
        for sample in ("water", "refined", "seen"):
            run_chain(project, sample, Staleness(project))
    assert "B08 stands for B8A" in caplog.text
    assert "the input has no B11, B12" in caplog.text
    results = place / "results/encoder_chain"
    for task, width in (("radar", 192 + 2), ("refine", 192 + 4)):
        spec, _ = load_model(results / "models" / task)
        assert spec.input_channels == width
    for sample in ("seen", "refined", "water"):
        entries = read_ledger(results / sample / "tiles.tsv")
        assert len(entries) == 3
        for entry in entries:
            with np.load(place / entry.output) as stored:
                values = stored["classes" if sample == "water" else "opt_v2"]
            facts = json.loads((place / entry.output).with_suffix(".json").read_text())
            assert {"month", "biome_code"} <= facts.keys()
            if sample == "water":
                assert set(np.unique(values)) <= {0, 1}
                continue
            assert values.shape[0] == 4
            assert 0 <= values.min() < values.max() <= 1
            assert facts["bands"] == ["B02", "B03", "B04", "B08"]
            # what the numbers of radar are is nothing that optical bands hold
            assert "decibels" not in facts
        quality = json.loads((results / sample / "quality.json").read_text())
        assert quality["metrics"]["tiles"]["with_truth"] == 3


def test_decibels_and_power_are_the_same_radar_to_every_stage(place, monkeypatch):
    monkeypatch.chdir(place)
    project = read_project(place / "config/config.yaml")
    for sample in ("flight", "strip"):
        run_chain(project, sample, Staleness(project))
        assert (place / f"results/encoder_chain/{sample}/report.html").is_file()
    (entry,) = read_ledger(place / "results/encoder_chain/flight/tiles.tsv")
    with np.load(entry.output) as stored:
        tile = stored["opt_v2"]
    with rasterio.open(place / "results/encoder_chain/strip/refined.tif") as image:
        mosaic = image.read()
    # the mosaic's pixels are not quite 10 m on the ground, so that it is resampled
    np.testing.assert_allclose(mosaic, tile, atol=1e-2)
    assert tile.std() > 0.01


def test_other_weights_of_an_encoder_predict_its_tiles_again(place, monkeypatch):
    monkeypatch.chdir(place)
    project = read_project(place / "config/config.yaml")
    run_chain(project, "flight", Staleness(project))
    result = place / "results/encoder_chain/flight/tiles/a.npz"
    first = result.read_bytes()
    path = place / "weights/TerraMind_v1_base.pt"
    kept = path.read_bytes()
    # the trained model stays as it is: only what it stands on is replaced
    monkeypatch.setattr(type(project), "trained", property(lambda self: {}))
    torch.save(terramind_weights("tiny", seed=1), path)
    run_chain(project, "flight", Staleness(project))
    second = result.read_bytes()
    path.write_bytes(kept)
    run_chain(project, "flight", Staleness(project))
    assert second != first
    assert result.read_bytes() == first


def test_weights_that_are_not_there_are_said_before_any_job(place, monkeypatch):
    monkeypatch.chdir(place)
    project = read_project(place / "config/config.yaml")
    weights = place / "weights/TerraMind_v1_base.pt"
    aside = weights.rename(weights.with_suffix(".away"))
    found = header_problems(project, ("seen", "refined"))
    aside.rename(weights)
    assert list(found) == ["seen"]
    assert "file weights/TerraMind_v1_base.pt does not exist: download" in found["seen"]


@pytest.mark.parametrize("name", ["train_optical", "train_sar", "train_water"])
def test_recipes_that_learn_from_tiles_are_planned(planned, tmp_path, name):
    settings = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    settings["samples"] = str(ROOT / settings["samples"])
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(settings))
    (task,) = settings["tasks"].values()
    training = task["training"]
    count = len(training["samples"] + training["validation"])
    jobs = planned(tmp_path, task["model"])
    stages = ("train_model", "resample_volume", "extract_features", "extract_context")
    assert [jobs[stage] for stage in stages] == [1, count, count, count]


@pytest.mark.parametrize(
    ("task", "keys", "value", "part"),
    [
        ("radar", ("backbone", "arguments", "ranges"), {}, "S1GRD needs ranges of VV, VH"),
        ("radar", ("backbone", "arguments", "size"), "huge", "argument size 'huge'"),
        ("refine", ("backbone", "arguments", "variant"), "v3", "argument variant 'v3'"),
    ],
)
def test_arguments_that_cannot_be_stop_the_config_with_their_key(
    place, tmp_path, monkeypatch, task, keys, value, part
):
    monkeypatch.chdir(place)
    settings = yaml.safe_load((place / "config/config.yaml").read_text())
    found = settings["tasks"][task]["training"]["recipe"]
    for key in keys[:-1]:
        found = found[key]
    found[keys[-1]] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(ParafoveaError) as caught:
        read_project(path)
    said = describe(caught.value)
    assert f"tasks.{task}.training.recipe.backbone.arguments: backbone" in said
    assert part in said
    assert "\n" not in said
