"""A tiny transformer for models of the upstream family."""

from pathlib import Path

import pytest
from tiny_vit import saved_vit


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a transformer of 32 channels."""
    return saved_vit(tmp_path_factory.mktemp("vit") / "two", layers=2)
