"""Samples that are a part of their source, as they are planned."""

import numpy as np
import tifffile

from parafovea.config.loading import read_project
from parafovea.config.source_headers import header_problems

SPACING = "spacing=16,16,16 unit=nanometer"


def _project(folder, monkeypatch):
    folder.write()
    monkeypatch.chdir(folder.path)
    return read_project(folder.path / "config/config.yaml")


def test_shards_and_memory_follow_from_the_part(project_folder, monkeypatch):
    project_folder.rows[0][4] = f"{SPACING} region=2:18,:,4:20"
    # the result of another sample, and a phantom
    project_folder.rows.append(["c", "cell", "@a", "", "region=:8,:,:"])
    phantom = "results/phantoms/cell_seed1.ome.zarr"
    project_folder.rows.append(["d", "cell", phantom, "", "region=:8,:16,:16"])
    project = _project(project_folder, monkeypatch)
    assert project.grid("a").shape == (16, 40, 16)
    assert project.grid("a").origin == (32, 0, 64)
    assert project.grid("b").shape == (20, 40, 36)
    assert project.grid("c").shape == (8, 40, 16)
    assert project.grid("c").origin == (32, 0, 64)
    assert project.grid("d").shape == (8, 16, 16)


def test_a_part_outside_of_its_source_stops_its_own_sample_alone(project_folder, monkeypatch):
    project_folder.rows[0][4] = f"{SPACING} region=2:21,:,:"
    project = _project(project_folder, monkeypatch)
    assert "has 20 voxels along z, and region= takes 2 to 21" in project.failed["a"]
    assert project.planned == ("b",)


def test_the_truth_of_the_whole_source_fits_the_part(project_folder, monkeypatch):
    project_folder.rows[0][4] = f"{SPACING} region=2:18,:,4:20"
    project = _project(project_folder, monkeypatch)
    assert not header_problems(project, ["a", "b"])
    truth = project_folder.path / project_folder.rows[0][3]
    tifffile.imwrite(truth, np.zeros((20, 40, 20), np.uint8), photometric="minisblack")
    assert "does not cover the same region" in header_problems(project, ["a"])["a"]
