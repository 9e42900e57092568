"""Figures for papers take one style file, and nothing else changes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from recorded_results import compared, make_everything

from parafovea.config import read_project
from parafovea.config.loading import read_study
from parafovea.errors import ConfigError
from parafovea.kinds.stages import stages
from parafovea.report.canvas import FIXED, STYLE, paper_style
from parafovea.report.context_study_figure import HEIGHT, WIDTH, draw_study
from parafovea.runtime.shipped_files import PUBLICATION, publication_style, shipped

SHIPPED = shipped(PUBLICATION)


def scores():
    rows = [
        (fusion, ratio, seed, name, 0.6 + 0.05 * ratio + 0.01 * seed)
        for fusion, ratio in (("none", 1), ("concat", 4), ("attention", 2), ("attention", 4))
        for seed in (0, 1)
        for name in ("nucleus", "membrane")
    ]
    return pd.DataFrame(rows, columns=["fusion", "ratio", "seed", "class", "iou"])


def drawn(folder, style):
    folder.mkdir()
    files = {folder / f"a{suffix}": suffix for suffix in (".svg", ".pdf", ".png")}
    draw_study(scores(), files, ratio=4, style=style)
    return [file.read_bytes() for file in files]


def test_the_shipped_style_is_white_with_text_in_pdfs():
    style = paper_style(SHIPPED)
    assert style["axes.facecolor"] == "white"
    assert style["pdf.fonttype"] == 42
    # of which no file decides
    assert {name: style[name] for name in FIXED} == {
        "svg.hashsalt": STYLE["svg.hashsalt"],
        "text.parse_math": False,
    }


def test_a_copy_of_the_style_gives_the_same_bytes_and_a_change_others(tmp_path):
    style = tmp_path / "own.mplstyle"
    style.write_text(SHIPPED.read_text())
    before = drawn(tmp_path / "one", SHIPPED)
    assert drawn(tmp_path / "two", style) == before
    larger = SHIPPED.read_text().replace("font.size: 8.5", "font.size: 12")
    style.write_text(larger)
    changed = drawn(tmp_path / "three", style)
    assert all(one != other for one, other in zip(before, changed, strict=True))
    # no salt would give other bytes each time
    style.write_text(larger + "svg.hashsalt: None\n")
    assert drawn(tmp_path / "four", style) == changed


def test_the_style_may_set_the_size_of_figures(tmp_path):
    style = tmp_path / "own.mplstyle"
    style.write_text(SHIPPED.read_text() + "figure.figsize: 5.0, 3.0\n")
    for name, file, size in (("a", SHIPPED, (WIDTH, HEIGHT)), ("b", style, (5.0, 3.0))):
        svg = drawn(tmp_path / name, file)[0].decode()
        width, height = (f"{72 * side:g}pt" for side in size)
        assert f'width="{width}" height="{height}"' in svg


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("font.size: large and small\n", "font.size"),
        ("fontsize: 7\n", "fontsize"),
        ("font.size 7\n", "font.size"),
        ("backend: agg\n", "backend"),
        ("font.size: 7\nfont.size: 8\n", "Duplicate"),
    ],
)
def test_a_broken_style_is_one_error_that_names_the_file_and_the_word(tmp_path, text, problem):
    style = tmp_path / "own.mplstyle"
    style.write_text(text)
    with pytest.raises(ConfigError, match=problem) as found:
        paper_style(style)
    assert str(style) in str(found.value)


def test_a_style_that_is_not_text_is_the_same_error(tmp_path):
    style = tmp_path / "own.mplstyle"
    style.write_bytes(b"font.size: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not a style"):
        paper_style(style)


def test_the_project_has_its_own_style_or_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert publication_style() == str(SHIPPED)
    Path("config").mkdir()
    Path(PUBLICATION).write_text("font.size: 7\n")
    assert publication_style() == PUBLICATION


def test_stages_with_figures_for_papers_depend_on_the_style(monkeypatch):
    monkeypatch.chdir(SHIPPED.parents[1])
    plain = read_project(Path("config/config.yaml"))
    project = replace(plain, study=read_study(Path("config/study.yaml")))
    job = {"figure": "windows"}
    found = {
        name
        for name, stage in stages().items()
        if stage.inputs.get("style") and stage.input_paths(project, job).get("style") == PUBLICATION
    }
    drawn = {"draw_measured", "draw_results", "plot_context_study", "plot_feature_study"}
    assert found == drawn | {"summarize_cohort"}


def test_a_change_of_the_style_makes_the_figures_for_papers_stale_and_nothing_else(
    project_folder, monkeypatch
):
    monkeypatch.chdir(project_folder.path)
    project_folder.config["tasks"] = {
        "nodules": {"kind": "detection", "model": "resources/models/nodule"}
    }
    scan = nibabel.Nifti1Image(np.zeros((24, 20, 12), np.int16), np.diag([3.2, 3.2, 6, 1]))
    scan.header.set_xyzt_units("mm")
    Path("data").mkdir(exist_ok=True)
    nibabel.save(scan, "data/scan.nii.gz")
    project_folder.rows[:] = [["scan", "nodules", "data/scan.nii.gz", "", ""]]
    project_folder.write()
    style = Path(PUBLICATION)
    style.write_text(SHIPPED.read_text())
    make_everything()
    style.write_text(SHIPPED.read_text().replace("font.size: 8.5", "font.size: 7"))
    staleness = compared()
    found = staleness.statuses(staleness.jobs())
    assert {job.stage.name for job, status in found.items() if status != "done"} == {
        "summarize_cohort"
    }
    # without a file of its own the project takes the shipped one, of the same content as before
    style.unlink()
    staleness = compared()
    assert set(staleness.statuses(staleness.jobs()).values()) == {"done"}
