"""`parafovea crate`, on results that are empty but recorded as those of a run are."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from recorded_results import compared, make_everything
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.formats.tiles.ledger import write_share
from parafovea.formats.tiles.npz import write_tile
from parafovea.report.crate_link import crate_words
from parafovea.runtime.shipped_files import shipped

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
}


def run(*arguments):
    return CliRunner().invoke(app, ["crate", *map(str, arguments)])


@pytest.fixture
def finished(project_folder, monkeypatch):
    """Return a project whose results are there, of which one array has files."""
    monkeypatch.chdir(project_folder.path)
    project_folder.write()
    make_everything(scripts=shipped("scripts"))
    for name in ("a", "b"):
        array = Path("results", name, "prediction.ome.zarr")
        (array / "c").mkdir()
        (array / "zarr.json").write_text("{}")
        (array / "c" / "0").write_bytes(name.encode())
        Path("results", name, "objects.tsv").write_text("object\tclass\n1\tnucleus\n")
    return project_folder


def graph(folder):
    document = json.loads(Path(folder, "ro-crate-metadata.json").read_text(encoding="utf-8"))
    return {entity["@id"]: entity for entity in document["@graph"]}


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def ids(value):
    return {each["@id"] for each in (value if isinstance(value, list) else [value])}


def test_it_states_the_workflow_the_run_and_the_profiles(finished):
    found = run("--output", "crate")
    assert found.exit_code == 0, found.output
    entities = graph("crate")
    root = entities["./"]
    assert ids(root["conformsTo"]) >= PROFILES
    assert "https://w3id.org/ro/crate/1.1" in ids(entities["ro-crate-metadata.json"]["conformsTo"])
    workflow = entities[root["mainEntity"]["@id"]]
    assert set(workflow["@type"]) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert entities[workflow["programmingLanguage"]["@id"]]["name"] == "Snakemake"
    action = entities["#run"]
    assert action["instrument"]["@id"] == workflow["@id"]
    assert {"config/config.yaml", "config/samples.tsv", "models/cell/model.json"} <= ids(
        action["object"]
    )
    assert {"results/report.html", "results/a/quality.json", "results/b/objects.tsv"} <= ids(
        action["result"]
    )
    names = {entities[each]["name"] for each in ids(workflow["softwareRequirements"])}
    assert {"Python", "parafovea", "snakemake", "numpy"} <= names


def test_each_entity_that_is_referred_to_is_there(finished):
    run("--output", "crate")
    entities = graph("crate")

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else []
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    plain = ("https://bioschemas.org/", "https://w3id.org/ro/crate", "https://doi.org", "https://")
    missing = {
        each
        for entity in entities.values()
        for each in references({k: v for k, v in entity.items() if k != "@id"})
        if each not in entities and not each.startswith(plain)
    }
    assert missing == set()


def test_checksums_are_those_of_the_files(finished):
    run("--output", "crate")
    entities = graph("crate")
    copied = {name for name in files("crate") if not name.startswith("ro-crate-")}
    described = {e["@id"] for e in entities.values() if "File" in e["@type"]}
    assert copied == described
    for name in copied:
        assert entities[name]["sha256"] == sha256(Path("crate", name)), name
        assert int(entities[name]["contentSize"]) == Path("crate", name).stat().st_size
    source = entities["#data/a.tif"]
    assert source["sha256"] == sha256("data/a.tif")
    assert sha256("crate/config/samples.tsv") == sha256("config/samples.tsv")


def test_an_array_is_described_by_the_checksums_of_its_files(finished):
    run("--output", "crate")
    array = graph("crate")["#results/a/prediction.ome.zarr"]
    listed = Path("crate", array["subjectOf"]["@id"]).read_text()
    assert listed.splitlines() == [
        f"{hashlib.sha256(b'a').hexdigest()}  c/0",
        f"{hashlib.sha256(b'{}').hexdigest()}  zarr.json",
    ]
    assert array["sha256"] == hashlib.sha256(listed.encode()).hexdigest()
    assert not Path("crate/results/a/prediction.ome.zarr").exists()


def test_arrays_are_copied_on_request(finished):
    found = run("--output", "crate", "--copy-arrays")
    assert found.exit_code == 0, found.output
    assert Path("crate/results/a/prediction.ome.zarr/c/0").read_bytes() == b"a"


def test_a_job_has_its_times_what_it_read_and_what_it_made(finished):
    record = Path("results/a/volume.ome.zarr/.made.json")
    os.utime(record, (1_700_000_100, 1_700_000_100))
    benchmark = Path("results/benchmarks/a/resample_volume.tsv")
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("s\th:m:s\n40.2\t0:00:40\n")
    os.utime(benchmark, (1_700_000_101, 1_700_000_101))
    run("--output", "crate")
    entities = graph("crate")
    action = entities["#job-resample_volume-a"]
    assert action["startTime"] == "2023-11-14T22:14:20+00:00"
    assert action["endTime"] == "2023-11-14T22:15:00+00:00"
    assert action["instrument"]["@id"] == "scripts/resample_volume.py"
    assert ids(action["object"]) == {"#data/a.tif"}
    assert ids(action["result"]) == {"#results/a/volume.ome.zarr"}
    assert entities["#run"]["startTime"] == action["startTime"]
    records = json.loads(Path("crate/records.json").read_text())
    assert records[record.as_posix()] == json.loads(record.read_text())


def test_two_crates_of_the_same_results_have_the_same_bytes(finished):
    run("--output", "one")
    run("--output", "two")
    assert files("one") == files("two")
    run("--output", "one.zip")
    run("--output", "two.zip")
    assert Path("one.zip").read_bytes() == Path("two.zip").read_bytes()
    with zipfile.ZipFile("one.zip") as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    assert inside == files("one")
    assert {path.name for path in Path().iterdir() if path.name.startswith(".")} <= {".snakemake"}


def test_a_run_that_is_not_finished_is_refused_with_what_is_missing(finished):
    Path("results/b/quality.json").unlink()
    found = run("--output", "crate")
    assert found.exit_code == 1
    text = " ".join(found.output.split())
    assert "measure_quality of b is missing" in text
    assert "snakemake --cores 2" in text
    assert not Path("crate").exists()


def test_stale_results_are_refused_with_the_reason(finished):
    run("--output", "crate")
    before = files("crate")
    Path("data/a.tif").write_bytes(Path("data/a.tif").read_bytes() + b"0")
    found = run("--output", "crate")
    assert found.exit_code == 1
    text = " ".join(found.output.split())
    assert "resample_volume of a is stale" in text
    assert "a file that it reads has changed" in text
    assert files("crate") == before


def test_other_files_are_not_replaced(finished):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    Path("mine.zip").write_text("no archive")
    for place in ("mine", "mine.zip", "mine/thesis.txt"):
        found = run("--output", place)
        assert found.exit_code == 1
        assert "name" in found.output
    assert Path("mine/thesis.txt").read_text() == "mine"
    assert Path("mine.zip").read_text() == "no archive"


def test_by_default_it_lies_where_the_report_looks_for_it(finished):
    found = run()
    assert "results/cohort/crate" in found.output
    assert Path("results/cohort/crate/ro-crate-metadata.json").is_file()
    # nothing has to be made again for it
    assert set(compared(scripts=shipped("scripts")).statuses(compared().jobs()).values()) == {
        "done"
    }


def test_the_report_links_the_crate_and_the_copy_in_it_is_the_same(finished):
    page = Path("results/report.html")
    page.write_text(f"<main>{crate_words(there=False)}</main>")
    run("--output", "elsewhere")
    assert "<code>parafovea crate</code>" in page.read_text()
    run()
    (address,) = re.findall('href="(.*?)"', page.read_text())
    assert (page.parent / address).is_file()
    assert Path("results/cohort/crate/results/report.html").read_bytes() == page.read_bytes()
    before = files("results/cohort/crate")
    run()
    assert files("results/cohort/crate") == before


def test_licence_and_author_are_those_stated(finished):
    run("--output", "silent")
    silent = graph("silent")
    assert silent[silent["./"]["license"]["@id"]]["name"] == "No licence stated"
    assert "agent" not in silent["#run"]
    orcid = "https://orcid.org/0000-0002-1825-0097"
    run("--output", "crate", "--licence", "CC-BY-4.0", "--author", "J. Carberry", "--orcid", orcid)
    entities = graph("crate")
    assert entities["./"]["license"]["@id"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert entities["#run"]["agent"]["@id"] == orcid
    assert entities[orcid]["name"] == "J. Carberry"


def test_a_source_that_is_gone_is_described_by_its_record(finished):
    recorded = json.loads(Path("results/a/volume.ome.zarr/.made.json").read_text())
    for name in ("a.tif", "a_truth.tif"):
        Path("data", name).unlink()
    found = run("--output", "crate")
    assert found.exit_code == 0, found.output
    assert graph("crate")["#data/a.tif"]["identifier"] == recorded["files"]["data/a.tif"]


def test_a_missing_package_is_one_error_with_the_command(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocrate", None)
    found = run("--output", "crate")
    assert found.exit_code == 1
    assert 'pip install "parafovea[crate]"' in found.output


def test_tiles_are_results_by_their_checksums_and_figures_are_copied(project_folder, monkeypatch):
    folder = project_folder.path
    monkeypatch.chdir(folder)
    project_folder.config["tasks"] = {
        "land": {"kind": "refinement", "model": "resources/models/optical"}
    }
    for place, key in (("tiles", "opt_v1"), ("results/s/tiles", "opt_v2")):
        values = np.full((4, 32, 32), 0.5, np.float32)
        write_tile(folder / place, "one", {key: values}, {"month": 6, "biome_code": 3})
    project_folder.rows[:] = [["s", "land", "tiles", "", ""]]
    project_folder.write()
    make_everything(scripts=shipped("scripts"))
    write_share(
        Path("results/s/shards/1.tsv"), [{"name": "one", "output": "results/s/tiles/one.npz"}]
    )
    for name in ("map.png", ".snakemake_timestamp"):
        Path("results/s/figures", name).touch()
    found = run("--output", "crate")
    assert found.exit_code == 0, found.output
    entities = graph("crate")
    job = entities["#job-predict_tiles-s-1"]
    assert "#results/s/tiles" in ids(job["result"]) & ids(entities["#run"]["result"])
    assert {"#tiles", "models/optical/model.json"} <= ids(job["object"])
    listed = Path("crate/checksums/tiles.sha256").read_text()
    assert f"{sha256('tiles/one.npz')}  one.npz" in listed.splitlines()
    assert Path("crate/results/s/figures/map.png").is_file()
    assert not Path("crate/results/s/figures/.snakemake_timestamp").exists()
    objects = entities["#run"]["object"]
    assert len(objects) == len(ids(objects))
