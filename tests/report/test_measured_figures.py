"""The figures of the docs are what their tables and the one style file say, byte for byte."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from parafovea.chain.figure_stages import MEASURED
from parafovea.errors import TableError
from parafovea.report import canvas
from parafovea.report.canvas import FIXED, STYLE
from parafovea.report.context_study_figure import CLASS_LOOKS, FUSION_LOOKS, study_table
from parafovea.report.feature_study_figure import LOOKS as FEATURE_LOOKS
from parafovea.report.measured_figures import draw_tables, read_measured
from parafovea.report.tiles.month_figure import LOOKS as MONTH_LOOKS
from parafovea.report.window_figure import MARKERS
from parafovea.runtime.shipped_files import PUBLICATION, shipped
from parafovea.stages.draw_measured import draw_measured

ROOT = Path(__file__).parents[2]
TABLES, IMAGES = ROOT / "docs/figures", ROOT / "docs/images"
STYLE_FILE = shipped(PUBLICATION)
SUFFIXES = (".svg", ".pdf", ".png")

#: Draws all figures of the docs into the folder that is given.
DRAW = """
import sys
from pathlib import Path
from parafovea.chain.figure_stages import MEASURED
from parafovea.report.measured_figures import draw_tables

for name, each in MEASURED.items():
    tables = [Path(sys.argv[1]) / table for table in each.tables]
    files = {Path(sys.argv[2]) / f"{name}{suffix}": suffix for suffix in (".svg", ".pdf", ".png")}
    draw_tables(each.drawing, tables, files, style=Path(sys.argv[3]), options=each.options)
