import os
from pathlib import Path

import numpy as np
import pytest

from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box

ROOT = Path(os.environ.get("PARAFOVEA_REAL_DATA", "."))
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        "PARAFOVEA_REAL_DATA" not in os.environ,
        reason="PARAFOVEA_REAL_DATA does not say where the real data are",
    ),
]
NM = SourceMetadata(spacing=(50.0, 4.6, 4.6), unit="nanometer")


def test_sections_of_the_fly_are_a_stack():
    source = open_source(str(ROOT / "em/vnc/raw"), metadata=NM)
    assert source.grid.shape == (9, 1024, 1024)
    assert source.array.dtype == np.uint8


def test_membranes_of_the_fly_are_zero_and_one_although_files_differ_in_depth():
    source = open_source(str(ROOT / "em/vnc/membranes"), metadata=NM)
    assert np.unique(source.read(Box((0, 0, 0), (2, 256, 256)))).tolist() == [0, 1]


def test_the_scan_keeps_its_flipped_affine():
    source = open_source(str(ROOT / "ct/totalseg/example_ct.nii.gz"))
    assert source.grid.shape == (112, 101, 122)
    assert source.grid.spacing == (3, 3, 3)
    assert source.affine is not None


def test_the_training_image_of_gala_is_found_by_its_name():
    source = open_source(f"{ROOT}/em/gala/train-image.h5:stack", metadata=NM)
    assert source.grid.shape == (50, 100, 200)
