"""A job has the results of `parafovea predict`: of tiles in a zip file, and of a mosaic."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mosaic_sample import reflectance, write_mosaic
from tiny_sample import tiny_model, tiny_refinement
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_settings
from parafovea.errors import StoreError
from parafovea.formats.tiles.npz import write_tile
from parafovea.service import job_prediction
from parafovea.service.job_prediction import JobPrediction
from parafovea.service.job_queue import JobQueue
from parafovea.service.job_results import JobResults, zip_stream
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.viewer_files import viewer_document, viewer_file


@pytest.fixture
def project(project_folder, monkeypatch):
    """Go to a folder whose task `optical` has a model of random weights."""
    folder: Path = project_folder.path
    tiny_model(folder / "models/optical", tiny_refinement(context=False))
    task = {"kind": "refinement", "model": "models/optical", "inference": {"batch_size": 2}}
    project_folder.config["tasks"] = {"optical": task}
    project_folder.write()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    return folder


def predicted(name: str, *arguments: str) -> Path:
    """Return the results of the command."""
    command = ["predict", *arguments, "--task", "optical", "--output", f"results/{name}"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    return Path("results", name)


def served(project: Path, upload: Path) -> JobResults:
    """Return the results of a job of this upload."""
    spool = Spool(project / "spool")
    with JobQueue(spool.database) as queue:
        job = queue.new_id()
        spool.upload(job).mkdir(parents=True)
        shutil.copy(upload, spool.upload(job))
        queue.submit(job, owner="", task="optical", source=upload.name)
        claimed = queue.claim("test", lease=60, attempts=3)
        service = ServiceSettings(spool=spool.root)
        predict = JobPrediction(read_settings(Path("config/config.yaml")), service, spool)
        outcome = predict(claimed, lambda stage, share: None)
    assert outcome.error is None, outcome.error
    # it worked elsewhere, and is back
    assert Path().absolute() == project
    return JobResults(spool, claimed)


def images(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all refined tiles and mosaics; other files state how long it took."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".npz", ".tif")
    }


def test_tiles_of_a_zip_file_have_the_bytes_of_a_folder_of_tiles(project):
    for number in range(3):
        values = np.random.default_rng(number).uniform(0, 0.5, (4, 32, 32)).astype(np.float32)
        facts = {"month": 6, "biome_code": 3}
        write_tile(project / "fields", f"tile_{number}", {"opt_v1": values}, facts)
    shutil.make_archive(str(project / "fields"), "zip", project, "fields")
    shutil.move("fields.zip", "up.zip")
    Path("upload").mkdir()
    found = served(project, Path(shutil.copy("up.zip", "upload/fields.zip")))
    own = images(predicted("fields", "--input-dir", "fields"))
    assert list(own) == [f"tiles/tile_{number}.npz" for number in range(3)]
    assert images(found.folder) == own
    names = {each["name"] for each in found.listed()}
    assert {"tiles.zip", "tiles.tsv", "report.html", "summary.json"} <= names
    assert found.document()["summary"]["num_out"] == 3
    pairs = viewer_document(found.viewer)["pairs"]
    assert sorted(pair["name"] for pair in pairs) == ["tile_0", "tile_1", "tile_2"]
    assert all(viewer_file(found.viewer, pair["after"]) for pair in pairs)
    assert viewer_file(found.viewer, "viewer.json") is None
    assert viewer_file(found.viewer, "../fields/report.html") is None
    Path("out.zip").write_bytes(b"".join(zip_stream(found.zipped_folder("tiles.zip"))))
    shutil.unpack_archive("out.zip", "out")
    assert images(Path("out")) == images(found.folder / "tiles")


def test_a_geotiff_becomes_a_mosaic_with_the_bytes_of_predict(project):
    (project / "in").mkdir()
    write_mosaic(project / "in", reflectance(70, 60))
    # as if it lay where the service puts it
    shutil.copy("in/mosaic.tif", "mosaic.tif")
    own = images(predicted("mosaic", "mosaic.tif"))
    found = served(project, project / "in/mosaic.tif")
    assert list(own) == ["refined.tif"]
    assert images(found.folder) == own
    assert "refined.tif" in {each["name"] for each in found.listed()}
    # its blocks are seen before and after
    assert viewer_document(found.viewer)["pairs"]
    assert found.file("../mosaic/refined.tif") is None
    assert found.file("refined.tif").is_file()


def test_results_are_complete_without_what_the_page_shows_of_them(project, monkeypatch, caplog):
    def fail(project, name, folder):
        folder.mkdir()
        raise StoreError(f"DOE_JOHN is missing below {folder}")

    monkeypatch.setattr(job_prediction, "write_viewer_files", fail)
    (project / "in").mkdir()
    write_mosaic(project / "in", reflectance(70, 60))
    found = served(project, project / "in/mosaic.tif")
    assert found.file("refined.tif").is_file()
    assert viewer_document(found.viewer) == {}
    assert not found.viewer.exists()
    assert "nothing for the page to show (StoreError)" in caplog.text
    assert "DOE_JOHN" not in caplog.text
