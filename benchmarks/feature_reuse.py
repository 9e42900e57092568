"""Row `features`: features once per sample, against once per window."""

from __future__ import annotations

import logging

import numpy as np
import torch

from benchmarks.measure import in_turns, whole
from benchmarks.samples import Bench, Sized, make_volume, read_fused_spec, times
from benchmarks.stages import extract_local
from benchmarks.table import Row, ratio_row
from parafovea.backbones import load_backbone
from parafovea.backbones.backbone import Backbone
from parafovea.backbones.views import View
from parafovea.geometry.grid import Shape
from parafovea.geometry.windows import Layout
from parafovea.storage.store import open_stored

logger = logging.getLogger(__name__)

NAME = "features"

#: Voxels of the volume.
SIZE = Sized[Shape](full=(128, 160, 160), quick=(64, 96, 96))

OVERLAP = 0.5


def _every_window(view: View, backbone: Backbone, layout: Layout) -> None:
    """Compute the features of each window anew, with the surroundings that make them the same."""
    for box in layout.windows():
        voxels = np.ascontiguousarray(view.read(box.expanded(backbone.halo)), dtype=np.float32)
        with torch.inference_mode():
            backbone(torch.from_numpy(voxels))


def run(bench: Bench) -> list[Row]:
    """Measure the features stage, written to disk, against features of every window in memory."""
    spec = read_fused_spec(bench.model)
    shape = bench.of(SIZE)
    logger.info("  preparing a phantom")
    inputs = make_volume(bench.scratch, spec, shape=shape)
    volume = open_stored(inputs.volume)
    backbone = load_backbone(
        spec.backbone, spacing=spec.spacing, dimensions=spec.network.dimensions
    )
    layout = Layout.regular(shape, spec.window, overlap=OVERLAP)
    view = View(volume, volume.grid)
    seconds = in_turns(
        {
            "every window": whole(lambda: _every_window(view, backbone, layout)),
            "once": whole(lambda: extract_local(inputs, spec)),
        },
        repeats=bench.rounds(3),
    )
    place = f"{times(shape)} voxels, {layout.lattice.size} windows, overlap {OVERLAP}"
    return [
        ratio_row(
            NAME,
            "time of the same local features for each window over once per sample",
            seconds,
            ("every window", "once"),
            note=f"{spec.backbone.name}, {place}",
        )
    ]
