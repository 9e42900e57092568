"""A missing optional package is one error that names the command that installs it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from package_names import IMPORTED
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parafovea.backbones import load_backbone
from parafovea.errors import MissingExtraError, SourceError
from parafovea.formats.opening import open_source
from parafovea.formats.source import readable
from parafovea.formats.tiles.tile import readable_tile
from parafovea.runtime.optional_packages import (
    EXTRAS,
    RUN,
    extras_named,
    import_extra,
    require_extras,
)
from parafovea.settings.recipe import BackboneSpec

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]


def _names(requirements: list[str]) -> set[str]:
    found = (canonicalize_name(Requirement(each).name) for each in requirements)
    return {IMPORTED.get(name, name.replace("-", "_")) for name in found}


@pytest.fixture
def without(monkeypatch):
    """Return a function that makes packages look as if they were not installed."""

    def hide(*packages: str) -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] in packages:
                monkeypatch.delitem(sys.modules, name)
        for name in packages:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_every_package_of_an_extra_is_in_the_table_of_its_extra():
    for extra, requirements in OPTIONAL.items():
        if extra not in ("dev", "docs", "slurm"):
            own = [each for each in requirements if each != f"parafovea[{RUN}]"]
            assert {name for name in EXTRAS if extra in EXTRAS[name]} == _names(own)


def test_every_extra_but_that_of_the_client_installs_what_runs_need():
    assert PROJECT["dependencies"] == []
    without = {name for name, each in OPTIONAL.items() if f"parafovea[{RUN}]" not in each}
    assert without == {RUN, "client", "docs", "dev"}


def test_every_import_is_of_the_core_of_an_extra_or_of_python():
    known = {*sys.stdlib_module_names, *EXTRAS, "parafovea", "parafovea_phantoms"}
    strange = set()
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                targets = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                targets = [node.module or ""]
            else:
                continue
            names = {target.partition(".")[0] for target in targets}
            strange |= {f"{file.relative_to(ROOT)}: {name}" for name in names - known}
    assert strange == set()


def test_the_public_interface_and_the_command_line_load_with_what_runs_need_alone():
    code = f"""
import sys
for name in {sorted(name for name in EXTRAS if EXTRAS[name] != (RUN,))}:
    sys.modules[name] = None
import parafovea, parafovea.compat, parafovea.cli.main, parafovea.drivers.one_process
for name in parafovea.__all__:
    getattr(parafovea, name)
from parafovea.kinds.stages import stages
for stage in stages().values():
    if not stage.extra:
        stage.load()
print("loaded")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout == "loaded\n", done.stderr