"""


def drawn(folder: Path, **environment: str) -> dict[str, bytes]:
    """Draw all figures in a process of its own; return the bytes by name."""
    folder.mkdir()
    command = [sys.executable, "-c", DRAW, TABLES, folder, STYLE_FILE]
    subprocess.run(command, check=True, env={**os.environ, **environment}, cwd=folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return drawn(tmp_path_factory.mktemp("figures") / "one", PYTHONHASHSEED="1", LC_ALL="C")


def test_figures_are_the_same_bytes_in_another_process_locale_zone_and_home(
    figures: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\n")
    again = drawn(
        tmp_path / "two",
        PYTHONHASHSEED="77",
        LC_ALL="C.UTF-8",
        LANG="de_DE.UTF-8",
        TZ="Asia/Tokyo",
        SOURCE_DATE_EPOCH="1000000000",
        MATPLOTLIBRC=str(tmp_path / "matplotlibrc"),
        MPLBACKEND="svg",
    )
    assert set(figures) == {f"{name}{suffix}" for name in MEASURED for suffix in SUFFIXES}
    assert [name for name in figures if figures[name] != again[name]] == []


@pytest.mark.parametrize("name", MEASURED)
def test_the_picture_in_the_docs_is_what_the_rule_draws(
    name: str, figures: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "drawn.png").write_bytes(figures[f"{name}.png"])
    with Image.open(IMAGES / f"{name}.png") as shown, Image.open(tmp_path / "drawn.png") as now:
        # pixels, since another zlib packs them otherwise
        assert np.array_equal(np.asarray(shown), np.asarray(now)), "run make figures"


@pytest.mark.parametrize("name", MEASURED)
def test_each_figure_is_in_a_page_and_its_tables_and_command_in_the_list(name: str) -> None:
    shown = re.compile(rf"!\[[^\]]+\]\(images/{name}\.png\)")
    assert sum(len(shown.findall(page.read_text())) for page in ROOT.glob("docs/*.md")) == 1
    listed = (ROOT / "docs/paper_figures.md").read_text()
    for table in MEASURED[name].tables:
        assert f"figures/{table})" in listed
    for command in MEASURED[name].command.split(" && "):
        assert f"`{command}`" in listed


def test_every_picture_of_the_docs_is_in_the_list() -> None:
    text = (ROOT / "docs/paper_figures.md").read_text()
    pictures = {
        path.relative_to(IMAGES).as_posix()
        for path in IMAGES.rglob("*.*")
        if path.parent.name != "diagrams"
    }
    assert {name for name in pictures if f"images/{name}" not in text} == set()
    assert "images/diagrams/" in text


def test_every_table_is_drawn() -> None:
    known = {table for each in MEASURED.values() for table in each.tables}
    assert {path.name for path in TABLES.iterdir()} == known


def test_pdfs_embed_their_fonts_as_text_and_no_file_states_a_time_or_a_program(
    figures: dict[str, bytes],
) -> None:
    for name, content in figures.items():
        if name.endswith(".pdf"):
            assert b"/FontFile2" in content
            assert b"/Subtype /Type3" not in content
            # every font that is used has its file
            described = re.findall(rb"/FontDescriptor \d", content)
            assert len(re.findall(rb"/FontFile2 \d", content)) == len(described)
            assert b"CreationDate" not in content
        else:
            assert not re.search(rb"<dc:date>|tIME|Software", content)


def test_the_style_file_is_complete(
    figures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(canvas, "STYLE", dict(FIXED))
    for name, each in MEASURED.items():
        file = tmp_path / f"{name}.svg"
        tables = [TABLES / table for table in each.tables]
        draw_tables(each.drawing, tables, {file: ".svg"}, style=STYLE_FILE, options=each.options)
        assert file.read_bytes() == figures[file.name], name
    assert set(FIXED) < set(STYLE)


def test_the_style_file_and_the_canvas_are_the_only_places_that_set_a_style() -> None:
    setters = {"rc", "rcdefaults", "rc_context", "rc_file", "rcParams", "set_palette"}
    found = set()
    for path in (*ROOT.glob("src/**/*.py"), *ROOT.glob("benchmarks/**/*.py")):
        text = path.read_text()
        if "matplotlib" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            named = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            imported = [each.name for each in getattr(node, "names", ()) if hasattr(each, "name")]
            styled = named in setters or "matplotlib.style" in imported
            if styled or {*imported} & setters:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"src/parafovea/report/canvas.py"}


#: Modules that draw for papers alone; others draw for pages, too.
PAPERS = (
    "context_study_figure",
    "feature_study_figure",
    "overlap_figure",
    "study_scores",
    "window_figure",
    "tiles/month_figure",
    "detections/reliability_plot",
)


@pytest.mark.parametrize("name", PAPERS)
def test_figures_for_papers_take_their_colours_and_fonts_from_the_style(name: str) -> None:
    text = (ROOT / f"src/parafovea/report/{name}.py").read_text()
    assert re.findall(r"#[0-9A-Fa-f]{6}", text) == []
    assert (
        re.findall(r"(?:font)?size=\d", text.replace("markersize=", "").replace("figsize", ""))
        == []
    )
    assert "fontfamily" not in text


def test_series_differ_in_their_marks_and_not_in_colour_alone() -> None:
    for looks in (CLASS_LOOKS, FUSION_LOOKS.values(), FEATURE_LOOKS.values(), MONTH_LOOKS):
        marks = [each[1] for each in looks]
        assert len(set(marks)) == len(marks)
    assert len(set(MARKERS)) == len(MARKERS)


def test_the_table_of_the_context_study_has_the_means_and_deviations_of_its_page() -> None:
    from parafovea.report.context_study_figure import overlaps

    scores = read_measured(TABLES / "context_study.tsv", ("fusion", "ratio", "seed", "value"))
    table = study_table(overlaps(scores)).set_index(["fusion", "ratio", "class"])
    page = (ROOT / "docs/context_study.md").read_text()
    pattern = r"^\| \**(none|concatenated|attention)(?:, (\d) times coarser)?\** \|(.*)$"
    rows = re.findall(pattern, page, re.MULTILINE)
    assert len(rows) == 5
    classes = ("mitochondrion", "nucleus", "membrane")
    names = {"none": "none", "concatenated": "concat", "attention": "attention"}
    for fusion, ratio, line in rows:
        values = re.findall(r"(0\.\d{3}) ± (0\.\d{3})", line)
        for name, (mean, spread) in zip(classes, values, strict=True):
            row = table.loc[(names[fusion], int(ratio or 1), name)]
            assert f"{row['iou_mean']:.3f}" == mean
            assert f"{row['iou_sd']:.3f}" == spread


def test_a_table_without_a_column_is_one_error_that_says_where_to_look(tmp_path: Path) -> None:
    table = tmp_path / "windows.tsv"
    table.write_text("window\toverlap\n64\t0.5\n")
    outputs = [tmp_path / f"windows{suffix}" for suffix in SUFFIXES]
    with pytest.raises(TableError, match=r"lacks the column\(s\) seconds.*paper_figures"):
        draw_measured([table], STYLE_FILE, *outputs, drawing="windows", options={})
    assert [path for path in tmp_path.iterdir() if path != table] == []


def test_an_empty_table_and_one_that_is_no_text_are_errors(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("label\tclass\tiou\n")
    with pytest.raises(TableError, match="has no rows"):
        read_measured(table, ("label",))
    table.write_bytes(b"\xff\xfe\x00label")
    with pytest.raises(TableError, match="cannot be read"):
        read_measured(table, ("label",))
    with pytest.raises(TableError, match="cannot be read"):
        read_measured(tmp_path / "none.tsv", ("label",))


def test_drawing_leaves_the_callers_style_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    each = MEASURED["windows"]
    tables = [TABLES / table for table in each.tables]
    draw_tables(each.drawing, tables, {tmp_path / "a.png": ".png"}, style=STYLE_FILE, options={})
    assert dict(matplotlib.rcParams) == before
