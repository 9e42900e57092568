"""The table of windows: one command measures what the figure draws."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from benchmarks import windows
from parafovea.report.measured_figures import draw_tables
from parafovea.runtime.shipped_files import PUBLICATION, shipped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a config with one small phantom, in two kinds of windows."""
    results = tmp_path / "results"
    place = f"{results}/phantoms/cell_seed9001"
    lines = [["sample", "task", "source", "truth", "metadata"]]
    lines += [
        [f"{task}_9001", task, f"{place}.ome.zarr", f"{place}_truth.ome.zarr", ""]
        for task in ("half", "auto")
    ]
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("".join("\t".join(line) + "\n" for line in lines))
    config = tmp_path / "small.yaml"
    shape = {"cell": {"shape": [64, 64, 128]}}
    values = {"samples": str(sheet), "results": str(results), "phantoms": shape}
    config.write_text(yaml.safe_dump(values))
    return config


def test_the_command_writes_the_table_that_the_figure_draws_and_measures_no_time_twice(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PARAFOVEA_DEVICE", "cpu")
    assert windows.main(["--config", str(small)]) == 0
    table = small.parent / "results/windows.tsv"
    half, auto = (line.split("\t") for line in table.read_text().splitlines()[1:])
    # three windows of 64 voxels that share 32 along x cover 128 voxels
    assert half[:3] == ["64³", "50 %", "1.5"]
    assert auto[0].endswith("(auto)")
    assert float(half[3]) > 0
    picture = small.parent / "windows.svg"
    draw_tables("windows", [table], {picture: ".svg"}, style=shipped(PUBLICATION), options={})
    assert picture.read_text().startswith("<?xml")
    with caplog.at_level(logging.ERROR):
        assert windows.main(["--config", str(small)]) == 2
    assert "whose time is not known: remove" in caplog.text
