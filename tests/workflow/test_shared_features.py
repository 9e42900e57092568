"""Features in a cache that two clones of a project share."""

import shutil

import pytest
import zarr
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.storage.store import open_stored

pytestmark = pytest.mark.workflow

STORES = ("features.zarr", "context.zarr", "views/flip_x/features.zarr")
TARGETS = [f"results/{sample}/{store}" for sample in "ab" for store in STORES]


@pytest.fixture(scope="module")
def clones(make_runnable, snakemake, tmp_path_factory):
    """Compute features in one clone of a project with a shared cache, then in another."""
    cache = tmp_path_factory.mktemp("cache")
    one = make_runnable(tmp_path_factory.mktemp("one"))
    one.add("b")
    one.write()
    two = tmp_path_factory.mktemp("two") / "project"
    shutil.copytree(one.path, two)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(cache))
        for folder in (one.path, two):
            status, text = snakemake(folder, *TARGETS, "--cache")
            assert status == 0, text
    return one.path, two, cache


def test_the_second_clone_computes_none(clones):
    one, two, cache = clones
    for folder, computes in ((one, True), (two, False)):
        logs = list((folder / "results/logs").glob("*/extract_*.log"))
        assert len(logs) == len(TARGETS)
        # snakemake makes the log of a job that it fetches, but runs no script that writes to it
        assert {log.stat().st_size > 0 for log in logs} == {computes}
    for target in TARGETS:
        assert (open_stored(two / target).read() == open_stored(one / target).read()).all()
        assert (two / target / "0").resolve().is_relative_to(cache)


def test_samples_and_augmented_views_are_told_apart(clones):
    one, _, cache = clones
    assert len(list(cache.iterdir())) == len(TARGETS)
    plain, view = (open_stored(one / "results/a" / store) for store in (STORES[0], STORES[2]))
    assert "augmentation" not in plain.attributes["features"]
    assert view.attributes["features"]["augmentation"] == "flip_x"


def test_neither_clone_has_anything_to_run_again(clones, planned):
    for folder in clones[:2]:
        assert planned(folder, *TARGETS) == {}


def test_cleaning_a_clone_leaves_the_cache(clones, monkeypatch):
    one, two, cache = clones
    for folder in (one, two):
        monkeypatch.chdir(folder)
        done = CliRunner().invoke(app, ["clean", "--stage", "features"])
        assert done.exit_code == 0, done.output
        assert not list((folder / "results").glob("*/features.zarr"))
    assert len(list(cache.glob("*/zarr.json"))) == len(TARGETS)


def test_a_folder_as_a_source_cannot_be_shared_and_says_so(clones, snakemake):
    _, folder, _ = clones
    sheet = folder / "config" / "samples.tsv"
    before = sheet.read_text()
    zarr.create_array(folder / "data" / "a.zarr", shape=(20, 40, 36), dtype="u1")
    sheet.write_text(before.replace("data/a.tif", "data/a.zarr"))
    status, text = snakemake(folder, "--cache", "--dry-run")
    sheet.write_text(before)
    assert status == 1
    assert "config/samples.tsv:2: --cache cannot hash the content of data/a.zarr" in text
    assert "Traceback" not in text


def test_blocks_of_features_are_shared_and_joined_to_the_same_voxels(
    make_runnable, snakemake, planned, tmp_path, monkeypatch
):
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    one = make_runnable(tmp_path / "one")
    one.config["tasks"]["cell"]["blocks"] = 2
    one.write()
    two = shutil.copytree(one.path, tmp_path / "two")
    target = "results/a/features.zarr"
    for folder in (one.path, two):
        status, text = snakemake(folder, target, "--cache")
        assert status == 0, text
        assert planned(folder, target) == {}
    written = [log.stat().st_size > 0 for log in two.glob("results/logs/a/extract_*.log")]
    assert written == [False, False]
    assert (open_stored(two / target).read() == open_stored(one.path / target).read()).all()
