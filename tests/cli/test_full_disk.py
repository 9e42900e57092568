"""Every command that writes says in one sentence that the disk does not take more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import upstream_content, upstream_weights, write_checkpoint
from tiny_sample import smooth_volume, store_volume, tiny_model, tiny_recipe

from parafovea.cli.main import app

#: Runs commands in a process whose files may have 20 KiB: what a small disk refuses, without one.
LIMITED = """
import resource, sys
from typer.testing import CliRunner
from parafovea.cli.main import app
resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 10, 20 << 10))
for line in sys.stdin.read().splitlines():
    found = CliRunner().invoke(app, line.split(";"))
    print(found.exit_code, type(found.exception).__name__, " ".join(found.output.split()))
"""


def test_a_disk_that_takes_no_more_is_one_sentence_in_every_command(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pkl", upstream_content(upstream_weights()))
    recipe = tiny_recipe(context=False)
    model = tiny_model(tmp_path / "model", recipe)
    store_volume(tmp_path / "volume.ome.zarr", smooth_volume((32, 64, 64)))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(
        f"samples: s.tsv\ntasks: {{cell: {{model: {model}}}}}\n"
    )
    sheet = f"sample\ttask\tsource\na\tcell\t{tmp_path}/volume.ome.zarr\n"
    (tmp_path / "s.tsv").write_text(sheet)
    commands = {
        "phantom": ["phantom", "-o", tmp_path / "out" / "phantom"],
        "import": ["import-model", tmp_path / "best.pkl", "-o", tmp_path / "out" / "imported"],
        "export": ["export-model", model, "-o", tmp_path / "out" / "model.ts"],
        "run": ["run", "--sample", "a"],
        "predict": [
            "predict", tmp_path / "volume.ome.zarr", "--task", "cell", "-o",
            tmp_path / "out" / "scan",
        ],
    }  # fmt: skip
    lines = "\n".join(";".join(map(str, command)) for command in commands.values())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIMITED],
        input=lines, capture_output=True, text=True, timeout=300, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert len(said) == len(commands), done.stdout + done.stderr
    for name, line in zip(commands, said, strict=True):
        assert line.startswith("1 SystemExit"), (name, line)
        assert "cannot be written, a file became larger than the file system" in line, (name, line)
    left = [path.name for path in (tmp_path / "out").rglob("*") if "partial" in path.name]
    assert left == []


@pytest.mark.parametrize("command", ["phantom", "import-model"])
def test_a_file_in_the_way_is_named(tmp_path: Path, command: str) -> None:
    from typer.testing import CliRunner

    (tmp_path / "file").touch()
    write_checkpoint(tmp_path / "best.pkl", upstream_content(upstream_weights()))
    source = [] if command == "phantom" else [str(tmp_path / "best.pkl")]
    found = CliRunner().invoke(app, [command, *source, "-o", str(tmp_path / "file" / "below")])
    assert found.exit_code == 1
    assert "a part of its path is a file" in " ".join(found.output.split())
