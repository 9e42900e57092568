"""Tiny seeded transformers, saved as `save_pretrained` writes them."""

from pathlib import Path

import pytest
from tiny_vit import saved_vit


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers: the real thing, small."""
    return saved_vit(tmp_path_factory.mktemp("vit") / "two", layers=2)


@pytest.fixture(scope="session")
def patch_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No layers: a token is its own patch's embedding, so positions can be told exactly."""
    return saved_vit(tmp_path_factory.mktemp("vit") / "none", layers=0)
