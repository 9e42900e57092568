import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parafovea.storage.fingerprint import fingerprint, modules

SCRIPTS = Path(__file__).parents[2] / "scripts"

SCRIPT = "from pack.stage import run\nrun()\n"

FILES = {
    "__init__.py": (
        "def __getattr__(name):\n"
        "    if name == 'network':\n"
        "        from pack.heavy import network\n"
        "        return network\n"
        "    raise AttributeError(name)\n"
    ),
    "stage.py": (
        "import numpy\n"
        "from typing import TYPE_CHECKING\n"
        "from pack.middle import work\n"
        "if TYPE_CHECKING:\n"
        "    from pack import typed\n"
        "if not TYPE_CHECKING:\n"
        "    from pack import run_time\n"
        "def run():\n"
        '    """Run."""\n'
        "    from pack.deep import late\n"
        "    return work() + late.VALUE\n"
    ),
    "middle.py": "from . import base\n\ndef work():\n    return base.VALUE\n",
    "base.py": "VALUE = 1\n",
    "typed.py": "VALUE = 1\n",
    "run_time.py": "VALUE = 1\n",
    "heavy.py": "network = 1\n",
    "deep/__init__.py": "from .near import NEAR\n",
    "deep/near.py": "NEAR = 1\n",
    "deep/late.py": "from ..far import VALUE\n",
    "deep/pages/page.html": "<p>\n",
    "far.py": "VALUE = 2\n",
    "other.py": "VALUE = 3\n",
    "unused/__init__.py": "",
    "unused/page.html": "<p>\n",
}


@pytest.fixture
def prints(tmp_path):
    """Return a function that writes the package with a file changed and returns the fingerprint."""

    def write(name="", text="", script=SCRIPT):
        root = tmp_path / str(len(list(tmp_path.iterdir()))) / "pack"
        for file, content in {**FILES, **({name: text} if name else {})}.items():
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        path = root.parent / "script.py"
        path.write_text(script)
        return fingerprint(path, root=root), modules(path, root=root)

    return write


def test_what_a_script_runs_is_found_to_any_depth(prints):
    _, found = prints()
    assert found == (
        "pack",
        *(
            f"pack.{name}"
            for name in (
                *("base", "deep", "deep.late", "deep.near"),
                *("far", "middle", "run_time", "stage"),
            )
        ),
    )


def test_what_a_package_imports_on_demand_counts_where_it_is_demanded(prints):
    plain, found = prints()
    assert prints("heavy.py", "network = 2\n")[0] == plain
    asked = "from pack import network\n"
    before, found = prints(script=asked)
    assert found == ("pack", "pack.heavy")
    assert prints("heavy.py", "network = 2\n", script=asked)[0] != before


def test_the_fingerprint_does_not_depend_on_where_the_package_lies(prints):
    assert prints() == prints()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("base.py", "VALUE = 2\n"),
        ("far.py", "VALUE = 3\n"),
        ("run_time.py", "VALUE = 3\n"),
        ("deep/near.py", "NEAR = 2\n"),
        ("deep/pages/page.html", "<div>\n"),
        ("deep/pages/new.css", "p {}\n"),
        ("middle.py", "from . import base\n\ndef work():\n    return -base.VALUE\n"),
    ],
)
def test_a_change_of_anything_that_is_run_changes_the_fingerprint(prints, name, text):
    assert prints(name, text)[0] != prints()[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("base.py", '"""A docstring."""\n\n# a remark\nVALUE = 1  # one\n"""What it is."""\n'),
        (
            "middle.py",
            'from . import base\ndef work():\n    """Work."""\n    return (base.VALUE)\n',
        ),
        ("stage.py", FILES["stage.py"].replace("Run.", "Run it.")),
        ("other.py", "VALUE = 4\n"),
        ("typed.py", "VALUE = 4\n"),
        ("unused/page.html", "<div>\n"),
    ],
)
def test_comments_docstrings_layout_and_other_modules_do_not_count(prints, name, text):
    assert prints(name, text)[0] == prints()[0]


def test_docstrings_inside_of_blocks_do_not_count(prints):
    text = "if True:\n    async def work():\n        {}return 1\n"
    plain = prints("base.py", text.format(""))[0]
    assert prints("base.py", text.format("'''Work.'''; "))[0] == plain
    assert prints("base.py", text.format("print(); "))[0] != plain


def test_a_missing_script_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fingerprint(tmp_path / "nowhere.py")


def test_blending_depends_on_the_store_and_not_on_the_reports_or_networks():
    found = modules(SCRIPTS / "blend_shards.py")
    needed = ("storage.store", "geometry.grid", "runtime.job", "stages.blend_shards")
    assert {f"parafovea.{name}" for name in needed} <= set(found)
    others = ("report", "config", "cli", "models.networks", "backbones")
    assert not any(name.startswith(tuple(f"parafovea.{each}" for each in others)) for name in found)


def test_quality_depends_on_the_readers_of_its_truth():
    needed = {"parafovea.formats.truth", "parafovea.formats.tiff"}
    assert needed <= set(modules(SCRIPTS / "measure_quality.py"))


def test_a_package_beside_counts_too():
    assert "parafovea_phantoms.cells.cell" in modules(SCRIPTS / "make_phantom.py")


def test_every_script_has_a_fingerprint_of_its_own():
    scripts = list(SCRIPTS.glob("*.py"))
    assert len({fingerprint(script) for script in scripts}) == len(scripts)


@pytest.mark.parametrize("stage", ["resample_volume", "blend_shards", "infer_shard"])
def test_every_module_that_python_loads_for_a_stage_is_found(stage):
    program = (
        "import json, sys\n"
        f"import parafovea.runtime.job, parafovea.stages.{stage}\n"
        "print(json.dumps([n for n in sys.modules if n.split('.')[0] == 'parafovea']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    loaded = set(json.loads(done.stdout))
    assert loaded - set(modules(SCRIPTS / f"{stage}.py")) == set()


def test_a_module_that_no_script_runs_counts_itself_where_asked(tmp_path):
    def prints_of(value, *, own):
        root = tmp_path / f"{value}_{own}" / "pack"
        root.mkdir(parents=True)
        (root / "__init__.py").write_text("")
        (root / "stage.py").write_text(f"VALUE = {value}\n")
        return fingerprint(root / "stage.py", root=root, own=own)

    assert prints_of(1, own=False) == prints_of(2, own=False)
    assert prints_of(1, own=True) != prints_of(2, own=True)
