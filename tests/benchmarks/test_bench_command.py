import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.memory_growth import described, growth
from benchmarks.table import Limit, Row


@pytest.fixture
def small_bench(monkeypatch, tmp_path):
    """Replace the benchmarks by one that takes no time, and the model by none."""

    def run(bench):
        value = 2.0 if bench.scratch.is_dir() else 0.0
        return [Row("engine", "engine over bare", value, limit=Limit("at most", 1.05))]

    class Spec:
        name = "cell"
        weights_sha256 = "0" * 64

    monkeypatch.setattr(command, "BENCHMARKS", {"engine": run})
    monkeypatch.setattr(command, "read_fused_spec", lambda model: Spec())
    monkeypatch.setenv("PARAFOVEA_DEVICE", "cpu")
    return tmp_path / "bench.json"


def run_with(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["benchmarks", *map(str, arguments)])
    return command.main()


def test_a_broken_limit_is_the_exit_status_of_a_full_run(monkeypatch, small_bench, capsys):
    assert run_with(monkeypatch, "--json", small_bench) == 1
    assert "FAIL" in capsys.readouterr().out
    written = json.loads(small_bench.read_text())
    assert written["rows"][0]["passed"] is False
    assert written["settings"]["model"] == {"name": "cell", "sha256": "0" * 64}
    assert {"cpu", "cores", "torch", "bfloat16"} <= set(written["machine"])


def test_a_quick_run_shows_limits_but_does_not_fail_by_them(monkeypatch, small_bench, capsys):
    assert run_with(monkeypatch, "--quick", "--json", small_bench) == 0
    assert "limits do not count" in capsys.readouterr().out


def test_a_missing_model_is_one_readable_error(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PARAFOVEA_DEVICE", "cpu")
    missing = tmp_path / "none"
    assert run_with(monkeypatch, "--model", missing, "--json", tmp_path / "b.json") == 2
    assert f"{missing} is not a model folder" in caplog.text
    assert not (tmp_path / "b.json").exists()


def test_an_unknown_name_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        command.parse(["engin"])
    assert "'engin' is not known: use one of engine, engines, monai" in capsys.readouterr().err


def test_a_quick_run_does_not_overwrite_the_results_of_a_full_one():
    assert command.parse([]).json == Path("benchmarks/results/bench.json")
    assert command.parse(["--quick"]).json == Path("benchmarks/results/quick.json")


def test_growth_is_in_percent_and_missing_where_a_size_was_not_run():
    assert growth((400, 460)) == pytest.approx(15)
    assert growth((400, None)) is None
    assert described((2**29, None)) == "512 to ? MiB"
