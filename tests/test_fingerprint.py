from pathlib import Path

import pytest

import parafovea
from parafovea.fingerprint import fingerprint, modules

STAGES = Path(parafovea.__file__).parent / "stages"

FILES = {
    "__init__.py": "",
    "stage.py": (
        "import numpy\n"
        "from typing import TYPE_CHECKING\n"
        "from pack.middle import work\n"
        "if TYPE_CHECKING:\n"
        "    from pack import typed\n"
        "def run():\n"
        '    """Run."""\n'
        "    from pack.deep import late\n"
        "    return work() + late.VALUE\n"
    ),
    "middle.py": "from . import base\n\ndef work():\n    return base.VALUE\n",
    "base.py": "VALUE = 1\n",
    "typed.py": "VALUE = 1\n",
    "deep/__init__.py": "from .near import NEAR\n",
    "deep/near.py": "NEAR = 1\n",
    "deep/late.py": "from ..far import VALUE\n",
    "far.py": "VALUE = 2\n",
    "other.py": "VALUE = 3\n",
}


@pytest.fixture
def package(tmp_path):
    """Return a function that writes the package with some files changed, each time elsewhere."""

    def write(**changed):
        root = tmp_path / str(len(list(tmp_path.iterdir()))) / "pack"
        for name, text in FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            stem = path.stem if path.parent == root else f"{path.parent.name}_{path.stem}"
            path.write_text(changed.get(stem, text))
        return root

    return write


def test_what_a_stage_runs_is_found_to_any_depth(package):
    found = modules("stage", root=package())
    assert found == ("", "base", "deep", "deep.late", "deep.near", "far", "middle", "stage")


def test_the_fingerprint_does_not_depend_on_where_the_package_lies(package):
    assert fingerprint("stage", root=package()) == fingerprint("stage", root=package())


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("base", "VALUE = 2\n"),
        ("far", "VALUE = 3\n"),
        ("deep_near", "NEAR = 2\n"),
        ("middle", "from . import base\n\ndef work():\n    return -base.VALUE\n"),
    ],
)
def test_a_change_of_anything_that_is_run_changes_the_fingerprint(package, module, text):
    changed = package(**{module: text})
    assert fingerprint("stage", root=changed) != fingerprint("stage", root=package())


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("base", '"""A docstring."""\n\n# a remark\nVALUE = 1  # one\n'),
        ("middle", 'from . import base\ndef work():\n    """Work."""\n    return (base.VALUE)\n'),
        ("other", "VALUE = 4\n"),
        ("typed", "VALUE = 4\n"),
    ],
)
def test_comments_docstrings_layout_and_other_modules_do_not_count(package, module, text):
    changed = package(**{module: text})
    assert fingerprint("stage", root=changed) == fingerprint("stage", root=package())


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match=r"pack\.nowhere"):
        fingerprint("nowhere", root=package())


def test_blending_depends_on_the_store_and_not_on_the_reports():
    found = modules("stages.blend_shards")
    assert "store" in found
    assert "grid" in found
    assert not any(name.startswith(("report", "config", "cli")) for name in found)


def test_every_stage_has_a_fingerprint_of_its_own():
    prints = {fingerprint(f"stages.{file.stem}") for file in STAGES.glob("[a-z]*.py")}
    assert len(prints) == len(list(STAGES.glob("[a-z]*.py")))
