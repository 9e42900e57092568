"""`parafovea plan` on the terminal, its table as TSV, and the rates it measures and keeps."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parafovea.chain.cost import Rates
from parafovea.cli.main import app
from parafovea.errors import ConfigError
from parafovea.planning.forecast_tables import minutes_text
from parafovea.planning.measured_rates import MeasuredRates, read_rates, write_rates


@pytest.fixture
def plan(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)

    def call(*arguments):
        done = CliRunner().invoke(app, ["plan", *arguments])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return call


def test_each_sample_and_each_stage_has_a_line(plan):
    shown = plan()
    assert "a          20 x 40 x 36" in shown
    assert "2 samples" in shown
    assert "infer_shard       GPU  2" in shown
    assert "as on two CPU cores" in shown


def test_the_tsv_holds_what_is_shown(plan, tmp_path):
    plan("--sample", "b", "--output", str(tmp_path / "plan.tsv"))
    with (tmp_path / "plan.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["sample"] for row in rows} == {"b"}
    (infer,) = [row for row in rows if row["stage"] == "infer_shard"]
    assert (infer["device"], infer["jobs"]) == ("gpu", "1")
    assert int(infer["windows"]) == 8
    (volume,) = [row for row in rows if row["stage"] == "resample_volume"]
    assert float(volume["disk_mb"]) == pytest.approx(2 * 20 * 40 * 36 / 1e6, abs=0.05)


def test_a_sample_of_unknown_size_is_marked_with_the_reason_and_not_counted(
    plan, project_folder, tmp_path
):
    alone = plan("--sample", "b")
    project_folder.rows[0][4] = ""
    project_folder.write()
    shown = plan("--output", str(tmp_path / "plan.tsv"))
    rows = [line.split() for line in shown.splitlines()]
    assert ["a", "unknown"] in rows
    assert "a is not counted: data/a.tif" in shown
    assert "spacing=" in shown
    # the stages are those of b alone
    stages = [line for line in alone.splitlines() if line.startswith("infer_shard")]
    assert stages == [line for line in shown.splitlines() if line.startswith("infer_shard")]
    with (tmp_path / "plan.tsv").open() as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    assert [row["stage"] for row in lines if row["sample"] == "a"] == ["unknown"]


def test_kept_rates_are_used_and_named(plan):
    rates = MeasuredRates("a fast GPU", {"models/cell": Rates(1.0, 1.0, 1.0)})
    write_rates(Path("results/rates.json"), rates)
    shown = plan()
    assert "measured on a fast GPU (results/rates.json)" in shown
    assert "two CPU cores" not in shown
    # 8 windows of 16 x 32 x 32 voxels at a second each are 36 hours, features 8 more
    assert "44.5 h" in shown.splitlines()[1]


def test_damaged_rates_are_one_readable_error(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)
    Path("results").mkdir()
    Path("results/rates.json").write_text(json.dumps({"device": "x", "models": {"m": {}}}))
    done = CliRunner().invoke(app, ["plan"])
    assert done.exit_code == 1
    assert "results/rates.json does not contain measured rates: delete it" in done.stderr
    with pytest.raises(ConfigError):
        read_rates(Path("results/rates.json"))


def test_rates_come_back_as_they_were_written(tmp_path):
    rates = MeasuredRates("here", {"m": Rates(1e-7, 2e-6, 3e-7)})
    write_rates(tmp_path / "rates.json", rates)
    assert read_rates(tmp_path / "rates.json") == rates
    assert read_rates(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (90, "2 min"), (3 * 3600, "3.0 h"), (1e7, "2,778 h")],
)
def test_times_are_in_words(seconds, words):
    assert minutes_text(seconds) == words