def test_without_any_extra_what_was_asked_for_says_what_to_install():
    code = f"""
import sys
for name in {sorted(EXTRAS)}:
    sys.modules[name] = None
import parafovea
from parafovea.cli.entry_point import main
try:
    parafovea.open_source("a.nii")
except ImportError as error:
    print(error)
for arguments in (["--version"], ["check"]):
    sys.argv = ["parafovea", *arguments]
    main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = r"parafovea is installed without what its runs need \(\w+ is missing\): run "
    said += re.escape('`pip install "parafovea[run]"`')
    first, version = done.stdout.splitlines()
    assert re.fullmatch(said, first)
    assert version == f"parafovea {metadata.version('parafovea')}"
    assert re.fullmatch(f"error {said}\n", done.stderr)
    assert done.returncode == 1


def test_the_error_of_python_becomes_one_with_the_command(without):
    without("lightning")
    with (
        pytest.raises(MissingExtraError, match=re.escape('`pip install "parafovea[train]"`')),
        extras_named(),
    ):
        import lightning  # noqa: F401
    with pytest.raises(ModuleNotFoundError) as caught, extras_named():
        import no_such_package_at_all  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)
    with pytest.raises(MissingExtraError, match=r'^lightning is not .* "parafovea\[train\]"'):
        import_extra("lightning")


def test_several_missing_extras_are_one_error_with_one_command(without):
    without("plotly", "lightning", "monai")
    needs = {"train": "task 'a' trains", "remote": "b", "report3d": "sample 'c' has a page"}
    with pytest.raises(MissingExtraError) as caught:
        require_extras(needs)
    assert str(caught.value) == (
        "packages are not installed that this needs: task 'a' trains (lightning, monai); "
        "sample 'c' has a page (plotly): "
        'run `pip install "parafovea[report3d,train]"`'
    )
    require_extras({"remote": "b"})


def test_a_format_without_its_library_is_no_damage_of_the_file(without, tmp_path, monkeypatch):
    (tmp_path / "scan.zip").write_bytes(b"PK\x03\x04")
    monkeypatch.delitem(sys.modules, "parafovea.formats.dicom.series", raising=False)
    without("pydicom")
    with pytest.raises(MissingExtraError, match=r'pydicom .* "parafovea\[dicom\]"'):
        open_source(tmp_path / "scan.zip")
    for boundary in (readable("a.tif"), readable_tile(Path("a.tif"))):
        with pytest.raises(MissingExtraError, match=r'"parafovea\[optical\]"'), boundary:
            raise ModuleNotFoundError("No module named 'rasterio'", name="rasterio.warp")
    with pytest.raises(SourceError, match="cannot be read"), readable("a.tif"):
        raise ModuleNotFoundError("No module named 'other'", name="other")


def test_a_vision_model_without_transformers_says_what_to_install(without, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "parafovea.backbones.vision_weights", raising=False)
    monkeypatch.delitem(sys.modules, "parafovea.backbones.huggingface", raising=False)
    without("transformers")
    spec = BackboneSpec(name="huggingface", arguments={"weights": str(tmp_path)})
    with pytest.raises(MissingExtraError, match=r'"parafovea\[dinov3\]"'):
        load_backbone(spec, spacing=(1, 1, 1), dimensions=3)


def test_the_locks_hold_what_pyproject_asks_for_in_one_version():
    locks = {name: _pins(name) for name in ("run", "dev", "torch-cpu", "torch-cuda")}
    assert locks["run"].items() <= locks["dev"].items()
    assert locks["torch-cpu"]["torch"] == locks["torch-cuda"]["torch"]
    held = {**locks["dev"], **locks["torch-cpu"]}
    for text in (each for name in OPTIONAL for each in OPTIONAL[name]):
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name not in ("parafovea", "openvino", "ray"):
            assert requirement.specifier.contains(held[name]), text
    cuda = [name for name in locks["dev"] if re.match("torch$|triton|nvidia|cuda", name)]
    assert cuda == []


def test_every_line_of_a_lock_has_hashes():
    for name in ("run", "dev", "torch-cpu", "torch-cuda", "remote-tests"):
        text = (ROOT / f"envs/{name}.txt").read_text(encoding="utf-8")
        blocks = re.split(r"^(?=[a-z])", text, flags=re.M)[1:]
        bare = [block for block in blocks if "--hash=sha256:" not in block]
        assert bare == []


def test_these_tests_run_on_the_versions_of_the_lock():
    held = _pins("dev")
    installed = {
        name: metadata.version(name) for name in ("numpy", "snakemake", "zarr", "pydantic")
    }
    assert {name: held[name] for name in installed} == installed


def test_conda_gets_the_versions_of_the_lock():
    text = (ROOT / "envs/parafovea.yaml").read_text(encoding="utf-8")
    found = dict(re.findall(r"- ([a-z0-9._-]+)==([^ \n]+)", text))
    held = {**_pins("dev"), **_pins("torch-cpu")}
    assert found.items() <= held.items()
    assert {"torch", "snakemake", "lightning", "transformers", "rasterio", "pydicom"} <= set(found)


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / f"envs/{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ \n]+)", text, flags=re.M))
