"""Files of torch.export are read as data: no pickle, no text that torch would evaluate."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_files import write_exported
from torch import Tensor, nn

from parafovea.errors import ModelError
from parafovea.models.image_folder import load_image_network
from parafovea.models.networks.exported_archive import _is_size
from parafovea.runtime.file_hash import file_sha256
from parafovea.upstream.networks.exported_program import read_exported
from parafovea.upstream.networks.importing import import_network
from parafovea.upstream.networks.stated import Stated

SHAPE = (2, 1, 8, 8, 8)
GRAPH, EXAMPLES = "models/model.json", "data/sample_inputs/model.pt"
CONFIG = "data/weights/model_weights_config.json"


class Executed:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    network = nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1), nn.AvgPool3d(2), nn.Upsample(scale_factor=2)
    )
    return write_exported(folder / "network.pt2", network.eval(), SHAPE)


def changed(source: Path, target: Path, changes: dict[str, Callable[[bytes], bytes]]) -> Path:
    """Write a copy with changed records."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            name = info.filename.partition("/")[2]
            content = changes.get(name, bytes)(old.read(info))
            new.writestr(f"network/{name}", content)
    return target


def with_json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def rewritten(content: bytes) -> bytes:
        value = json.loads(content)
        change(value)
        return json.dumps(value).encode()

    return rewritten


def imported(path: Path) -> Any:
    stated = Stated(spacing=(8, 8, 8), unit="nanometer")
    if "static" not in path.name:
        stated = stated.model_copy(update={"window": (8, 8, 8)})
    return import_network(path, path.with_name("written"), reader=read_exported, stated=stated)


