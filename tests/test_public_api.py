"""The public interface: few names, typed, imported when they are used, and silent."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tiny_sample import tiny_model, tiny_recipe

import parafovea
from parafovea import Box, Grid, load_model, open_result, open_source, predict
from parafovea.errors import ConfigError, StoreError


def test_every_public_name_is_there_and_documented():
    assert dir(parafovea) == sorted(parafovea.__all__)
    for name in set(parafovea.__all__) - {"__version__"}:
        value = getattr(parafovea, name)
        assert value.__name__ == name
        assert value.__doc__
        assert name in parafovea.__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = parafovea.nothing


def test_paths_are_texts_or_paths(tmp_path):
    folder = tiny_model(tmp_path / "model", tiny_recipe())
    assert load_model(str(folder))[0] == load_model(folder)[0]


def test_a_name_is_imported_when_it_is_used():
    program = (
        "import sys, parafovea\n"
        "heavy = {'torch', 'zarr', 'pandas', 'pydantic', 'numpy'}\n"
        "assert not heavy & set(sys.modules)\n"
        "parafovea.Grid\n"
        "assert not heavy - {'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture
def project(make_runnable, tmp_path, monkeypatch):
    folder = make_runnable(tmp_path)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_scan_is_predicted_and_its_results_are_opened_without_a_word(project, capfd):
    steps = []
    done = predict(
        "data/a.tif",
        task="cell",
        metadata="spacing=16,16,16 unit=nanometer",
        keep=True,
        progress=lambda stage, share: steps.append((stage, share)),
    )
    assert capfd.readouterr() == ("", "")
    assert done.scan == "a"
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1][0] == "render_report"
    results = project.path / "results/a"
    stated = "spacing=16,16,16 unit=nanometer"
    source = open_source(project.path / "data/a.tif", metadata=stated)
    volume = open_result(results / "volume.ome.zarr")
    assert volume.grid == Grid(source.grid.shape, (16, 16, 16))
    assert volume.read(Box((0, 0, 0), (2, 3, 4))).shape == (2, 3, 4)
    table = open_result(results / "objects.tsv")
    assert isinstance(table, pd.DataFrame)
    assert len(table) == done.found
    assert open_result(results / "quality.json") == json.loads(
        (results / "quality.json").read_text()
    )
    spec, network = load_model(project.path / "models/cell")
    assert spec.name == "cell"
    assert all(np.isfinite(p.detach().numpy()).all() for p in network.parameters())


def test_what_cannot_be_predicted_or_opened_is_one_error(project):
    with pytest.raises(ConfigError, match="task 'nothing' is not in the config"):
        predict("data/a.tif", task="nothing")
    with pytest.raises(StoreError, match="does not exist"):
        open_result("results/a/objects.tsv")
    with pytest.raises(StoreError, match=r"open_source for NIfTI"):
        open_result("data/a.tif")
    (project.path / "a.json").write_text("{")
    with pytest.raises(StoreError, match=r"a\.json is damaged"):
        open_result("a.json")
