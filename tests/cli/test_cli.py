from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from parafovea import __version__
from parafovea.cli.main import app


@pytest.fixture
def parafovea(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)

    def call(*arguments):
        return CliRunner().invoke(app, list(arguments))

    return call


def test_check_shows_every_sample_of_a_good_project(parafovea):
    done = parafovea("check")
    assert done.exit_code == 0
    assert "data/a.tif" in done.output
    assert "2 samples OK" in done.output


def test_check_says_that_results_cannot_go_below_a_file(parafovea, project_folder):
    Path("taken").write_text("a file")
    project_folder.config["results"] = "taken"
    project_folder.write()
    done = parafovea("check")
    assert done.exit_code == 1
    assert "taken is a file, but results have to go below it" in done.stderr


def test_check_ends_with_status_1_and_one_message(parafovea, project_folder):
    project_folder.rows[0][1] = "cel"
    project_folder.write()
    done = parafovea("check")
    assert done.exit_code == 1
    assert "config/samples.tsv:2: task 'cel'" in done.stderr
    assert "Traceback" not in done.output


def test_check_names_both_sizes_where_a_source_is_of_another_scale(parafovea, project_folder):
    # micrometres taken for nanometres make a source a thousand times coarser
    project_folder.rows[0][4] = "spacing=30,10,10 unit=micrometer"
    project_folder.write()
    done = parafovea("check")
    assert done.exit_code == 1
    assert "30 x 10 x 10 micrometer" in done.stderr
    assert "the model voxels of" in done.stderr
    assert "times coarser along z" in done.stderr


def test_the_version_is_that_of_the_package(parafovea):
    assert parafovea("--version").output == f"parafovea {__version__}\n"


def test_without_a_config_the_command_says_where_to_run_it(parafovea, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for command in (("check",), ("plan",), ("run", "--sample", "a"), ("predict", "a.tif")):
        done = parafovea(*command)
        assert done.exit_code == 1
        assert f"config/config.yaml does not exist in {tmp_path / 'empty'}: run this" in done.stderr
        assert "or give a file with --config" in done.stderr
    done = parafovea("check", "--config", "bogus=3")
    assert "bogus=3 does not exist: give the path of a config file; write a" in done.stderr
    assert "is a folder" in parafovea("check", "--config", ".").stderr


def test_a_config_of_another_folder_brings_its_models(parafovea, project_folder, monkeypatch):
    config, elsewhere = project_folder.path / "config" / "config.yaml", project_folder.path / "else"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Path("my.yaml").write_text("samples: samples.tsv\n")
    metadata = "spacing=16,16,16 unit=nanometer"
    Path("samples.tsv").write_text(
        f"sample\ttask\tsource\tmetadata\na\tcell\t../data/a.tif\t{metadata}\n"
    )
    for option in ("--config", "--configfile"):
        done = parafovea("check", option, str(config), option, "my.yaml")
        assert done.exit_code == 0, done.stderr
    assert "1 samples OK" in done.output


def test_check_has_a_line_for_each_bad_sample_and_lists_the_good_ones(parafovea, project_folder):
    data = project_folder.path / "data"
    project_folder.add("c")
    (data / "a.tif").write_bytes((data / "a.tif").read_bytes()[:5000])
    (data / "b.tif").unlink()
    project_folder.write()
    done = parafovea("check")
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error config/samples.tsv:2: sample 'a': data/a.tif is truncated")
    assert lines[1].startswith("error config/samples.tsv:3: sample 'b': source: data/b.tif does")
    assert len(lines) == 2
    assert "data/c.tif" in done.stdout
    assert "1 of 3 samples OK" in done.stdout


def test_check_says_of_a_folder_how_many_tiles_are_damaged(parafovea, project_folder):
    folder = project_folder.path / "tiles"
    folder.mkdir()
    np.savez(folder / "good.npz", opt_v1=np.zeros((4, 32, 32), np.float32))
    (folder / "bad.npz").write_bytes(b"PK")
    project_folder.rows[0][2:] = ["tiles", "", ""]
    project_folder.write()
    done = parafovea("check")
    assert done.exit_code == 0, done.output
    assert "1 of its tiles cannot be read; they will stand in quarantine.tsv" in done.stdout


def test_run_refuses_a_sample_that_fails_by_its_reason(parafovea, project_folder):
    (project_folder.path / "data/a.tif").unlink()
    done = parafovea("run", "--sample", "a")
    assert done.exit_code == 1
    assert "config/samples.tsv:2: sample 'a': source: data/a.tif does not exist" in done.stderr
    assert "Traceback" not in done.output


def test_run_refuses_an_unknown_sample(parafovea):
    done = parafovea("run", "--sample", "c")
    assert done.exit_code == 1
    assert "sample 'c' is not in config/samples.tsv: samples are a, b" in done.stderr


def test_masks_without_a_name_are_refused(parafovea):
    done = parafovea("merge-masks", "-c", "masks/*.png", "-o", "truth.tif")
    assert done.exit_code == 1
    assert "'masks/*.png' is not NAME=PATTERN" in done.stderr


def test_merge_masks_writes_a_truth_that_check_accepts(parafovea, project_folder):
    done = parafovea("merge-masks", "-c", "mitochondrion=data/a_truth.tif", "-o", "data/new.tif")
    assert done.exit_code == 0, done.stderr
    project_folder.rows[0][3] = "data/new.tif"
    project_folder.write()
    assert parafovea("check").exit_code == 0


def test_doctor_names_versions_and_devices(parafovea):
    done = parafovea("doctor")
    assert done.exit_code == 0
    for word in ("snakemake", "torch", "cpu", "bfloat16", "zarrs.ZarrsCodecPipeline"):
        assert word in done.output


def test_config_docs_writes_a_fresh_schema_and_refuses_a_page_without_markers(
    parafovea, project_folder
):
    readme = project_folder.path / "config" / "README.md"
    readme.write_text("# Config\n")
    assert "lacks the line" in parafovea("config-docs").stderr
    readme.write_text(
        "<!-- parameters: written by `parafovea config-docs` -->\nold\n<!-- end of parameters -->\n"
    )
    assert parafovea("config-docs").exit_code == 0
    assert "| `tasks.NAME.model` |" in readme.read_text()
    assert (project_folder.path / "config" / "config.schema.json").is_file()
