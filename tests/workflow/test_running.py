"""The whole workflow on samples of a few voxels; one run serves all tests here."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
import zarr

from parafovea.config import read_project
from parafovea.drivers.one_process import run_sample
from parafovea.storage.store import open_stored

pytestmark = pytest.mark.workflow

RESULTS = (
    "volume.ome.zarr/zarr.json",
    "features.zarr/zarr.json",
    "context.zarr/zarr.json",
    "prediction.ome.zarr/zarr.json",
    "classes.ome.zarr/zarr.json",
    "objects.ome.zarr/zarr.json",
    "image.ome.zarr/zarr.json",
    "image.ome.zarr/labels/classes/zarr.json",
    "objects.tsv",
    "quality.json",
    "quality.tsv",
    "figures/overlays.png",
    "report.html",
)


@pytest.fixture(scope="module")
def first_run(make_runnable, snakemake, tmp_path_factory):
    """Run two samples, of which `b` is cut off in the middle."""
    folder = make_runnable(tmp_path_factory.mktemp("project"))
    folder.add("b")
    folder.write()
    source = folder.path / "data" / "b.tif"
    source.write_bytes(source.read_bytes()[:9000])
    status, text = snakemake(folder.path, "--keep-going")
    return SimpleNamespace(folder=folder, status=status, text=text)


@pytest.fixture(scope="module")
def finished(first_run, snakemake):
    """Take the broken sample out of the sheet and finish; return the project's folder."""
    folder = first_run.folder
    folder.rows = folder.rows[:1]
    folder.write()
    status, text = snakemake(folder.path)
    assert status == 0, text
    assert "Done. The report of all samples is results/report.html" in text
    return folder


def test_a_broken_source_stops_its_sample_and_not_the_others(first_run):
    results = first_run.folder.path / "results"
    assert first_run.status == 1, first_run.text
    assert all((results / "a" / name).is_file() for name in RESULTS), first_run.text
    assert not (results / "b" / "volume.ome.zarr").exists()
    last = first_run.text[first_run.text.index("1 of 2 samples failed:") :]
    assert "b: data/b.tif is truncated" in last
    assert "Traceback" not in first_run.text


def test_one_image_shows_the_classes_and_objects_over_the_volume(finished):
    folder = finished.path / "results" / "a"
    image = zarr.open_group(folder / "image.ome.zarr", mode="r")
    assert image["labels"].attrs["ome"]["labels"] == ["classes", "objects"]
    for inside, name in (
        ("0", "volume"),
        ("labels/classes/0", "classes"),
        ("labels/objects/0", "objects"),
    ):
        stored = open_stored(folder / f"{name}.ome.zarr").read()
        np.testing.assert_array_equal(image[inside][...], stored)


def test_a_finished_project_has_nothing_to_run(finished, planned):
    assert planned(finished.path) == {}


def test_snakemakes_own_report_has_every_caption(finished, snakemake, tmp_path):
    status, text = snakemake(finished.path, "--report", str(tmp_path / "report.html"))
    assert status == 0, text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("overlaid with the predicted class", "Empty values are undefined"):
        assert words in page


def test_results_name_no_folder_of_this_machine(finished):
    results = finished.path / "results"
    for name in ("quality.json", "report.html", "volume.ome.zarr/zarr.json"):
        assert str(finished.path) not in (results / "a" / name).read_text()


def test_one_process_makes_the_same_bytes_as_the_workflow(finished, monkeypatch):
    monkeypatch.chdir(finished.path)
    (finished.path / "solo.yaml").write_text("results: solo\n")
    project = read_project(finished.path / "config/config.yaml", finished.path / "solo.yaml")
    page = run_sample(project, "a")
    assert page.parent.as_posix() == "solo/a"
    for name in RESULTS:
        made = (finished.path / "solo" / "a" / name).read_bytes()
        assert made == (finished.path / "results" / "a" / name).read_bytes(), name


def test_augmented_views_on_another_grid_are_the_same_bytes_in_one_process(
    finished, snakemake, monkeypatch
):
    monkeypatch.chdir(finished.path)
    chosen = {"tta": ["flip_x", "flip_y+flip_z"], "output_scale": 0.5, "stride": [16, 32, 32]}
    over = finished.path / "augmented.yaml"
    for folder in ("flipped", "alone"):
        values = {"results": folder, "tasks": {"cell": {"inference": chosen}}}
        over.write_text(yaml.safe_dump(values))
        if folder == "flipped":
            status, text = snakemake(finished.path, "--configfile", over)
            assert status == 0, text
        else:
            run_sample(read_project(finished.path / "config/config.yaml", over), "a")
    views = ("views/flip_x/features.zarr", "views/flip_y+flip_z/context.zarr")
    for name in (*RESULTS, *(f"{view}/zarr.json" for view in views)):
        made = (finished.path / "flipped" / "a" / name).read_bytes()
        assert made == (finished.path / "alone" / "a" / name).read_bytes(), name
    quality = json.loads((finished.path / "flipped/a/quality.json").read_text())
    assert quality["provenance"]["grid"]["shape"] == [10, 20, 18]
    assert quality["metrics"]["iou"]["overall"] is not None
