"""Networks of MONAI through all stages, compared with MONAI's own sliding windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.networks.nets as nets
import nibabel
import numpy as np
import pytest
import torch
import yaml
from chest_scan import chest
from monai.inferers import sliding_window_inference
from monai.transforms import NormalizeIntensity
from numpy.typing import NDArray
from test_blocks import bytes_of
from tiny_detector import SHAPE as SCAN
from tiny_detector import SPACING as SCAN_SPACING
from torch import Tensor, nn
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_project
from parafovea.config.source_headers import header_problems
from parafovea.drivers.one_process import run_chain, run_sample
from parafovea.errors import GridError
from parafovea.geometry.grid import Grid
from parafovea.planning.staleness import Staleness
from parafovea.storage.store import open_stored
from parafovea.upstream.networks.importing import import_network
from parafovea.upstream.networks.monai_bundle import read_monai_bundle
from parafovea.upstream.networks.monai_class import read_monai_class
from parafovea.upstream.networks.stated import Stated

#: Along z and x, windows lie alike from both ends.
SHAPE = (20, 44, 40)
UNET: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}

#: What changes the numbers of a result, so that they can be compared with those of MONAI.
EXACT = {"overlap": 0.5, "blending": "constant", "precision": "float32", "shards": 2}


def seeded(**changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Return a UNet of MONAI with scores that differ between voxels, and its arguments."""
    arguments = {**UNET, **changes}
    torch.manual_seed(0)
    network: nn.Module = nets.UNet(**arguments).eval()
    for name, values in network.named_buffers():
        if name.endswith("running_mean"):
            values.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            values.uniform_(0.05, 0.1)
    return network, arguments


