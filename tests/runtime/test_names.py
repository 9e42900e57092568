"""Names that forge cells, rows, terminals or formulas are refused where they enter."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_sample import tiny_recipe, tiny_spec

from parafovea.config.loading import checked_settings
from parafovea.errors import ConfigError, SourceError, TableError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.source import Source
from parafovea.formats.tiles.tile_folder import list_tiles
from parafovea.geometry.grid import Grid
from parafovea.quality.detections.tables import read_numbers
from parafovea.runtime.names import folder_problem, is_formula, name_problem, same_folder

FORGED = [
    "x\t0.99",
    "x\n0.99",
    "x\r",
    "x\x1b[2J",
    "x\x00",
    "x\x7f",
    "x\x9b31m",
    "x\u2028",
    "x\u202e",
]
FORMULAS = ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-1+cmd|' /C calc'!A0", "=HYPERLINK(1)"]
PLAIN = ["mitochondrion", "zelle ä", "B02", "-23.5_-46.6", "+47.3", "x=1", "CON", "細胞", "a b"]


@pytest.mark.parametrize("name", FORGED)
def test_control_characters_are_named(name: str) -> None:
    problem = name_problem(name)
    assert problem is not None
    assert "contains the control character \\" in problem
    assert problem.isprintable()


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_refused(name: str) -> None:
    assert "is a formula for spreadsheet programs" in str(name_problem(name))


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_the_world_are_kept(name: str) -> None:
    assert name_problem(name) is None
    assert not is_formula(name)


@pytest.mark.parametrize("name", ["", " a", "a ", "a" * 201])
def test_names_that_cannot_be_told_apart_or_shown_are_refused(name: str) -> None:
    assert name_problem(name) is not None


@pytest.mark.parametrize("name", [*FORGED, *FORMULAS])
def test_no_class_band_or_model_has_such_a_name(name: str) -> None:
    for changes in ({"classes": ("background", name)}, {"bands": (name,)}):
        with pytest.raises(ValidationError, match=r"control character|formula"):
            tiny_recipe(**changes)
    with pytest.raises(ValidationError, match=r"control character|formula"):
        tiny_spec(tiny_recipe(), name=name)


@pytest.mark.parametrize(
    "task",
    ["../../../outside", "CT/low dose", "/absolute", "..", ".a", "a b", "a\tb", "a" * 101, ""],
)
def test_a_task_names_a_folder_and_nothing_else(task: str) -> None:
    assert folder_problem(task) is not None
    with pytest.raises(
        ConfigError, match=r"is not a valid name.*the results of a task are a folder"
    ):
        checked_settings({"tasks": {task: {"model": "m"}}})


def test_tasks_and_samples_that_differ_in_case_alone_are_refused() -> None:
    assert same_folder("Cell", ["cell", "other"]) == "cell"
    assert same_folder("cell", ["cell"]) is None
    with pytest.raises(ConfigError, match=r"differ in upper and lower case alone"):
        checked_settings({"tasks": {"Cell": {"model": "m"}, "cell": {"model": "m"}}})


def test_a_table_of_findings_with_forged_scans_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    for name in ("scan\x1b[2J", "=1+1", "two\nlines"):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["seriesuid", "coordX"], [name, "1"]])
        with pytest.raises(
            TableError, match=r"truth\.csv:\d: seriesuid: name '.*' (contains|is a)"
        ):
            read_numbers(path, ("coordX",))


def test_tiles_with_such_names_are_set_aside_under_an_inert_name(tmp_path: Path) -> None:
    for name in ("=1+1", "good", "bad\x1b[31m", "-23.5_-46.6"):
        (tmp_path / f"{name}.npz").touch()
    tiles = {tile.name: tile.problem for tile in list_tiles(tmp_path)}
    assert tiles["good"] == tiles["-23.5_-46.6"] == ""
    assert "is a formula for spreadsheet programs" in tiles["'=1+1"]
    assert "unprintable characters" in tiles["bad\\x1b[31m"]


def test_a_source_that_names_a_scan_band_or_plane_so_is_refused() -> None:
    grid = Grid((1, 1, 1), (1, 1, 1))
    for names in ({"series": "1.2\x1b"}, {"bands": ("B\t2",)}, {"planes": ("a\nb",)}):
        with pytest.raises(SourceError, match=r"a\.dcm names '.*' with the control character"):
            Source("a.dcm", array=None, grid=grid, **names)  # type: ignore[arg-type]


def test_metadata_of_the_sheet_holds_no_control_characters() -> None:
    with pytest.raises(ConfigError, match=r"series '1\.2\\x1b' contains the control character"):
        parse_metadata("series=1.2\x1b", folder=Path())
