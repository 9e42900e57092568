"""Samples whose sources are at addresses, from the sheet to the report."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr
from remote_server import serving

from parafovea.geometry.grid import Grid
from parafovea.storage.store import create

pytestmark = pytest.mark.workflow

SPACING = "spacing=16,16,16 unit=nanometer"


def write_image(path, voxels, **attributes):
    """Write an OME-Zarr image of 16 nm voxels as this package does."""
    with create(path, Grid(voxels.shape, (16, 16, 16)), dtype=voxels.dtype, attributes={}) as array:
        array[:] = voxels


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return a server of a folder that holds the image and the truth of `a` in OME-Zarr."""
    with serving(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="module")
def runs(served, make_runnable, tmp_path_factory, snakemake):
    """Return what became of a run of local and remote twins, and of what followed."""
    folder = make_runnable(tmp_path_factory.mktemp("remote"))
    data = folder.path / "data"
    image = tifffile.imread(data / "a.tif")
    write_image(served.folder / "image.ome.zarr", image)
    write_image(served.folder / "truth.ome.zarr", tifffile.imread(data / "a_truth.tif"))
    url = served.url
    addresses = [f"{url}/image.ome.zarr", f"{url}/truth.ome.zarr"]
    folder.rows.append(["far", "cell", *addresses, ""])
    folder.rows.append(["none", "cell", f"{url}/nothing.ome.zarr", "", ""])
    folder.rows.append(["tif", "cell", f"{url}/image.tif", "", ""])
    folder.write()
    done = {}

    def run(name, *arguments):
        served.asked.clear()
        status, text = snakemake(folder.path, "--keep-going", *arguments)
        done[name] = SimpleNamespace(status=status, text=text, asked=list(served.asked))

    run("first")
    folder.rows = [row for row in folder.rows if row[0] in ("a", "far")]
    folder.write()
    run("good")
    run("dry", "--dry-run")
    write_image(served.folder / "other.ome.zarr", image // 2)
    shutil.rmtree(served.folder / "image.ome.zarr")
    run("gone", "--dry-run")
    (served.folder / "other.ome.zarr").rename(served.folder / "image.ome.zarr")
    run("changed", "--dry-run")
    return SimpleNamespace(**done, folder=folder)


def test_a_sample_at_an_address_equals_its_local_twin(runs):
    results = runs.folder.path / "results"
    for name in ("volume.ome.zarr", "prediction.ome.zarr", "objects.ome.zarr"):
        near, far = (
            zarr.open_array(results / each / name / "0", mode="r") for each in ("a", "far")
        )
        np.testing.assert_array_equal(near[:], far[:])
    near, far = (json.loads((results / each / "quality.json").read_text()) for each in ("a", "far"))
    assert near["metrics"] == far["metrics"]


def test_samples_whose_addresses_cannot_be_read_stop_themselves_alone(runs):
    assert runs.first.status == 1
    assert "'none' is left out: source: http" in runs.first.text
    assert "nothing.ome.zarr is no volume" in runs.first.text
    assert "curl --fail" in runs.first.text
    assert (runs.folder.path / "results/far/report.html").is_file()
    assert runs.good.status == 0, runs.good.text


def test_a_dry_run_asks_whether_the_headers_changed_and_downloads_none(runs):
    assert "Nothing to be done" in runs.dry.text
    assert runs.dry.asked
    assert {status for _, _, status in runs.dry.asked} <= {304, 404}
    assert len(runs.dry.asked) <= 12


def test_finished_results_stay_when_their_source_is_gone(runs):
    assert "Nothing to be done" in runs.gone.text, runs.gone.text


def test_a_source_that_is_replaced_at_its_address_is_read_again(runs):
    assert "resample_volume" in runs.changed.text
