"""A real TorchScript network, deepbet, computes in the workflow what torch.jit does by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from clouds import run
from scipy import ndimage
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.models.model_json import read_spec
from parafovea.runtime.optional_packages import older_torch_allowed
from parafovea.storage.store import open_stored

SIDE = 64
MEAN, DEVIATION = 0.3, 0.6


def head() -> np.ndarray:
    """Return (z, y, x) uint8: a bright ellipsoid in a dark one, with noise."""
    z, y, x = np.mgrid[:SIDE, :SIDE, :SIDE] / (SIDE - 1) - 0.5
    radius = np.sqrt((z / 0.9) ** 2 + y**2 + (x / 0.8) ** 2)
    values = np.where(radius < 0.3, 0.7, np.where(radius < 0.38, 0.25, 0.02))
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=values.shape), 1)
    return (255 * np.clip(values + 0.1 * noise, 0, 1)).astype(np.uint8)


@pytest.fixture
def project(brain_network: Path, tmp_path: Path) -> Path:
    """Return a project whose only sample is a volume that the imported network segments."""
    side = [str(SIDE)] * 3
    done = CliRunner().invoke(
        app,
        [
            *("import-model", str(brain_network), "--output", str(tmp_path / "brain"), "--trust"),
            *("--kind", "segmentation", "--class", "background", "--class", "brain"),
            *("--spacing", "1", "1", "1", "--unit", "millimeter", "--window", *side),
            *("--percentiles", "0.5", "99.5", "--mean", str(MEAN), "--deviation", str(DEVIATION)),
            *("--activation", "none"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "TorchScript is code" in done.output
    (tmp_path / "config").mkdir()
    inference = {"precision": "float32"}
    task = {"kind": "segmentation", "model": "brain", "inference": inference}
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump({"tasks": {"brain": task}}))
    (tmp_path / "config/samples.tsv").write_text(
        "sample\ttask\tsource\tmetadata\nhead\tbrain\thead.tif\tspacing=1,1,1 unit=millimeter\n"
    )
    tifffile.imwrite(tmp_path / "head.tif", head(), photometric="minisblack")
    return tmp_path


def test_a_volume_in_the_workflow_equals_torch_by_hand(
    project: Path, brain_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(project / "brain")
    assert spec.network.multiple_of == (32, 32, 32)
    monkeypatch.chdir(project)
    run(project, "head")
    volume = open_stored(project / "results/head/volume.ome.zarr").read().astype(np.float32)
    found = open_stored(project / "results/head/prediction.ome.zarr").read()
    with older_torch_allowed(), torch.inference_mode():
        network = torch.jit.load(str(brain_network)).eval()
        wanted = network(torch.from_numpy((volume - MEAN) / DEVIATION)[None, None])[0].numpy()
    assert found.shape == (2, SIDE, SIDE, SIDE)
    assert wanted[1].std() > 0.01
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
