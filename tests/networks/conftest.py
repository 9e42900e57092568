"""Folders of the packages with real networks, which `make test-networks` installs apart."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from clouds import Image, phantom_scene
from numpy.typing import NDArray

#: Path of `tests/testfiles/sentinel2.npz` of dlr-eoc/ukis-csmask, a public image with its truth.
VARIABLE = "PARAFOVEA_CSMASK_IMAGE"


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed: run make test-networks")
    return Path(found.origin).parent


@pytest.fixture(scope="session")
def csmask() -> Path:
    """Return the folder of ukis_csmask with its networks."""
    return _folder("ukis_csmask")


@pytest.fixture(scope="session")
def brain_network() -> Path:
    """Return the file of deepbet's network."""
    return _folder("deepbet").parent / "data/models/model.pt"


@pytest.fixture(scope="session")
def scene() -> tuple[Image, NDArray[np.int64] | None]:
    """Return (4, y, x) reflectance and true classes: of the public image, or a phantom without."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return phantom_scene(), None
    with np.load(path) as stored:
        image, mask = stored["img"], stored["msk"][..., 0]
    # shadow, land, water, snow, cloud
    truth = np.array([2, 0, 0, 0, 1])[mask]
    return np.ascontiguousarray(np.clip(image[..., :4], 0, 1).transpose(2, 0, 1)), truth
