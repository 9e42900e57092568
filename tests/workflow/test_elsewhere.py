"""The workflow away from its repository: as a module, from other folders, on other disks."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parafovea.runtime.writers import is_held, writing

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.workflow

#: Everything that a run of the workflow takes from its repository.
REPOSITORY = ("Snakefile", "workflow", "scripts", "src", "envs", "profiles")

OUTER = """
configfile: "config/outer.yaml"


rule count:
    input:
        "results/a/objects.tsv",
    output:
        "count.txt",
    shell:
        "wc -l < {input} > {output}"


module parafovea:
    snakefile:
        "%s"
    config:
        config


use rule * from parafovea as parafovea_*
"""


def snakemake(*arguments, cwd, source=ROOT / "src"):
    """Return the status and the output of snakemake, called as a user calls it."""
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(make_runnable, tmp_path_factory):
    """Return a project folder that can be run and is only copied."""
    return make_runnable(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made, tmp_path):
    """Return a copy of the project's folder."""
    return Path(shutil.copytree(made.path, tmp_path / "project"))


def test_the_workflow_is_a_module_of_another_one(project):
    (project / "config" / "config.yaml").rename(project / "config" / "outer.yaml")
    (project / "Snakefile").write_text(OUTER % (ROOT / "Snakefile"))
    status, text = snakemake("--cores", "2", cwd=project)
    assert status == 0, text
    # the other workflow's own target is still the default
    assert (project / "count.txt").read_text().strip().isdigit()
    assert not (project / "results/report.html").exists()
    status, text = snakemake("--cores", "2", "parafovea_all", cwd=project)
    assert status == 0, text
    assert "Traceback" not in text
    assert (project / "results/report.html").is_file()
    for targets in ((), ("parafovea_all",)):
        status, text = snakemake("--dry-run", *targets, cwd=project)
        assert "Nothing to be done" in text, text
    # used first, it brings the default target, renamed as the others
    alone = "module parafovea:" + OUTER.partition("module parafovea:")[2]
    begin = OUTER.partition("rule count")[0]
    (project / "Snakefile").write_text(begin + alone % (ROOT / "Snakefile"))
    status, text = snakemake("--dry-run", "--forceall", cwd=project)
    assert status == 0, text
    assert "parafovea_summarize_cohort" in text


OWN_START = """
onstart:
    open("started", "a").write("x")

"""

WAITING = """
rule first:
    output:
        "first.txt",
    shell:
        "touch begun; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
"""


@pytest.mark.parametrize("stated", ["before", "after", "never"])
def test_the_other_workflow_holds_the_results_while_it_runs_rules_of_its_own(project, stated):
    (project / "config" / "config.yaml").rename(project / "config" / "outer.yaml")
    module = OUTER.replace("rule count", WAITING + "\n\nrule count") % (ROOT / "Snakefile")
    parts = {"before": (OWN_START, module), "after": (module, OWN_START), "never": (module,)}
    (project / "Snakefile").write_text("".join(parts[stated]))
    assert snakemake("--dry-run", "first", cwd=project)[0] == 0
    assert not (project / "results").exists()
    assert not (project / "started").exists()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "first"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)
    while not (project / "begun").exists():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.01)
    assert is_held(project / "results")
    assert (project / "started").exists() == (stated != "never")
    (project / "go").touch()
    _, text = run.communicate()
    assert run.returncode == 0, text
    assert not is_held(project / "results")
    if stated != "never":
        assert (project / "started").read_text() == "x"
    # a command that writes there is found before anything runs
    (project / "first.txt").unlink()
    with writing(project / "results" / "a"):
        status, text = snakemake("--cores", "1", "first", cwd=project)
        assert status == 1
        assert "Nothing was run. parafovea run, predict or phantom is writing to results/a" in text
        assert not (project / "first.txt").exists()


def _bomb(path):
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    path.write_text("\n".join(rows))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(bytes(range(256)) * 9), "is not UTF-8 text (byte 128)"),
        (lambda path: path.write_text("tasks: [1\n"), "is not YAML, line 2: did not find"),
        (lambda path: path.write_text("tasks: 1\ntasks: 2\n"), "line 2: key 'tasks' is already"),
        (lambda path: path.mkdir(), "is a folder, not a config: give the path of a file"),
        (os.mkfifo, "is a device or a pipe, not a config: give the path of a file"),
        (_bomb, "anchors repeat what they name to more than 100000 values"),
    ],
    ids=["binary", "damaged", "a key twice", "a folder", "a pipe", "a bomb"],
)
def test_a_config_that_cannot_be_read_is_one_sentence(project, write, said):
    config = project / "config" / "config.yaml"
    config.unlink()
    write(config)
    status, text = snakemake("-s", ROOT / "Snakefile", "--dry-run", cwd=project)
    assert status == 1
    (line,) = [line for line in text.splitlines() if "config.yaml" in line]
    assert line.startswith("Nothing was run. config/config.yaml")
    assert said in line
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 2


