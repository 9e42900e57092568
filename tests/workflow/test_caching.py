"""What a change runs again: each line is made, asked of snakemake, and compared with the docs.

`make tables` writes the tables of docs/caching.md anew from what snakemake answered.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import tifffile
import yaml
from planner import Planner

from parafovea.kinds.stages import steps
from parafovea.storage.layout import RECORDS, matching

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "caching.md"

COHORT = ("summarize_cohort",)
REPORT = ("render_report", *COHORT)
QUALITY = ("measure_quality", *REPORT)
POSTPROCESS = ("segment_objects", *QUALITY)
BLEND = ("blend_shards", *POSTPROCESS)
INFER = ("infer_shard", *BLEND)
FEATURES = ("extract_features", "extract_context", *INFER)
RESAMPLE = ("resample_volume", *FEATURES)
VIEWS = ("extract_view_features", "extract_view_context")
NOTHING = ()

#: Rules in the order of their stages.
ORDER = ("resample_volume", "extract_features", "extract_context", *VIEWS, *INFER)

#: What takes long to import, and no plan needs. (Snakemake imports pandas wherever it is.)
HEAVY = {"torch", "zarr", "zarrs", "lightning", "monai", "transformers", "scipy", "skimage"}
HEAVY |= {"matplotlib", "h5py", "tifffile", "nibabel", "openvino"}

#: A change of one file: new text or bytes, None to remove it, TOUCH for a new modification time.
TOUCH = object()

Edit = Callable[[SimpleNamespace], dict[Path, object]]


@dataclass(frozen=True)
class Change:
    """A line of the table: what is changed, how, and what has to run again."""

    what: str
    runs: tuple[str, ...]
    edit: Edit


def _merged(below, above):
    both = {key: _merged(below[key], above[key]) for key in below.keys() & above.keys()
            if isinstance(below[key], dict) and isinstance(above[key], dict)}  # fmt: skip
    return {**below, **above, **both}


def _yaml(file, values):
    return yaml.safe_dump(_merged(yaml.safe_load(file.read_text()), values))


def task(**settings) -> Edit:
    """Return an edit of the config: settings of the only task."""
    return config(tasks={"cell": settings})


def config(**settings) -> Edit:
    def edit(place):
        file = place.project / "config/config.yaml"
        return {file: _yaml(file, settings)}

    return edit


def model(**values) -> Edit:
    """Return an edit of the model's description."""

    def edit(place):
        file = place.project / "models/cell/model.json"
        return {file: json.dumps(_merged(json.loads(file.read_text()), values))}

    return edit


def sheet(change: Callable[[str], str]) -> Edit:
    def edit(place):
        file = place.project / "config/samples.tsv"
        return {file: change(file.read_text())}

    return edit


def volume(name: str) -> Edit:
    """Return an edit of a TIFF stack: one voxel differs."""

    def edit(place):
        file = place.project / name
        voxels = tifffile.imread(file).copy()
        voxels[0, 0, 0] ^= 1
        other = place.project / "other.tif"
        tifffile.imwrite(other, voxels, photometric="minisblack")
        return {file: other.read_bytes()}

    return edit


def touched(*names: str) -> Edit:
    return lambda place: {place.project / name: TOUCH for name in names}


def removed(name: str) -> Edit:
    return lambda place: {place.project / name: None}


def code(name: str, change: Callable[[str], str] | None = None) -> Edit:
    """Return an edit of a file of the repository; a statement more unless told."""
    more = change or (lambda text: f"{text}\nMORE = 1\n")
    return lambda place: {place.code / name: more((place.code / name).read_text())}


def package(name: str, change: Callable[[str], str] | None = None) -> Edit:
    return code(f"src/parafovea/{name}", change)


def _documented(text):
    return text.replace('"""', '"""Rewritten: ', 1)