def write_nifti(path: Path, voxels: NDArray[Any], spacing: tuple[float, ...] = (1, 1, 1)) -> None:
    """Write voxels (z, y, x)."""
    image = nibabel.Nifti1Image(voxels.T, np.diag([*spacing[::-1], 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def project_of(folder: Path, sources: dict[str, str], **task: Any) -> Any:
    """Write a config with the task `own` and a sheet, and return the project."""
    config = {"tasks": {"own": {"model": "models/own", **task}}, "samples": "samples.tsv"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [f"{name}\town\t{source}" for name, source in sources.items()]
    (folder / "samples.tsv").write_text("\n".join(["sample\ttask\tsource", *rows]) + "\n")
    return read_project(folder / "config.yaml")


def monai_windows(
    images: NDArray[Any], window: tuple[int, ...], predict: Callable[[Tensor], Tensor]
) -> NDArray[np.float32]:
    """Return MONAI's blended prediction (class, axes) of images (channel, axes)."""
    taken = torch.from_numpy(np.ascontiguousarray(images, np.float32))[None]
    with torch.inference_mode():
        found = sliding_window_inference(taken, window, 2, predict, overlap=0.5, mode="constant")
    result: NDArray[np.float32] = found[0].numpy()  # type: ignore[index, union-attr]
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an 8-bit volume `data/a.nii.gz`, in which tests run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    voxels = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    write_nifti(tmp_path / "data/a.nii.gz", voxels)
    return tmp_path


def import_unet(folder: Path, network: nn.Module, arguments: dict[str, Any], **stated: Any) -> None:
    """Write the model folder `models/own`; values k of a volume become k / 256, exact in half."""
    torch.save(network.state_dict(), folder / "weights.pt")
    options = {
        "architecture": "UNet",
        "arguments": arguments,
        "unit": "millimeter",
        "spacing": (1, 1, 1),
        "window": (8, 16, 16),
        "normalization": {"method": "window", "low": 0, "high": 256},
        **stated,
    }
    import_network(
        folder / "weights.pt",
        folder / "models/own",
        reader=read_monai_class,
        stated=Stated.model_validate(options),
    )


def test_a_unet_predicts_a_volume_as_monai_does(folder):
    network, arguments = seeded()
    import_unet(folder, network, arguments)
    project = project_of(folder, {"a": "data/a.nii.gz"}, inference=EXACT)
    names = {job.stage.name for job in Staleness(project).jobs("a")}
    assert {"infer_shard", "blend_shards"} <= names
    assert not {name for name in names if "features" in name or "context" in name}
    run_sample(project, "a")
    found = open_stored(folder / "results/a/prediction.ome.zarr")
    assert found.array.dtype == np.float32
    voxels = np.asarray(nibabel.load(folder / "data/a.nii.gz").dataobj).T / 256
    wanted = monai_windows(voxels[None], (8, 16, 16), lambda x: network(x).softmax(1))
    assert wanted.std(axis=(1, 2, 3)).min() > 0.02
    np.testing.assert_allclose(found.read(), wanted, atol=1e-5)


def test_views_are_averaged_as_monai_averages_flips(folder):
    network, arguments = seeded()
    import_unet(folder, network, arguments)
    views = {**EXACT, "tta": ["flip_x", "flip_z"]}
    run_sample(project_of(folder, {"a": "data/a.nii.gz"}, inference=views), "a")
    voxels = np.asarray(nibabel.load(folder / "data/a.nii.gz").dataobj).T / 256

    def flipped(axis: int) -> NDArray[np.float32]:
        turned = np.flip(voxels, axis)[None]
        found = monai_windows(turned, (8, 16, 16), lambda x: network(x).softmax(1))
        return np.flip(found, axis + 1)

    plain = monai_windows(voxels[None], (8, 16, 16), lambda x: network(x).softmax(1))
    wanted = (plain + flipped(2) + flipped(0)) / 3
    found = open_stored(folder / "results/a/prediction.ome.zarr").read()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(wanted - plain).max() > 0.01


def test_a_plan_has_no_features(folder):
    network, arguments = seeded()
    import_unet(folder, network, arguments)
    project_of(folder, {"a": "data/a.nii.gz"}, inference=EXACT)
    result = CliRunner().invoke(app, ["plan", "--config", "config.yaml"])
    assert result.exit_code == 0, result.output
    assert "infer_shard" in result.output
    assert "extract_" not in result.output


def test_a_detector_gives_heatmaps_of_a_scan(folder):
    network, arguments = seeded(out_channels=1)
    window = (16, 16, 16)
    import_unet(
        folder,
        network,
        arguments,
        kind="detection",
        classes=("nodule",),
        activation="sigmoid",
        spacing=SCAN_SPACING,
        window=window,
        normalization={"method": "window", "low": -1024, "high": 1024, "clip": False},
    )
    origin = tuple(-(n - 1) / 2 * s for n, s in zip(SCAN, SCAN_SPACING, strict=True))
    scan = chest(Grid(SCAN, SCAN_SPACING, origin, "millimeter")).astype(np.int16)
    write_nifti(folder / "data/ct.nii.gz", scan, SCAN_SPACING)
    settings = {**EXACT, "skip_empty": False}
    project = project_of(folder, {"ct": "data/ct.nii.gz"}, kind="detection", inference=settings)
    run_sample(project, "ct")
    found = open_stored(folder / "results/ct/prediction.ome.zarr").read()
    values = ((scan + np.float32(1024)) / 2048).astype(np.float16)[None]
    wanted = monai_windows(values, window, lambda x: network(x).sigmoid())
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert json.loads((folder / "results/ct/detections.json").read_text())


def write_bundle(path: Path, network: nn.Module, arguments: dict[str, Any]) -> Path:
    """Write a bundle whose network takes two sequences, each by its own mean and deviation."""
    config = {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "roi": [16, 16, 8],
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "UNet", **arguments},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "LAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0]},
                {
                    "_target_": "NormalizeIntensityd",
                    "keys": "image",
                    "nonzero": True,
                    "channel_wise": True,
                },
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi", "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
    }
    metadata = {
        "name": "Two sequences",
        "version": "0.1.0",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 2, "channel_def": {"0": "T1", "1": "FLAIR"}}},
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "white matter"}}},
        },
    }
    (path / "configs").mkdir(parents=True)
    (path / "models").mkdir()
    (path / "configs/inference.json").write_text(json.dumps(config))
    (path / "configs/metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), path / "models/model.pt")
    return path


def test_a_bundle_of_two_sequences_predicts_as_monai_does_in_any_number_of_blocks(folder):
    network, arguments = seeded(in_channels=2)
    bundle = write_bundle(folder / "bundle", network, arguments)
    done = import_network(bundle, folder / "models/own", reader=read_monai_bundle, stated=Stated())
    assert done.spec.bands == ("T1", "FLAIR")
    assert done.spec.classes == ("background", "white_matter")
    assert done.spec.window == (8, 16, 16)
    assert done.spec.training["upstream"]["name"] == "Two sequences"
    generator = np.random.default_rng(1)
    sequences = generator.integers(1, 1000, (2, *SHAPE)).astype(np.float32)
    sequences[:, generator.random(SHAPE) < 0.3] = 0
    for name, voxels in zip(("t1", "flair"), sequences, strict=True):
        write_nifti(folder / f"data/{name}.nii.gz", voxels)
    source = "data/t1.nii.gz;data/flair.nii.gz"
    results = {}
    for blocks in (1, 3):
        project = project_of(folder, {f"in_{blocks}": source}, inference=EXACT, blocks=blocks)
        run_chain(project, f"in_{blocks}", Staleness(project))
        results[blocks] = bytes_of(folder / f"results/in_{blocks}")
    assert results[3] == results[1]
    volume = open_stored(folder / "results/in_3/volume.ome.zarr").read()
    # MONAI takes the axes of NIfTI, x first
    turned = torch.from_numpy(np.ascontiguousarray(sequences.transpose(0, 3, 2, 1)))
    normal = NormalizeIntensity(nonzero=True, channel_wise=True)(turned)
    half = np.asarray(normal).astype(np.float16)
    np.testing.assert_allclose(volume.transpose(0, 3, 2, 1), half, atol=2e-3)
    assert not volume[:, (sequences[0] == 0)].any()
    # and the bundle turns x, which points to the right in these files
    exact = volume.transpose(0, 3, 2, 1)[:, ::-1]
    wanted = monai_windows(exact, (16, 16, 8), lambda x: network(x).softmax(1))
    found = open_stored(folder / "results/in_3/prediction.ome.zarr").read()
    np.testing.assert_allclose(found.transpose(0, 3, 2, 1)[:, ::-1], wanted, atol=1e-5)


def test_a_scan_whose_axes_have_another_order_is_refused(folder):
    network, arguments = seeded()
    import_unet(folder, network, arguments, axes="xyz", orientation="RAS")
    image = nibabel.load(folder / "data/a.nii.gz")
    affine = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    turned = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
    turned.header.set_xyzt_units("mm")
    nibabel.save(turned, folder / "data/a.nii.gz")
    project = project_of(folder, {"a": "data/a.nii.gz"}, inference=EXACT)
    reason = "data/a.nii.gz: the axes x, y, z of the scan point to AIR, but the network takes RAS"
    assert reason in project.failed["a"]
    assert reason in header_problems(project, ("a",))["a"]
    with pytest.raises(GridError, match="x, y, z of the scan point to AIR, but the network takes"):
        run_sample(project, "a")
    # one whose axes point the other way is turned
    mirrored = nibabel.Nifti1Image(np.asarray(turned.dataobj), np.diag([-1, 1, -1, 1.0]))
    mirrored.header.set_xyzt_units("mm")
    nibabel.save(mirrored, folder / "data/b.nii.gz")
    assert project_of(folder, {"b": "data/b.nii.gz"}, inference=EXACT).failed == {}