def refused(path: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        imported(path)
    assert "\n" not in str(caught.value)
    assert not path.with_name("written").exists()


def test_the_copy_is_data_without_pickles_and_places_of_code(program: Path, tmp_path: Path) -> None:
    path = changed(program, tmp_path / "a.pt2", {})
    done = imported(path)
    assert done.spec.network.multiple_of == (2, 2, 2)
    with zipfile.ZipFile(tmp_path / "written/network.pt2") as archive:
        content = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert content[EXAMPLES] == b""
    assert b".py" not in content[GRAPH]
    assert json.loads(content[GRAPH])["guards_code"] == []
    assert not any(part.startswith(b"PK") or part[:1] == b"\x80" for part in content.values())


def test_example_inputs_are_not_unpickled(program: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    bomb = pickle.dumps(Executed(target))
    imported(changed(program, tmp_path / "a.pt2", {EXAMPLES: lambda _: bomb}))
    assert not target.exists()


def test_a_model_folder_with_example_inputs_is_refused(program: Path, tmp_path: Path) -> None:
    spec = imported(changed(program, tmp_path / "a.pt2", {})).spec
    target = tmp_path / "executed"
    bomb = pickle.dumps(Executed(target))
    stored = tmp_path / "written/network.pt2"
    other = changed(stored, tmp_path / "b.pt2", {EXAMPLES: lambda _: bomb})
    stored.write_bytes(other.read_bytes())
    spec = spec.model_copy(update={"weights_sha256": file_sha256(stored)})
    with pytest.raises(ModelError, match="holds more than a graph and weights"):
        load_image_network(tmp_path / "written", spec)
    assert not target.exists()


def test_a_pickled_weight_is_refused(program: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed"

    def as_pickle(config: Any) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    bomb = pickle.dumps(Executed(target))
    changes = {CONFIG: with_json(as_pickle), "data/weights/weight_0": lambda _: bomb}
    refused(changed(program, tmp_path / "a.pt2", changes), "the weight 0.weight as a pickle")
    assert not target.exists()


EVIL = "__import__('os').mkdir('executed')"


def nodes(graph: Any) -> Any:
    return graph["graph_module"]["graph"]["nodes"]


def set_target(target: str) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        nodes(graph)[0]["target"] = target

    return change


def set_size(text: str) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        values = graph["graph_module"]["graph"]["tensor_values"]["input"]
        values["sizes"][2] = {"as_expr": {"expr_str": text, "hint": None}}

    return change


def rename_input(graph: Any) -> None:
    text = json.dumps(graph).replace('"name": "input"', json.dumps({"name": f"a={EVIL}"})[1:-1])
    graph.clear()
    graph.update(json.loads(text))


def set_structure(graph: Any) -> None:
    entry = graph["graph_module"]["module_call_graph"][0]["signature"]
    context = {"type": "builtins.dict", "context": f'["{EVIL}"]', "children_spec": []}
    entry["out_spec"] = json.dumps([1, context])


def set_argument(graph: Any) -> None:
    nodes(graph)[0]["inputs"][0]["arg"] = {"as_operator": "torch.hub.load"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (set_target("torch.os.system"), "the operator 'torch.os.system'"),
        (set_target("torch.hub.load"), "the operator"),
        (set_target("torch.ops.aten.from_file.default"), "the operator"),
        (set_target("torch.ops.vendor.magic.default"), "the operator 'torch.ops.vendor.magic"),
        (set_target("torch.ops.aten.add.__class__"), "the operator"),
        (set_target("_operator.call"), "the operator"),
        (set_target("#extension:magic"), "the operator"),
        (set_argument, "the operator 'torch.hub.load'"),
        (set_size(EVIL), "the text of expr_str"),
        (set_size("s0.__class__"), "the text of expr_str"),
        (set_size("9**9**9**9"), "the text of expr_str"),
        (set_size("[x for x in s0]"), "the text of expr_str"),
        (rename_input, "the text of name"),
        (set_structure, "the text of out_spec"),
    ],
)
def test_texts_that_torch_would_evaluate_are_refused(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = changed(program, tmp_path / "a.pt2", {GRAPH: with_json(change)})
    refused(path, match)
    assert not (tmp_path / "executed").exists()


def test_guards_of_the_file_are_not_run(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def change(graph: Any) -> None:
        graph["guards_code"] = [f"{EVIL} is None"]

    imported(changed(program, tmp_path / "a.pt2", {GRAPH: with_json(change)}))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("4*s34", True),
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Mul(Integer(4), Symbol('s10', positive=True))", True),
        ("2*(((-1) + s10)//4) + 2", True),
        ("Max(1, s0) ** 2", True),
        ("Symbol('__import__')", False),
        ("open('f')", False),
        ("(lambda: 1)()", False),
        ("s0 if s1 else s2", False),
        ("s0[0]", False),
        ("s0**s1", False),
        ("f's0'", False),
        ("((((2**9)**9)**9)**9)", False),
    ],
)
def test_expressions_of_sizes_are_arithmetic_alone(text: str, valid: bool) -> None:
    assert _is_size(text) is valid


def test_an_empty_weight_that_declares_much(program: Path, tmp_path: Path) -> None:
    def huge(config: Any) -> None:
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta["sizes"] = [{"as_int": 1 << 40}]

    changes: dict[str, Any] = {CONFIG: with_json(huge), "data/weights/weight_0": lambda _: b""}
    refused(
        changed(program, tmp_path / "a.pt2", changes),
        r"weight 0.weight has the shape \(1099511627776,\), but 0 bytes are there",
    )


def test_a_compiled_library_is_refused(program: Path, tmp_path: Path) -> None:
    path = changed(program, tmp_path / "a.pt2", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("network/data/aotinductor/model/model.so", b"\x7fELF")
    refused(path, "holds a compiled library, which is code")


def test_a_network_that_still_trains_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)).train()
    path = write_exported(tmp_path / "static.pt2", network, SHAPE, free=None)
    refused(path, r"is a network in training, .*: call eval\(\)")


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        network.weight[0] = torch.nan
    path = write_exported(tmp_path / "static.pt2", network, SHAPE, free=None)
    refused(path, "1 of 2 values of layer weight are NaN")


def test_constants_are_kept_and_devices_become_the_cpu(tmp_path: Path) -> None:
    class Constants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.tensor(2.0), persistent=False)

        def forward(self, images: Tensor) -> Tensor:
            ramp = torch.arange(8, device=images.device) + torch.tensor([0.5])
            return torch.cat([images * self.weight, images + ramp], 1)

    network = Constants().eval()
    path = write_exported(tmp_path / "a.pt2", network, SHAPE, free=None)

    def elsewhere(content: bytes) -> bytes:
        assert b'"cpu"' in content
        return content.replace(b'"type": "cpu", "index": null', b'"type": "cuda", "index": 0')

    other = changed(path, tmp_path / "static.pt2", {GRAPH: elsewhere})
    done = imported(other)
    loaded = load_image_network(tmp_path / "written", done.spec)
    images = torch.rand(SHAPE)
    cpu = torch.device("cpu")
    found = loaded.runner(cpu, torch.float32, "torch")(images)
    torch.testing.assert_close(found, network(images))


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, images: Tensor, more: Tensor) -> Tensor:
            return images + more

    program = torch.export.export(Two(), (torch.rand(SHAPE), torch.rand(SHAPE)))
    torch.export.save(program, tmp_path / "static.pt2")
    refused(tmp_path / "static.pt2", "takes 2 inputs, but must take one array")


@pytest.mark.parametrize("content", [b"", b"PK", bytes(1000)])
def test_other_bytes_are_no_program(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt2"
    path.write_bytes(content)
    refused(path, "is not a file of torch.export, or is damaged")


def test_every_truncation_is_one_error(program: Path, tmp_path: Path) -> None:
    whole = program.read_bytes()
    path = tmp_path / "a.pt2"
    for length in range(0, len(whole), len(whole) // 23):
        path.write_bytes(whole[:length])
        refused(path, "a.pt2")
