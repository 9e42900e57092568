"""Ledgers of shares of a folder become one, and results without an input go."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest

from parafovea.errors import SourceError
from parafovea.formats.tiles.ledger import Row, finished_row, quarantined_row, write_share
from parafovea.formats.tiles.tile import Position, Tile
from parafovea.stages.collect_tiles import collect_tiles


def finished(
    folder: Path, name: str, *, assumed: tuple[str, ...] = (), position: Position | None = None
) -> Row:
    """Write a result, and return its row."""
    folder.mkdir(exist_ok=True)
    for ending in ("npz", "json"):
        (folder / f"{name}.{ending}").write_bytes(b"a result")
    tile = Tile(
        name=name,
        values=np.zeros((4, 20, 24), np.float32),
        valid=None,
        month=6,
        biome=3,
        assumed=assumed,
        position=position,
        metadata={},
        path=Path("in") / f"{name}.npz",
        sha256="1" * 64,
    )
    return finished_row(tile, folder, fingerprint="2" * 64)


def collected(folder: Path, *shares: list[Row], strict: bool = False) -> tuple[Path, Path]:
    ledgers = [folder / f"{number}.tsv" for number in range(1, len(shares) + 1)]
    for ledger, rows in zip(ledgers, shares, strict=True):
        write_share(ledger, rows)
    tables = folder / "tiles.tsv", folder / "quarantine.tsv"
    collect_tiles(ledgers, *tables, strict=strict)
    return tables


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_shares_become_one_table_in_the_order_of_names(tmp_path: Path) -> None:
    place = Position("EPSG:32633", 500000.5, 5e6, 10.0)
    shares = (
        [finished(tmp_path / "tiles", "c"), finished(tmp_path / "tiles", "a", position=place)],
        [quarantined_row("d", Path("in/d.npz"), "is cut\noff"), finished(tmp_path / "tiles", "b")],
    )
    tiles, quarantine = collected(tmp_path, *shares)
    rows = read(tiles)
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert list(rows[0])[:3] == ["name", "height", "width"]
    assert rows[0] | {"output": ""} == {
        "name": "a",
        "height": "20",
        "width": "24",
        "month": "6",
        "biome": "3",
        "assumed": "",
        "crs": "EPSG:32633",
        "x": "500000.5",
        "y": "5000000.0",
        "pixel_size": "10.0",
        "input": "in/a.npz",
        "output": "",
        "input_sha256": "1" * 64,
        "fingerprint": "2" * 64,
        "clipped": "0",
        "measured": "1920",
        "notes": "",
    }
    assert rows[1]["crs"] == rows[1]["x"] == ""
    assert read(quarantine) == [{"name": "d", "file": "in/d.npz", "reason": "is cut off"}]


def test_a_name_that_looks_like_a_number_or_like_nothing_stays_as_it_is(tmp_path: Path) -> None:
    names = ["0012", "1e5", "NA", "nan", 'a "b"']
    tiles, _ = collected(tmp_path, [finished(tmp_path / "tiles", name) for name in names])
    assert sorted(row["name"] for row in read(tiles)) == sorted(names)


def test_results_that_no_tile_has_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    good = finished(tmp_path / "tiles", "good")
    bad = finished(tmp_path / "tiles", "bad")["name"]
    finished(tmp_path / "tiles", "gone")
    for name in (".good.npz.partial", "notes.txt"):
        (tmp_path / "tiles" / name).write_text("")
    collected(tmp_path, [good, quarantined_row(str(bad), Path("in/bad.npz"), "is cut off")])
    left = {path.name for path in (tmp_path / "tiles").iterdir()}
    assert left == {"good.npz", "good.json", "notes.txt"}


def test_defaults_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tiles"
    rows = [
        finished(folder, "a", assumed=("month", "biome")),
        finished(folder, "b", assumed=("biome",)),
        finished(folder, "c"),
    ]
    with caplog.at_level(logging.WARNING):
        collected(tmp_path, rows)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "1 of 3 tiles have no month, and June was assumed: add it to their JSON files",
        "2 of 3 tiles have no biome, and biome 0 was assumed: add it to their JSON files",
    ]


def test_strict_ends_the_run_with_the_first_reasons_and_touches_no_result(tmp_path: Path) -> None:
    rows = [finished(tmp_path / "tiles", "good")]
    finished(tmp_path / "tiles", "gone")
    rows += [quarantined_row(f"b{n}", Path(f"in/b{n}.npz"), f"reason {n}") for n in range(7)]
    with pytest.raises(SourceError) as caught:
        collected(tmp_path, rows, strict=True)
    message = str(caught.value)
    assert message.startswith("7 of 8 tiles cannot be used")
    assert "reason 4; and 2 more" in message
    assert "set tiles.strict: false" in message
    assert "reason 5" not in message
    assert (tmp_path / "tiles/gone.npz").is_file()
    assert not (tmp_path / "tiles.tsv").exists()


def test_a_folder_without_a_valid_tile_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"1 of 1 tiles cannot be used .*: is cut off\."):
        collected(tmp_path, [quarantined_row("a", Path("in/a.npz"), "is cut off")])


def test_results_that_somebody_removed_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    rows = [finished(tmp_path / "tiles", name) for name in ("a", "b")]
    (tmp_path / "tiles/b.npz").unlink()
    with pytest.raises(
        SourceError, match=r"1 results that .* are missing from .* such as b\.npz: remove"
    ):
        collected(tmp_path, rows)
    assert not (tmp_path / "tiles.tsv").exists()


def test_notes_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "tiles"
    rows = [
        {**finished(folder, "a"), "notes": "is dark"},
        {**finished(folder, "b"), "notes": "is dark | has no place"},
        finished(folder, "c"),
    ]
    with caplog.at_level(logging.WARNING):
        tiles, _ = collected(tmp_path, rows)
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 tiles, such as a: is dark",
        "1 of 3 tiles, such as b: has no place",
    ]
    assert [row["notes"] for row in read(tiles)] == ["is dark", "is dark | has no place", ""]
