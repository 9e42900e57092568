import json
import math
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.table import Limit, Row, formatted, ratio_row, render, verdict, write_json

SECONDS = {"ours": (1.0, 2.0, 4.0), "theirs": (3.0, 5.0, 8.0), "other": (9.0, 9.0, 9.0)}


def printed(rows, width=140):
    text = StringIO()
    Console(file=text, width=width).print(render(rows, title="a machine"))
    return text.getvalue()


def test_a_limit_allows_its_own_value_and_one_side():
    for bound, inside in (("at most", 1.04), ("at least", 1.06)):
        limit = Limit(bound, 1.05)
        assert limit.holds(1.05)
        assert limit.holds(inside)
        assert not limit.holds(2.1 - inside)


@pytest.mark.parametrize("bound", ["at most", "at least"])
def test_no_limit_is_kept_by_nan(bound):
    assert not Limit(bound, 1.0).holds(math.nan)


@pytest.mark.parametrize(
    ("value", "limit", "word"),
    [
        (1.0, Limit("at most", 1.05), "pass"),
        (1.1, Limit("at most", 1.05), "FAIL"),
        (1.1, None, "shown"),
        (None, Limit("at most", 1.05), "shown"),
    ],
)
def test_verdict_is_pass_or_fail_only_where_there_is_a_value_and_a_limit(value, limit, word):
    assert verdict(Row("engine", "a over b", value, limit=limit)) == word


def test_a_ratio_row_keeps_the_seconds_of_its_two_sides_only():
    row = ratio_row("monai", "speed", SECONDS, ("theirs", "ours"), limit=Limit("at least", 2.5))
    assert row.value == 2.5
    assert row.spread == (2.0, 3.0)
    assert row.passed is True
    assert set(row.seconds) == {"theirs", "ours"}


def test_an_error_fails_a_row_without_a_value_or_a_limit():
    row = Row("engine", "ended in an error", None, note="ValueError: no", failed=True)
    assert verdict(row) == "FAIL"
    assert row.to_dict()["passed"] is False


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "x", "not run"),
        (1.0449, "x", "1.04 x"),
        (2.5e-6, "", "2.5e-06"),
        (0.0, "", "0.00"),
        (99.974, "%", "99.97 %"),
        (14.96, "%", "15.0 %"),
    ],
)
def test_numbers_show_the_digits_that_mean_something(value, unit, text):
    assert formatted(value, unit) == text


def test_the_table_shows_each_row_with_its_limit_and_each_note_once():
    note = "48 windows [of 64]"
    rows = [
        Row("engine", "engine over bare", 1.02, limit=Limit("at most", 1.05), note=note),
        Row("engine", "engine over folded", 1.3, spread=(1.2, 1.4), note=note),
        Row("memory", "growth of MONAI", None, unit="%", note="not run: needs 12 GB"),
    ]
    lines = printed(rows).splitlines()
    first = next(line for line in lines if "over bare (1)" in line)
    assert [cell in first for cell in ("1.02 x", "at most 1.05 x", "pass")] == [True] * 3
    assert any("over folded (1)" in line and "1.20 to 1.40" in line for line in lines)
    assert any("not run" in line and "(2)" in line for line in lines)
    assert [line.strip() for line in lines if line.startswith("(")] == [
        f"(1) {note}",
        "(2) not run: needs 12 GB",
    ]


def test_json_holds_machine_settings_and_every_row_with_its_verdict(tmp_path):
    rows = [
        ratio_row("engine", "a over b", SECONDS, ("ours", "theirs"), limit=Limit("at most", 0.4)),
        Row("memory", "growth", None, unit="%", note="not run"),
    ]
    path = tmp_path / "results" / "bench.json"
    write_json(path, rows, machine={"cpu": "a", "bfloat16": True}, settings={"quick": False})
    written = json.loads(path.read_text())
    assert written["machine"] == {"cpu": "a", "bfloat16": True}
    assert written["settings"] == {"quick": False}
    first, second = written["rows"]
    assert (first["value"], first["limit"], first["passed"]) == (0.4, {"at most": 0.4}, True)
    assert first["seconds"] == {"ours": [1.0, 2.0, 4.0], "theirs": [3.0, 5.0, 8.0]}
    assert (second["value"], second["limit"], second["passed"]) == (None, None, None)


@settings(max_examples=30)
@given(st.floats(-1e300, 1e300))
def test_any_number_fits_in_its_column_and_keeps_its_size(value):
    text = formatted(value, "")
    assert len(text) <= 9
    assert float(text) == pytest.approx(value, rel=0.06, abs=0.005 * (abs(value) >= 0.01))
