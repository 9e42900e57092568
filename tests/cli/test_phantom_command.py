from pathlib import Path

import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("chest", ".made/chest_seed7.nii.gz.json"),
        ("cell", "cell_seed7.ome.zarr/.made.json"),
    ],
)
def test_a_phantom_over_one_of_the_workflow_is_none_of_the_workflow(
    kind: str, record: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shape may be another, so the next run must not take it for its own."""
    monkeypatch.setattr("parafovea_phantoms.make_phantom.make_phantom", lambda *a, **k: None)
    place = tmp_path / record
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    command = ["phantom", "-o", str(tmp_path), "--seed", "7", "--kind", kind]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert not place.exists()
