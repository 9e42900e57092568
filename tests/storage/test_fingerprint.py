import json
import os
import subprocess
import sys

import pytest

from parafovea.kinds.stages import stages
from parafovea.storage.fingerprint import code_fingerprint, file_fingerprint, imported_modules

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
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for file, content in {**FILES, **({name: text} if name else {})}.items():
            path = root / "pack" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (root / "pack" / "script.py").write_text(script)
        where = {"root": root, "packages": ("pack",)}
        found = imported_modules(["pack.script"], **where)
        assert code_fingerprint(["pack.script"], **where) == code_fingerprint(found, **where)
        return code_fingerprint(["pack.script"], **where), found

    return write


def test_what_a_script_runs_is_found_to_any_depth(prints):
    _, found = prints()
    assert found == (
        "pack",
        *(
            f"pack.{name}"
            for name in (
                *("base", "deep", "deep.late", "deep.near"),
                *("far", "middle", "run_time", "script", "stage"),
            )
        ),
    )


def test_what_a_package_imports_on_demand_counts_where_it_is_demanded(prints):
    plain, found = prints()
    assert prints("heavy.py", "network = 2\n")[0] == plain
    asked = "from pack import network\n"
    before, found = prints(script=asked)
    assert found == ("pack", "pack.heavy", "pack.script")
    assert prints(script="from pack import other\n")[1] == ("pack", "pack.other", "pack.script")
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


def test_blending_depends_on_the_store_and_not_on_the_reports_or_networks():
    found = imported_modules(["parafovea.stages.blend_shards"])
    needed = ("storage.store", "geometry.grid", "stages.blend_shards")
    assert {f"parafovea.{name}" for name in needed} <= set(found)
    others = ("report", "config", "cli", "models.networks", "backbones")
    assert not any(name.startswith(tuple(f"parafovea.{each}" for each in others)) for name in found)


def test_a_package_beside_counts_too():
    assert "parafovea_phantoms.cells.cell" in imported_modules(["parafovea_phantoms.make_phantom"])


def test_every_stage_has_a_fingerprint_of_its_own():
    modules = {stage.module for stage in stages().values()}
    assert len({code_fingerprint([module]) for module in modules}) == len(modules)


@pytest.mark.parametrize("stage", ["resample_volume", "blend_shards", "infer_shard"])
def test_every_module_that_python_loads_for_a_stage_is_found(stage):
    program = (
        "import json, sys\n"
        f"import parafovea.stages.{stage}\n"
        "print(json.dumps([n for n in sys.modules if n.split('.')[0] == 'parafovea']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    # what of a kind changes results is part of a job's code by other means
    apart = ("parafovea.kinds.", "parafovea.chain", "parafovea.storage.layout")
    loaded = {name for name in json.loads(done.stdout) if not name.startswith(apart)}
    assert loaded - set(imported_modules([f"parafovea.stages.{stage}"])) == set()


def test_named_modules_count_themselves(tmp_path):
    def prints_of(value):
        root = tmp_path / str(value)
        (root / "pack").mkdir(parents=True)
        (root / "pack" / "__init__.py").write_text("")
        (root / "pack" / "stage.py").write_text(f"VALUE = {value}\n")
        return code_fingerprint(["pack.stage"], root=root, packages=("pack",))

    assert prints_of(1) != prints_of(2)


def test_modules_count_in_any_order_and_once():
    names = ["parafovea.stages.blend_shards", "parafovea.formats.nrrd"]
    assert code_fingerprint(names) == code_fingerprint(iter([*reversed(names), *names]))
    assert set(names) <= set(imported_modules(names))
    assert code_fingerprint(names) != code_fingerprint(names[:1])
    assert code_fingerprint([]) == code_fingerprint(())


def test_a_module_that_is_not_there_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"no module parafovea\.formats\.nothing"):
        code_fingerprint(["parafovea.formats.nothing"])


def test_modules_are_read_once_and_not_imported():
    program = (
        "import ast, json, sys\n"
        "from parafovea.storage.fingerprint import code_fingerprint\n"
        "parsed = []\n"
        "parse = ast.parse\n"
        "ast.parse = lambda text: parsed.append(text) or parse(text)\n"
        "names = ['parafovea.stages.train_model', 'parafovea.formats.tiff']\n"
        "first = code_fingerprint(names)\n"
        "once = len(parsed)\n"
        "assert code_fingerprint(list(names)) == first\n"
        "loaded = [n for n in sys.modules if n.startswith(('parafovea.', 'torch'))]\n"
        "print(json.dumps([once, len(parsed), loaded]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    once, in_all, loaded = json.loads(done.stdout)
    assert once == in_all > 50
    assert set(loaded) == {"parafovea.storage", "parafovea.storage.fingerprint"}


def test_a_single_file_counts_by_its_code(tmp_path):
    file = tmp_path / "script.py"
    assert file_fingerprint(file) == ""
    file.write_text("import os\nx = os.sep\n")
    before = file_fingerprint(file)
    assert len(before) == 8
    other = tmp_path / "other.py"
    other.write_text('"""Docs."""\n\nimport os\n\nx = os.sep  # a comment\n')
    assert file_fingerprint(other) == before
    third = tmp_path / "third.py"
    third.write_text("import os\nx = os.pathsep\n")
    assert file_fingerprint(third) != before
