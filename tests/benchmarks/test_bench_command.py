import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.memory_growth import described, growth
from benchmarks.samples import Bench, Sized
from benchmarks.table import Limit, Row
from parafovea.errors import MissingExtraError, ModelError


class Small:
    """A benchmark that takes no time."""

    NAME = "engine"
    SIZE = Sized(full=2, quick=1)

    def __init__(self, error=None):
        self.error = error
        self.worked_on = []

    def run(self, bench):
        self.worked_on.append(bench.of(self.SIZE))
        if self.error is not None:
            raise self.error
        value = 2.0 if bench.scratch.is_dir() else 0.0
        return [Row("engine", "engine over bare", value, limit=Limit("at most", 1.05))]


@pytest.fixture
def benchmarks(monkeypatch):
    """Replace the benchmarks by one that takes no time, and the model by none."""

    class Spec:
        name = "cell"
        weights_sha256 = "0" * 64

    found = {"engine": Small()}
    monkeypatch.setattr(command, "BENCHMARKS", found)
    monkeypatch.setattr(command, "read_fused_spec", lambda model: Spec())
    monkeypatch.setenv("PARAFOVEA_DEVICE", "cpu")
    return found


@pytest.fixture
def small_bench(benchmarks, tmp_path):
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


def test_a_quick_run_works_on_the_quick_size_and_has_no_limits(
    monkeypatch, benchmarks, small_bench, capsys
):
    assert run_with(monkeypatch, "--quick", "--json", small_bench) == 0
    printed = capsys.readouterr().out
    assert "limits do not count" in printed
    assert "FAIL" not in printed
    assert json.loads(small_bench.read_text())["rows"][0]["passed"] is None
    assert benchmarks["engine"].worked_on == [1]


def test_a_full_run_works_on_the_full_size(monkeypatch, benchmarks, small_bench):
    run_with(monkeypatch, "--json", small_bench)
    assert benchmarks["engine"].worked_on == [2]


@pytest.mark.parametrize("quick", [["--quick"], []])
@pytest.mark.parametrize("error", [ValueError("too many values"), ModelError("no weights")])
def test_a_benchmark_that_fails_fails_the_run_and_stops_no_other(
    monkeypatch, benchmarks, small_bench, capsys, caplog, quick, error
):
    benchmarks["engine"] = Small(error)
    benchmarks["context"] = Small()
    assert run_with(monkeypatch, *quick, "--json", small_bench) == 1
    assert benchmarks["context"].worked_on == [1 if quick else 2]
    assert f"{type(error).__name__}: {error}" in capsys.readouterr().out
    failed, other = json.loads(small_bench.read_text())["rows"]
    assert (failed["benchmark"], failed["value"], failed["passed"]) == ("engine", None, False)
    assert other["value"] == 2.0
    # a mistake of the program is traced, a known one is told
    assert ("Traceback" in caplog.text) == (type(error) is ValueError)


def test_a_missing_optional_package_is_said_and_fails_nothing(
    monkeypatch, benchmarks, small_bench, capsys
):
    benchmarks["engine"] = Small(MissingExtraError("peer is not installed"))
    assert run_with(monkeypatch, "--quick", "--json", small_bench) == 0
    assert "not run: peer is not installed" in capsys.readouterr().out


def test_a_run_takes_all_benchmarks_or_the_named_ones_in_the_order_of_the_table():
    assert command.selected([]) == list(command.BENCHMARKS)
    assert command.selected(["tiles", "engine"]) == ["engine", "tiles"]


def test_full_sizes_are_the_ones_that_limits_were_set_for():
    full = {name: benchmark.SIZE.full for name, benchmark in command.BENCHMARKS.items()}
    assert full == {
        "engine": (128, 160, 160),
        "engines": ((128, 160, 160), 4, ("auto", "float32")),
        "rate": (128, 160, 160),
        "monai": (128, 160, 160),
        "memory": ((128, 384), 0.125),
        "context": (128, 128, 128),
        "features": (128, 160, 160),
        "dag": {100: 3, 1000: 3, 10_000: 1},
        "volume": ((1024, 100, 0), 20),
        "blocks": ((1024, 1024, 1024), 64, (16, 8192, 8192), 16, 100, 0, 45),
        "detection": (
            ((300, 512, 512), 300),
            {
                "filled field of view": (64, 144, 144),
                "field of view of 500 mm": (64, 200, 200),
            },
        ),
        "tiles": ({120: 120, 256: 32}, (100, 1000, 5000)),
        "ray": ((100, 120, 150), (3.0, 2.5, 2.5), 2, 10),
    }


def numbers(size):
    """Yield every number of a size: of its shapes, counts and rounds."""
    if isinstance(size, dict):
        size = [*size.keys(), *size.values()]
    if isinstance(size, (list, tuple)):
        for part in size:
            yield from numbers(part)
    elif not isinstance(size, str):
        yield size


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_every_benchmark_has_a_quick_size_that_is_smaller(name):
    size = command.BENCHMARKS[name].SIZE
    assert type(size.quick) is type(size.full)
    assert 0 < sum(numbers(size.quick)) < sum(numbers(size.full))


def test_a_quick_run_counts_one_round(tmp_path):
    full, quick = (Bench(tmp_path, tmp_path, quick) for quick in (False, True))
    assert (full.rounds(5), quick.rounds(5)) == (5, 1)


def test_a_missing_model_is_one_readable_error(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PARAFOVEA_DEVICE", "cpu")
    missing = tmp_path / "none"
    assert run_with(monkeypatch, "--model", missing, "--json", tmp_path / "b.json") == 2
    assert f"model folder {missing} does not exist" in caplog.text
    assert not (tmp_path / "b.json").exists()


def test_an_unknown_name_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        command.parse(["engin"])
    assert (
        "'engin' is not known: use one of engine, engines, rate, monai" in capsys.readouterr().err
    )


def test_a_quick_run_does_not_overwrite_the_results_of_a_full_one():
    assert command.parse([]).json == Path("benchmarks/results/bench.json")
    assert command.parse(["--quick"]).json == Path("benchmarks/results/quick.json")


def test_growth_is_in_percent_and_missing_where_a_size_was_not_run():
    assert growth((400, 460)) == pytest.approx(15)
    assert growth((400, None)) is None
    assert described((2**29, None)) == "512 to ? MiB"
