"""TorchScript files: code, opened only if trusted, and never with operators beyond computing."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_files import write_torchscript
from torch import Tensor, nn

from parafovea.errors import ConfigError, ModelError
from parafovea.models.image_folder import load_image_network
from parafovea.upstream.networks.importing import import_network
from parafovea.upstream.networks.stated import Stated
from parafovea.upstream.networks.torchscript_file import read_torchscript

SHAPE = (1, 1, 8, 8, 8)


def scripted(path: Path, module: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.eval()), str(path))
    return path


def imported(path: Path, *, trust: bool = True) -> Any:
    stated = Stated(
        trust=trust, spacing=(8, 8, 8), unit="nanometer", window=(8, 8, 8), dimensions=3
    )
    return import_network(path, path.with_name("written"), reader=read_torchscript, stated=stated)


def refused(path: Path, match: str, *, trust: bool = True) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        imported(path, trust=trust)
    assert "\n" not in str(caught.value)
    assert not path.with_name("written").exists()


class Saving(nn.Module):
    """Writes a file when it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        torch.save(images, self.path)
        return images


class SavingAsItOpens(nn.Module):
    """Writes a file when it is opened."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), state[0])

    def forward(self, images: Tensor) -> Tensor:
        return images


class Mapping(nn.Module):
    """Reads a file when it runs."""

    def forward(self, images: Tensor) -> Tensor:
        return images + torch.from_file("/etc/passwd", size=8, dtype=torch.uint8)


class Calling(nn.Module):
    """Calls a custom operator."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.ops.parafovea_test.twice(images)


def test_without_trust_the_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(b"not even a zip file")
    refused(
        path, "is TorchScript, which is code that runs as it is opened: give --trust", trust=False
    )


def test_with_trust_it_is_said_to_be_code(tmp_path: Path) -> None:
    done = imported(write_torchscript(tmp_path / "a.pt", nn.Conv3d(1, 2, 1), SHAPE))
    assert any("TorchScript is code" in note for note in done.notes)
    network = load_image_network(tmp_path / "written", done.spec)
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="engine: onnxruntime does not run"):
        network.choose_engine("onnxruntime", cpu)
    assert network.precision(torch.bfloat16, "torch") == torch.float32


@pytest.mark.parametrize("module", [Saving, SavingAsItOpens])
def test_a_network_that_writes_files_is_refused_and_writes_none(
    tmp_path: Path, module: Any
) -> None:
    target = tmp_path / "written_by_the_network"
    path = scripted(tmp_path / "network.pt", module(str(target)))
    refused(path, "uses save, which reaches files, processes or Python")
    assert not target.exists()


def test_a_network_that_reads_files_is_refused(tmp_path: Path) -> None:
    refused(scripted(tmp_path / "a.pt", Mapping()), "uses from_file, which reaches files")


def test_the_model_folder_is_checked_as_well(tmp_path: Path) -> None:
    from parafovea.runtime.file_hash import file_sha256

    done = imported(write_torchscript(tmp_path / "a.pt", nn.Conv3d(1, 2, 1), SHAPE))
    target = tmp_path / "written_by_the_network"
    other = scripted(tmp_path / "written/network.torchscript", SavingAsItOpens(str(target)))
    spec = done.spec.model_copy(update={"weights_sha256": file_sha256(other)})
    with pytest.raises(ModelError, match="uses save, which reaches files"):
        load_image_network(tmp_path / "written", spec)
    assert not target.exists()


def test_custom_operators_are_named(tmp_path: Path) -> None:
    with torch.library._scoped_library("parafovea_test", "DEF") as library:
        library.define("twice(Tensor a) -> Tensor")
        path = scripted(tmp_path / "a.pt", Calling())
    refused(path, "uses the operator parafovea_test::twice, which is not one of torch")


def rewritten(path: Path, change: Any) -> Path:
    """Write a copy of a file whose texts of code are changed."""
    other = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info, change(content) if info.filename.endswith(".py") else content)
    return other


@pytest.mark.parametrize(
    "call",
    [
        b"torch . save (x, 'f')",
        b"ops.aten.save(x, 'f')",
        b"f = getattr(torch, 'save')",
        b"f = getattr(torch, 's\\x61ve')",
        b"x.save('f')",
        b"x = __torch__.torch.classes.dist_rpc.WorkerInfo",
        b"ops.prim.rpc_sync(x)",
        b"ops.symm_mem.one_shot_all_reduce(x, 'sum', '0')",
    ],
)
def test_names_are_found_however_they_are_written(tmp_path: Path, call: bytes) -> None:
    path = write_torchscript(tmp_path / "a.pt", nn.Conv3d(1, 2, 1), SHAPE)
    changed = rewritten(path, lambda text: text.replace(b"return", b"    %s\n    return" % call))
    refused(changed, "which reaches files, processes or Python|which is not one of torch")


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        network.weight[0] = torch.nan
    refused(write_torchscript(tmp_path / "a.pt", network, SHAPE), "1 of 2 values of layer weight")


def test_a_small_file_that_unpacks_to_a_large_one(tmp_path: Path) -> None:
    path = write_torchscript(tmp_path / "a.pt", nn.Conv3d(1, 2, 1), SHAPE)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/code/more.py", bytes(70 << 20))
    refused(path, "but would unpack to")


def test_weights_that_repeat_few_numbers_without_end(tmp_path: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("wide", torch.zeros(1).expand(1 << 40))

        def forward(self, images: Tensor) -> Tensor:
            return images + self.wide[:1]

    refused(scripted(tmp_path / "a.pt", Wide()), "but declares weights of 4398046511104")


def test_a_network_that_takes_more_memory_than_there_is(tmp_path: Path) -> None:
    class Filling(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + torch.zeros(1 << 35, dtype=torch.float32)[:1]

    text = r"does not take an input of the shape \(1, 1, 8, 8, 8\): .*(memory|alloc)"
    refused(scripted(tmp_path / "a.pt", Filling()), text)


@pytest.mark.parametrize("content", [b"", b"PK", bytes(1000)])
def test_other_bytes_are_no_torchscript(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    refused(path, "is not a TorchScript file, or is damaged")


def test_every_truncation_is_one_error(tmp_path: Path) -> None:
    path = write_torchscript(tmp_path / "a.pt", nn.Conv3d(1, 2, 1), SHAPE)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 23):
        path.write_bytes(whole[:length])
        refused(path, "a.pt")