SETTINGS = [
    Change("a post-processing threshold (`postprocess`)", POSTPROCESS,
           task(postprocess={"classes": {"nucleus": {"min_voxels": 9}}})),
    Change("a limit (`quality.limits`)", QUALITY,
           task(quality={"limits": {"entropy": {"max": 1}}})),
    Change("a report option (`report`)", REPORT, task(report={"slices": 1})),
    Change("the blending mode (`inference.blending`)", INFER, task(inference={"blending": "bump"})),
    Change("the overlap (`inference.overlap`)", INFER, task(inference={"overlap": 0.25})),
    Change("the number of shards (`inference.shards`)", INFER, task(inference={"shards": 2})),
    Change("test-time augmentation (`inference.tta`)", (*VIEWS, *INFER),
           task(inference={"tta": ["flip_x"]})),
    Change("the scale of the prediction (`inference.output_scale`)", BLEND,
           task(inference={"output_scale": 2})),
    Change("`keep_features`", NOTHING, config(keep_features=False)),
    Change("the model's weights", INFER, model(weights_sha256="1" * 64)),
    Change("the local backbone or its arguments", ("extract_features", *INFER),
           model(backbone={"arguments": {"scales": [1.0]}})),
    Change("the local backbone's revision", ("extract_features", *INFER),
           model(backbone={"revision": "v2"})),
    Change("the context's backbone", ("extract_context", *INFER),
           model(context={"backbone": {"arguments": {"scales": [1.0]}}})),
    Change("the context's spacing", ("extract_context", *INFER),
           model(context={"spacing": [32, 32, 32]})),
    Change("the normalization", RESAMPLE,
           model(normalization={"low": 1.0})),
    Change("the local spacing", RESAMPLE, model(spacing=[16, 16, 20])),
    Change("a new line in the sheet", RESAMPLE, sheet(lambda text: text + _line(text, "new"))),
    Change("a line removed from the sheet, others stay", COHORT,
           sheet(lambda text: re.sub(r"(?m)^b\t.*\n", "", text))),
    Change("a sample's metadata", RESAMPLE,
           sheet(lambda text: text.replace("=16,16,16", "=16,16,17", 1))),
    Change("a source's content", RESAMPLE, volume("data/a.tif")),
    Change("a truth's content", QUALITY, volume("data/a_truth.tif")),
    Change("a file's modification time, its content as before", NOTHING,
           touched("data/a.tif", "data/a_truth.tif", "config/samples.tsv",
                   "models/cell/model.json", "models/cell/model.safetensors")),
    Change("a report that was deleted", REPORT, removed("results/a/report.html")),
    Change("features that were deleted, all that was made of them is there", NOTHING,
           removed("results/a/features.zarr")),
]  # fmt: skip

CODE = [
    Change("`geometry/grid`", RESAMPLE, package("geometry/grid.py")),
    Change("`formats/tiff`", RESAMPLE, package("formats/tiff.py")),
    Change("`preprocess/normalization`", RESAMPLE, package("preprocess/normalization.py")),
    Change("`backbones/filterbank`", FEATURES, package("backbones/filterbank.py")),
    Change("`inference/sums`", INFER, package("inference/sums.py")),
    Change("`postprocess/segmentation/clean`", POSTPROCESS,
           package("postprocess/segmentation/clean.py")),
    Change("`formats/truth`", QUALITY, package("formats/truth.py")),
    Change("`quality/metrics`", QUALITY, package("quality/metrics.py")),
    Change("`report/segmentation/overlays`", REPORT, package("report/segmentation/overlays.py")),
    Change("a template of the report", REPORT,
           package("report/templates/style.css", lambda text: text + "p { color: red; }\n")),
    Change("`report/cohort`", COHORT, package("report/cohort.py")),
    Change("`training/module` (nothing is trained here)", NOTHING, package("training/module.py")),
    Change("`config/checks`, `cli/main`", NOTHING,
           lambda place: package("config/checks.py")(place) | package("cli/main.py")(place)),
    Change("a comment in `geometry/grid`", NOTHING,
           package("geometry/grid.py", lambda text: f"{text}# more\n")),
    Change("a docstring in `geometry/grid`", NOTHING, package("geometry/grid.py", _documented)),
    Change("a script", REPORT, code("scripts/render_report.py")),
    Change("a comment in a script, its modification time", NOTHING,
           code("scripts/render_report.py", lambda text: f"{text}# more\n")),
]  # fmt: skip


def _line(text, name):
    return text.splitlines()[1].replace("a\t", f"{name}\t", 1) + "\n"


