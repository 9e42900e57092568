"""A small finished sample, made by hand: what the report stages read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from parafovea.geometry.grid import Box, Grid
from parafovea.stages.render_report import render_report
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import create

CLASSES = ("background", "mitochondrion", "nucleus")

METRICS = """metric\tvalue\tminimum\tmaximum\tpassed
seam_energy\t1.04\t\t1.2\tTrue
iou.mitochondrion\t0.5\t0.7\t\tFalse
voi.split\t0.25\t\t\t
arand.error\t\t\t0.1\t
"""

OBJECTS = """id\tclass\tvoxels\tvolume\tcentroid_z\tcentroid_y\tcentroid_x\tz0\tz1
1\tmitochondrion\t27\t110592\t32\t96\t96\t1\t4
2\tmitochondrion\t8\t32768\t64\t200\t96\t3\t5
3\tnucleus\t125\t512000\t64\t300\t300\t2\t7
"""


class Truth:
    """Labels in memory that remember which boxes were read."""

    path = "truth"

    def __init__(self, labels, grid):
        self.labels, self.grid, self.boxes = labels, grid, []

    def read(self, box: Box):
        self.boxes.append(box)
        return self.labels[box.slices]


def write_results(
    folder: Path,
    *,
    classes=CLASSES,
    metrics=METRICS,
    objects=OBJECTS,
    shape=(8, 32, 48),
    degraded=False,
) -> SampleResults:
    """Write a sample and return where it lies."""
    grid = Grid(shape, (16, 16, 16))
    results = SampleResults(folder)
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    labels[:, 4:12, 4:20] = 1
    labels[:, 16:30, 20:44] = len(classes) - 1
    image = (0.6 - 0.2 * labels + 0.1 * rng.random(shape)).clip(0, 1)
    chance = np.stack([np.where(labels == c, 0.8, 0.1) for c in range(len(classes))])
    made = {
        "stage": "blend_shards",
        "version": "1.2.3",
        "model": {"name": "cell", "sha256": "abcdef0123456789"},
        "degraded": degraded,
        "blending": {"window": [8, 16, 16], "starts": [list(range(9))]},
    }
    outputs = (
        (results.volume, image, "float16", None),
        (results.prediction, chance, "float16", classes),
        (results.classes, labels, "uint8", None),
        (results.objects, labels, "uint32", None),
    )
    for path, values, dtype, channels in outputs:
        record = dict(made) if channels else {"stage": path.name}
        with create(path, grid, dtype=dtype, channels=channels, attributes=record) as array:
            array[...] = values.astype(dtype)
    results.object_table.write_text(objects)
    results.quality_table.write_text(metrics)
    results.quality.write_text(json.dumps({"provenance": {"stage": "measure_quality"}}))
    return results


def render_sample(results, *, sample="cell", **options):
    """Run `render_report` on a sample's folder; return its page."""
    html = results.folder / "report.html"
    render_report(
        results.volume,
        results.prediction,
        results.classes,
        results.objects,
        results.object_table,
        results.quality,
        results.quality_table,
        html,
        *(results.figures / f"{name}.png" for name in ("overlays", "probabilities", "sizes")),
        results.thumbnail,
        sample=sample,
        **options,
    )
    return html
