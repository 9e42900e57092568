"""The network of ukis-csmask in a project: tiles and a mosaic with clouds and shadows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mosaic_sample import write_mosaic
from numpy.typing import NDArray
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.formats.tiles.npz import write_tile
from parafovea.planning.staleness import Staleness
from parafovea.storage.store import open_stored

BANDS = ("B02", "B03", "B04", "B08")
CLASSES = ("background", "cloud", "shadow")
SIDE = 256

Image = NDArray[np.float32]


def _fractal(random: np.random.Generator, side: int, slope: float) -> NDArray[np.float64]:
    """Return (y, x) noise whose power falls with a power of its frequency."""
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(random.normal(size=(side, side))) * frequency ** (-slope / 2)
    found = np.fft.ifft2(spectrum).real
    return found / found.std()


def phantom_scene(side: int = 512, seed: int = 3) -> Image:
    """Return (4, y, x) reflectance of land under bright clouds with their dark shadows."""
    random = np.random.default_rng(seed)
    land = 1 + 0.25 * _fractal(random, side, 2.2)
    ground = np.clip(np.array([0.07, 0.09, 0.09, 0.27])[:, None, None] * land, 0.01, 1)
    clouds = np.clip((_fractal(random, side, 3.6) - 0.3) * 1.5, 0, 1)
    shadows = np.roll(clouds, (25, 20), (0, 1))
    lit = ground * (1 - 0.7 * shadows) * (1 - clouds) + 0.75 * clouds
    noise = 0.003 * random.normal(size=lit.shape)
    return np.clip(lit + noise, 0.005, 1).astype(np.float32)


def import_command(package: Path, level: str, output: Path) -> list[str]:
    """Return the documented command for the network with four bands of a product level."""
    facts = json.loads((package / f"model_4b_{level}.json").read_text())
    means, deviations = facts["data"]["dataset_statistics"]["img"]
    assert facts["data"]["dataset_statistics"]["band_names"] == ["blue", "green", "red", "nir"]
    command = ["import-model", str(package / f"model_4b_{level}.onnx"), "--output", str(output)]
    for name, values in (("--band", BANDS), ("--class", CLASSES)):
        command += [part for value in values for part in (name, value)]
    for name, values in (("--mean", means), ("--deviation", deviations)):
        command += [part for value in values for part in (name, str(value))]
    command += ["--kind", "segmentation", "--activation", "softmax"]
    return [*command, "--spacing", "1", "10", "10", "--unit", "meter", "--no-normalization"]


def imported(package: Path, level: str, output: Path) -> str:
    """Run the documented command; return what it prints."""
    done = CliRunner().invoke(app, import_command(package, level, output))
    assert done.exit_code == 0, done.output
    return done.output


def write_project(folder: Path, model: Path, scene: Image) -> None:
    """Write a scene as four tiles and as a mosaic, and a config and a sheet for both."""
    (folder / "config").mkdir(parents=True)
    for row in range(0, scene.shape[1], SIDE):
        for column in range(0, scene.shape[2], SIDE):
            tile = scene[:, row : row + SIDE, column : column + SIDE]
            write_tile(folder / "tiles", f"r{row}_c{column}", {"opt_v1": tile}, {"month": 6})
    write_mosaic(folder / "scene", scene)
    task: dict[str, Any] = {
        "kind": "segmentation",
        "model": str(model),
        "inference": {"precision": "float32", "overlap": 0.25},
    }
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"tasks": {"clouds": task}}))
    lines = (
        ("sample", "task", "source", "metadata"),
        ("tiles", "clouds", "tiles", "scale=1"),
        ("scene", "clouds", "scene/mosaic.tif", "scale=1"),
    )
    text = "".join("\t".join(line) + "\n" for line in lines)
    (folder / "config/samples.tsv").write_text(text)


def run(folder: Path, sample: str) -> None:
    """Run the stages of a sample in this process, in the project's folder."""
    project = read_project(folder / "config/config.yaml")
    run_chain(project, sample, Staleness(project))


def tile_classes(folder: Path) -> dict[tuple[int, int], NDArray[np.uint8]]:
    """Return the classes of the tiles by their first row and column."""
    found = {}
    for entry in read_ledger(folder / "results/tiles/tiles.tsv"):
        row, column = (int(part[1:]) for part in entry.name.split("_"))
        with np.load(entry.output) as stored:
            found[row, column] = stored["classes"]
    return found


def scene_classes(folder: Path) -> NDArray[np.uint8]:
    """Return the classes of the mosaic, (y, x)."""
    found: NDArray[np.uint8] = open_stored(folder / "results/scene/classes.ome.zarr").read()[0]
    return found


def overlaps(found: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Return the intersection over union of clouds and of shadows."""
    return {
        name: float(((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum())
        for k, name in enumerate(CLASSES)
        if k
    }
