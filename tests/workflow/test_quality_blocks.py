"""The quality of a volume in one block and in several: the same bytes."""

import re

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from parafovea.storage.layout import QUALITY, QUALITY_TABLE

pytestmark = pytest.mark.workflow

#: Two files along z and along x.
SHAPE = (70, 40, 290)


def test_one_block_and_several_have_the_same_quality(make_runnable, snakemake, planned, tmp_path):
    folder = make_runnable(tmp_path)
    smooth = ndimage.gaussian_filter(np.random.default_rng(5).random(SHAPE, dtype=np.float32), 2)
    image = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    tifffile.imwrite(folder.path / "data/long.tif", image, photometric="minisblack")
    truth = np.digitize(image, np.quantile(image, [0.6, 0.8])).astype(np.uint8)
    tifffile.imwrite(folder.path / "data/long_truth.tif", truth, photometric="minisblack")
    cell = folder.config["tasks"]["cell"]
    folder.rows = []
    for name, blocks in (("one", 1), ("three", 3)):
        folder.config["tasks"][name] = {**cell, "blocks": blocks}
        metadata = "spacing=16,16,16 unit=nanometer"
        folder.rows.append([name, name, "data/long.tif", "data/long_truth.tif", metadata])
    folder.write()
    jobs = planned(folder.path)
    assert (jobs["measure_quality_block"], jobs["measure_quality"]) == (3, 2)
    status, text = snakemake(folder.path)
    assert status == 0, text
    one, three = (
        [(folder.path / "results" / name / file).read_bytes() for file in (QUALITY, QUALITY_TABLE)]
        for name in ("one", "three")
    )
    assert three == one
    assert re.search(rb"\nvoi\.merge\t\d", one[1])
    assert planned(folder.path) == {}