@pytest.fixture(scope="module")
def place(make_runnable, tmp_path_factory):
    """Copy the repository, finish a project of two samples with it; return both folders."""
    code = tmp_path_factory.mktemp("code")
    shutil.copy(ROOT / "Snakefile", code)
    for name in ("workflow", "scripts", "profiles", "envs", "src/parafovea"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = make_runnable(tmp_path_factory.mktemp("project"))
    folder.config["keep_features"] = True
    folder.rows.append(["b", *folder.rows[0][1:]])
    folder.write()
    command = [sys.executable, "-m", "snakemake", "--snakefile", code / "Snakefile"]
    done = subprocess.run(
        [*command, "--quiet", "rules", "--cores", "2"],
        capture_output=True,
        text=True,
        cwd=folder.path,
        env={**os.environ, "PYTHONPATH": str(code / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return SimpleNamespace(project=folder.path, code=code)


@pytest.fixture(scope="module")
def asked(place):
    """Return a function that makes a change, asks snakemake, and takes the change back."""
    planner = Planner(place.code)
    answers = {}

    def ask(change):
        if change.what not in answers:
            undo = [_edited(file, new) for file, new in change.edit(place).items()]
            try:
                jobs = planner.plan(place.project)
            finally:
                for each in undo:
                    each()
            answers[change.what] = tuple(rule for rule in ORDER if rule in jobs)
            assert set(jobs) <= {*ORDER, "all"}
        return answers[change.what]

    yield ask
    planner.close()


def _edited(file, new):
    """Change a file or folder and return what puts it back as it was."""
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    if new is TOUCH:
        os.utime(file)
        return lambda: os.utime(file, ns=times)
    if new is None:
        aside = file.with_name("aside")
        file.rename(aside)
        return lambda: aside.rename(file)
    before = file.read_bytes()
    file.write_bytes(new if isinstance(new, bytes) else new.encode())

    def put_back():
        file.write_bytes(before)
        os.utime(file, ns=times)

    return put_back


def test_a_finished_project_has_nothing_to_run(place, asked):
    assert asked(Change("nothing", NOTHING, lambda place: {})) == NOTHING


@pytest.mark.parametrize("change", SETTINGS, ids=lambda change: change.what)
def test_a_setting_runs_again_what_depends_on_it(asked, change):
    assert asked(change) == change.runs


@pytest.mark.parametrize("change", CODE, ids=lambda change: change.what)
def test_a_module_runs_again_the_stages_that_import_it(asked, change):
    assert asked(change) == change.runs


def test_planning_loads_no_library_that_computes(place, tmp_path):
    # automatic shards ask the header of the source, and so the reader of its format
    over = tmp_path / "shards.yaml"
    over.write_text(yaml.safe_dump({"tasks": {"cell": {"inference": {"shards": 1}}}}))
    arguments = ["--snakefile", f"{place.code}/Snakefile", "--dry-run", "--quiet"]
    arguments += ["--configfile", str(over)]
    program = (
        "import atexit, sys\n"
        "names = lambda: sorted({name.split('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: print('LOADED', *names()))\n"
        "from snakemake.cli import main\n"
        f"main({arguments!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=place.project,
        env={**os.environ, "PYTHONPATH": str(place.code / "src")},
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.partition("LOADED ")[2].split())
    assert {"parafovea", "snakemake"} <= loaded
    # the source is a TIFF file, whose header is opened
    assert loaded & HEAVY == {"tifffile"}


def test_status_is_what_snakemake_answers(place, tmp_path):
    def status(*arguments):
        command = [
            sys.executable,
            "-c",
            "from parafovea.cli.main import app; app()",
            "status",
            *arguments,
        ]
        command += ["--snakefile", place.code / "Snakefile"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=place.project,
            env={**os.environ, "PYTHONPATH": str(place.code / "src")},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    lines = status().splitlines()
    assert lines[0].split() == ["sample", *steps(), "disk"]
    assert lines[1].split()[:9] == ["a", *["done"] * 8]
    assert re.search(r"\d [kM]B$", lines[1])
    assert "summarize_cohort: done" in lines
    over = tmp_path / "over.yaml"
    over.write_text(yaml.safe_dump({"tasks": {"cell": {"inference": {"blending": "bump"}}}}))
    gone = place.project / "results/b/context.zarr"
    aside = gone.rename(place.project / "aside")
    try:
        lines = status("--config", over).splitlines()
    finally:
        aside.rename(gone)
    done, stale = ["done"] * 3, ["stale"] * 5
    assert lines[1].split()[:9] == ["a", *done, *stale]
    assert lines[2].split()[:9] == ["b", "done", "done", "missing", *stale]
    assert "summarize_cohort: stale" in lines
    assert "infer_shard is stale: its settings have changed (a 1, b 1)" in lines


def test_every_result_of_a_sample_belongs_to_a_stage(place):
    folder = place.project / "results" / "a"
    found = {path for patterns in steps().values() for path in matching(folder, patterns)}
    assert {path for path in folder.iterdir() if path.name not in ("shards", RECORDS)} <= found
    assert folder / "shards" / "1.zarr" in found


def test_the_page_holds_what_snakemake_answers(asked):
    page = PAGE.read_text(encoding="utf-8")
    written = page
    for name, head, changes in (
        ("settings", "changed", SETTINGS),
        ("code", "changed in the code", CODE),
    ):
        rows = [f"| {head} | runs again |", "|---|---|"]
        rows += [f"| {change.what} | {_text(asked(change))} |" for change in changes]
        begin, end = f"<!-- {name}: written by `make tables` -->", f"<!-- end of {name} -->"
        before, found, rest = written.partition(begin)
        _, ended, after = rest.partition(end)
        assert found, begin
        assert ended, end
        written = f"{before}{begin}\n\n" + "\n".join(rows) + f"\n\n{end}{after}"
    if os.environ.get("PARAFOVEA_WRITE_DOCS"):
        PAGE.write_text(written, encoding="utf-8")
        page = written
    assert page == written, "docs/caching.md is not what snakemake answers: run `make tables`"


def _text(rules):
    """Return rules as text: a whole tail of the chain by its first rule."""
    for length in range(len(RESAMPLE), 1, -1):
        tail = RESAMPLE[-length:]
        if rules[-length:] == tail:
            first = [*rules[:-length], tail[0]]
            return ", ".join(f"`{rule}`" for rule in first) + " and all after it"
    return ", ".join(f"`{rule}`" for rule in rules) or "nothing"
