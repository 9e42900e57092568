"""The target `figures`: figures of the docs from their tables, and those of a project's results."""

import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(make_project_folder, tmp_path):
    """Return a project with two samples, one of them with a truth, and no results."""
    project = make_project_folder(tmp_path)
    project.write()
    return project


def pictures(folder):
    figures = folder / "results/figures"
    return {
        path.relative_to(figures).as_posix(): path.read_bytes()
        for path in figures.rglob("*")
        if path.is_file() and not path.name.startswith(".") and "/." not in path.as_posix()
    }


def test_without_results_the_error_says_which_command_makes_them(folder, snakemake):
    status, text = snakemake(folder.path, "figures")
    assert status != 0
    assert "Nothing was drawn" in text
    assert "run snakemake with the same options but without the target" in text
    assert "Traceback" not in text


def test_the_docs_figures_are_drawn_without_any_result_and_the_same_again(folder, snakemake):
    shutil.copytree(ROOT / "docs/figures", folder.path / "tables")
    folder.config["measured"] = "tables"
    folder.write()
    status, text = snakemake(folder.path, "figures")
    assert status == 0, text
    first = pictures(folder.path)
    assert {name.partition("/")[0] for name in first} == {"docs"}
    assert len(first) == 21
    shutil.rmtree(folder.path / "results/figures")
    status, text = snakemake(folder.path, "figures")
    assert status == 0, text
    assert pictures(folder.path) == first


def test_a_missing_table_is_named_with_the_command_that_measures_it(folder, snakemake):
    shutil.copytree(ROOT / "docs/figures", folder.path / "tables")
    (folder.path / "tables/froc_nodules.tsv").unlink()
    folder.config["measured"] = "tables"
    folder.write()
    status, text = snakemake(folder.path, "figures")
    assert status != 0
    assert "tables/froc_nodules.tsv is missing" in text
    assert "--configfile config/nodule_cohort.yaml" in text
    assert "Traceback" not in text


def test_after_a_run_its_results_are_drawn_and_nothing_is_predicted_again(
    make_runnable, tmp_path, snakemake, planned
):
    folder = make_runnable(tmp_path).path
    status, text = snakemake(folder)
    assert status == 0, text
    assert planned(folder, "figures") == {"draw_results": 1, "figures": 1}
    drawn = []
    for _ in range(2):
        shutil.rmtree(folder / "results/figures", ignore_errors=True)
        status, text = snakemake(folder, "figures")
        assert status == 0, text
        drawn.append(pictures(folder))
    assert set(drawn[0]) == {f"results/iou_cell.{each}" for each in ("svg", "pdf", "png", "tsv")}
    assert drawn[0] == drawn[1]
    status, text = snakemake(folder, "figures")
    assert "Nothing to be done" in text
    # another style redraws them, and nothing else
    style = (ROOT / "config/publication.mplstyle").read_text()
    (folder / "config/publication.mplstyle").write_text(style.replace("size: 8.5", "size: 7"))
    assert planned(folder, "figures") == {"draw_results": 1, "figures": 1}
