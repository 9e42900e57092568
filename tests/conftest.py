"""A small project in a folder of its own: config, sheet, sources and a model that is described."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import settings

from parafovea.config.loading import read_project
from parafovea.config.project import Project
from parafovea.errors import ParafoveaError, describe

# by default an example that takes 0.2 s is a failure, which says how busy the machine is
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

CLASSES = ["background", "mitochondrion", "nucleus"]

RECIPE: dict[str, Any] = {
    "spacing": [16, 16, 16],
    "context": {"spacing": [64, 64, 64]},
    "network": {"base_channels": 4, "max_channels": 8},
    "classes": CLASSES,
    "window": [16, 32, 32],
}


@dataclass
class ProjectFolder:
    """A folder to run in, with its config and its sheet as data until `write` is called."""

    path: Path
    config: dict[str, Any]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, name: str, *, task: str = "cell", truth: bool = True) -> None:
        """Add a sample with a TIFF stack of (20, 40, 36) voxels of 16 nm as its source."""
        random = np.random.default_rng(len(self.rows))
        source, classes = f"data/{name}.tif", f"data/{name}_truth.tif"
        (self.path / "data").mkdir(exist_ok=True)
        image = random.integers(0, 256, (20, 40, 36), np.uint8)
        tifffile.imwrite(self.path / source, image, photometric="minisblack")
        if truth:
            labels = (image > 200).astype(np.uint8)
            tifffile.imwrite(self.path / classes, labels, photometric="minisblack")
        spacing = "spacing=16,16,16 unit=nanometer"
        self.rows.append([name, task, source, classes if truth else "", spacing])

    def write(self) -> None:
        """Write config/config.yaml and config/samples.tsv."""
        folder = self.path / "config"
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        lines = [["sample", "task", "source", "truth", "metadata"], *self.rows]
        (folder / "samples.tsv").write_text("\n".join("\t".join(row) for row in lines) + "\n")

    def read(self) -> Project:
        """Write both files, and return the checked project."""
        self.write()
        return read_project(self.path / "config/config.yaml")

    def refusal(self) -> str:
        """Write both files, which are refused, and return the reason."""
        with pytest.raises(ParafoveaError) as caught:
            self.read()
        return describe(caught.value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, so that no process waits at the end for one of them."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


@pytest.fixture(scope="session", autouse=True)
def written_nifti_opens_in_itk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let ITK read the header of every NIfTI file that a test writes, and compare the places."""
    from parafovea.formats import nifti

    folder = tmp_path_factory.mktemp("headers")
    plain = nifti._header

    def checked(space: Any, *rest: Any) -> bytes:
        import SimpleITK

        header: bytes = plain(space, *rest)
        (folder / "a.nii").write_bytes(header)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(folder / "a.nii"))
        reader.ReadImageInformation()
        assert reader.GetSize() == space.grid.shape[::-1]
        directions = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
        for corner in np.ndindex(2, 2, 2):
            index = np.array(corner) * (np.array(space.grid.shape) - 1)
            found = reader.GetOrigin() + directions @ index[::-1]
            voxels = space.voxel_of_world(found) - index
            assert np.abs(voxels).max() < 0.01, (corner, found)
        assert int(reader.GetMetaData("qform_code")) == int(reader.GetMetaData("sform_code")) == 1
        return header

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nifti, "_header", checked)
        yield


@pytest.fixture(scope="session")
def recipe() -> dict[str, Any]:
    """Return the recipe of the model in `project_folder`, as a config holds it."""
    return RECIPE


def _make_project_folder(path: Path) -> ProjectFolder:
    model = path / "models" / "cell"
    model.mkdir(parents=True)
    spec = {**RECIPE, "name": "cell", "input_channels": 1, "weights_sha256": "0" * 64}
    (model / "model.json").write_text(json.dumps(spec))
    (model / "model.safetensors").write_bytes(b"not read while jobs are planned")
    # the model's own small windows, so that a small sample has several
    task = {"model": "models/cell", "inference": {"window": None}}
    folder = ProjectFolder(path, {"tasks": {"cell": task}})
    folder.add("a")
    folder.add("b")
    folder.write()
    return folder


@pytest.fixture(scope="session")
def make_project_folder() -> Callable[[Path], ProjectFolder]:
    """Return what `project_folder` makes, for a folder of one's own."""
    return _make_project_folder


@pytest.fixture
def project_folder(tmp_path: Path) -> ProjectFolder:
    """Return a folder with the samples `a` and `b` of a task `cell`, ready to be changed."""
    return _make_project_folder(tmp_path)


@pytest.fixture(scope="session")
def make_runnable() -> Callable[[Path], ProjectFolder]:
    """Return a function that makes a project folder whose model is really there, of random weights.

    Its only sample is `a`, of a few voxels.
    """
    # loads torch, which most tests of the config do without
    from tiny_sample import random_network

    from parafovea.backbones import feature_channels
    from parafovea.models.folder import save_model
    from parafovea.models.networks.fused_unet import FusedUNet
    from parafovea.settings.recipe import BackboneSpec, ModelSpec

    def make(path: Path) -> ProjectFolder:
        folder = _make_project_folder(path)
        folder.rows = folder.rows[:1]
        folder.write()
        channels = feature_channels(BackboneSpec(), dimensions=3)
        numbers = {"input_channels": channels + 1, "context_channels": channels}
        spec = ModelSpec.model_validate(
            {**RECIPE, **numbers, "name": "cell", "weights_sha256": "0" * 64}
        )
        save_model(path / "models" / "cell", spec, random_network(FusedUNet.from_spec(spec)))
        return folder

    return make
