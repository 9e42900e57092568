"""Radar to optical with TerraMind, optical to refined with Prithvi-EO, refined to water, trained.

The config is the repository's own; only the weights are seeded stand-ins of the smallest encoders.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_prithvi import weights_of
from tiny_terramind import terramind_weights

from parafovea.formats.tiles.ledger import read_ledger
from parafovea.models.folder import load_model

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("encoder_chain")]

ROOT = Path(__file__).parents[2]


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
        training.update(steps=4, validate_every=2, batch_size=2)
        training["recipe"]["network"].update(base_channels=4, max_channels=8)
        tasks[task]["inference"] = {"precision": "float32"}
    (path / "weights").mkdir()
    torch.save(terramind_weights("tiny"), path / "weights/TerraMind_v1_base.pt")
    torch.save(weights_of("v2_tiny_tl"), path / "weights/Prithvi_EO_V2_300M_TL.pt")
    (path / "config").mkdir()
    (path / "config/config.yaml").write_text(yaml.safe_dump(settings))
    (path / "config/encoder_chain.tsv").write_text((ROOT / "config/encoder_chain.tsv").read_text())
    return path


def test_the_pipeline_is_three_lines_of_the_sheet():
    lines = (ROOT / "config/encoder_chain.tsv").read_text().splitlines()
    first = [line.split("\t") for line in lines if not line.startswith("#")][1:4]
    assert [(name, task, source[:1]) for name, task, source, _ in first] == [
        ("seen", "radar", "r"),
        ("refined", "refine", "@"),
        ("water", "water", "@"),
    ]
    assert [line[2] for line in first[1:]] == ["@seen", "@refined"]


def test_encoders_with_stand_ins_for_their_weights_are_trained_on_and_predict(place, snakemake):
    status, said = snakemake(place, "--configfile", "config/config.yaml")
    assert status == 0, said[-3000:]
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