def test_results_lie_on_another_disk_and_the_workflow_starts_from_another_folder(project, tmp_path):
    disks = (Path("/dev/shm"), Path("/var/tmp"))  # noqa: S108  (other file systems, where there are)
    disk = next((each for each in disks if os.access(each, os.W_OK)), tmp_path)
    results = disk / f"parafovea results {os.getpid()}"
    call = ("-s", ROOT / "Snakefile", "--directory", project, "--config", f"results={results}")
    try:
        status, text = snakemake(*call, "--cores", "2", cwd=tmp_path)
        assert status == 0, text
        assert f"Done. The report of all samples is {results}/report.html" in text
        assert (results / "a/report.html").is_file()
        assert not (project / "results").exists()
        status, text = snakemake(*call, "--dry-run", cwd=project)
        assert "Nothing to be done" in text, text
    finally:
        shutil.rmtree(results, ignore_errors=True)


def test_repository_results_and_sources_have_spaces_and_accents(project, tmp_path):
    repository = tmp_path / "mon dépôt"
    for name in REPOSITORY:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        repository.mkdir(exist_ok=True)
        copy(ROOT / name, repository / name)
    project = project.rename(tmp_path / "à moi & 'toi'")
    (project / "data").rename(project / "mes données")
    (project / "models").rename(project / "modèles entraînés")
    sheet = project / "config" / "samples.tsv"
    sheet.write_text(sheet.read_text().replace("data/", "mes données/"), encoding="utf-8")
    (project / "config" / "config.yaml").write_text(
        "results: mes résultats\ntasks: {cell: {model: modèles entraînés/cell}}\n", encoding="utf-8"
    )
    call = ("-s", repository / "Snakefile", "--cores", "2")
    status, text = snakemake(*call, cwd=project, source=repository / "src")
    assert status == 0, text
    assert (project / "mes résultats/a/report.html").is_file()
    status, text = snakemake(*call, "--dry-run", cwd=project, source=repository / "src")
    assert "Nothing to be done" in text, text


def test_the_shipped_sheet_works_where_results_lie_elsewhere(tmp_path):
    results = tmp_path / "other place"
    call = ("-s", ROOT / "Snakefile", "--directory", ROOT, "--dry-run", "--nolock")
    status, text = snakemake(*call, "--config", f"results={results}", cwd=tmp_path)
    assert status == 0, text
    assert f"{results}/phantoms/cell_seed101.ome.zarr" in text
    assert f"{results}/phantoms/cell_seed101_objects.ome.zarr" in text


def test_a_path_that_snakemake_takes_for_a_pattern_is_refused_with_its_line(project):
    sheet = project / "config" / "samples.tsv"
    for name in ("{x}.tif", "<results>.tif"):
        (project / "data" / name).write_bytes((project / "data" / "a.tif").read_bytes())
        sheet.write_text(sheet.read_text().replace("data/a.tif", f"data/{name}"))
        status, text = snakemake("-s", ROOT / "Snakefile", "--dry-run", cwd=project)
        assert status == 1
        assert f"samples.tsv:2: sample 'a': source data/{name} has {{…}} or <…> in its" in text
        assert "Traceback" not in text
        sheet.write_text(sheet.read_text().replace(f"data/{name}", "data/a.tif"))


def test_a_value_of_the_command_line_is_located_there(project):
    (project / "my.yaml").write_text("tasks: {cell: {inference: {overlap: 2}}}\n")
    call = ("-s", ROOT / "Snakefile", "--dry-run", "--configfile", "my.yaml", "--config", "bogus=3")
    status, text = snakemake(*call, cwd=project)
    assert status == 1
    assert "command line (--config): bogus is not a known key" in text
    assert "my.yaml:1: tasks.cell.inference.overlap = 2" in text


def test_later_config_files_override_earlier_ones_key_by_key(project):
    (project / "one.yaml").write_text(
        "results: one\ntasks: {cell: {inference: {tta: [flip_x], batch_size: 3}}}\n"
    )
    (project / "two.yaml").write_text("results: two\ntasks: {cell: {inference: {tta: [flip_z]}}}\n")
    call = ("-s", ROOT / "Snakefile", "--dry-run", "--configfile", "one.yaml")
    status, text = snakemake(*call, "two.yaml", cwd=project)
    assert status == 0, text
    assert "two/a/views/flip_z/features.zarr" in text
    assert "flip_x" not in text
    # snakemake would forget the first of two options without a word
    status, text = snakemake(*call, "--configfile", "two.yaml", cwd=project)
    assert status == 1
    assert "write --configfile one.yaml two.yaml" in text
