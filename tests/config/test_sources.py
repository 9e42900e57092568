"""What a source is, told by names alone: a volume, a folder of tiles, another sample's result."""

import subprocess
import sys
from pathlib import Path

import pytest

from parafovea.config import Sample, Settings
from parafovea.config.sources import (
    is_tile_folder,
    references,
    referred,
    resolved,
    result_of,
    source_layout,
    tile_folder_problem,
)
from parafovea.kinds import kind_named

SETTINGS = Settings.model_validate(
    {
        "results": "out",
        "tasks": {
            "cells": {"model": "m"},
            "nodules": {"model": "n", "kind": "detection"},
        },
    }
)


def sample(name, source, task="cells", truth=None):
    return Sample(name, task, source, truth, "", None, 1)


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of empty files of some names."""

    def make(*names):
        for name in names:
            (tmp_path / name).touch()
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    ("names", "kind", "tiles"),
    [
        (("a.npz", "a.json"), "segmentation", True),
        (("a.NPZ",), "refinement", True),
        (("a.tif", "b.tif"), "refinement", True),
        (("a.tif", "b.tif"), "segmentation", False),
        (("a.json", ".b.npz"), "segmentation", False),
        (("zarr.json", "a.npz"), "refinement", False),
        (("notes.txt",), "refinement", True),
    ],
)
def test_a_folder_of_tiles_is_told_by_its_names_and_its_kind(folder, names, kind, tiles):
    images = kind_named(kind).images_are_tiles
    assert is_tile_folder(folder(*names), images=images, results="out") is tiles


def test_a_folder_named_like_a_tile_is_none(tmp_path):
    (tmp_path / "a.npz").mkdir()
    assert not is_tile_folder(str(tmp_path), results="out")


@pytest.mark.parametrize("name", ["landscape_seed4", "landscape_seed4_truth", "scene_seed12_sar"])
def test_phantoms_of_landscapes_are_tiles_before_they_are_made(name):
    assert is_tile_folder(f"out/phantoms/{name}", results="out")
    assert not is_tile_folder(f"elsewhere/{name}", images=True, results="out")


def test_phantoms_of_volumes_are_volumes():
    for name in ("cell_seed1.ome.zarr", "landscape_seed1.ome.zarr", "landscape_seed1_roads"):
        assert not is_tile_folder(f"out/phantoms/{name}", images=True, results="out")


def test_a_folder_without_tiles_says_what_is_there_instead(folder):
    problem = tile_folder_problem(folder("a.png", "b.png", "c.txt", "d"))
    assert problem is not None
    assert problem.startswith("No NPZ tiles found in ")
    assert "it holds 2 .png files, 1 .txt file and 1 nameless file" in problem
    assert tile_folder_problem(folder("e.npz")) is None


def test_a_references_sort_and_result_follow_along_the_chain(folder):
    tiles = folder("a.npz")
    samples = {
        each.name: each
        for each in (
            sample("third", "@second"),
            sample("second", "@first"),
            sample("first", tiles),
            sample("water", "scan.nii.gz", "nodules"),
            sample("cut", "@water", truth="@plain"),
            sample("plain", "a.tif"),
        )
    }
    assert source_layout(samples["third"], samples, SETTINGS) == "tiles"
    assert source_layout(samples["cut"], samples, SETTINGS) == "volume"
    result = result_of(samples["second"], samples, SETTINGS)
    assert (result.path, result.file) == ("out/second/tiles", "out/second/tiles.tsv")
    assert resolved("@water", samples, SETTINGS) == "out/water/heatmap.nii.gz"
    assert resolved("@cut", samples, SETTINGS) == "out/cut/classes.ome.zarr"
    assert resolved("a.tif", samples, SETTINGS) == "a.tif"
    assert references(samples["cut"]) == ("water", "plain")
    assert referred("@ water") == "water"
    assert referred("data/@a.tif") is None


def test_no_tile_is_opened_to_tell_what_a_folder_is(folder):
    path = folder(*(f"{n}.npz" for n in range(300)))
    read = (
        "import sys\n"
        "from parafovea.config.sources import is_tile_folder\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(args) if event == 'open' else None)\n"
        f"assert is_tile_folder({path!r}, images=True, results='out')\n"
        "assert is_tile_folder('nothing', results='out') is False\n"
        "assert not seen, seen\n"
    )
    root = Path(__file__).parents[2] / "src"
    subprocess.run([sys.executable, "-c", read], check=True, env={"PYTHONPATH": str(root)})
