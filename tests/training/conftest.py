"""The sample that the tests of training share."""

from __future__ import annotations

import pytest
from tiny_sample import tiny_recipe
from tiny_training import training_sample

from parafovea.settings.recipe import Recipe
from parafovea.training.samples import TrainingSample


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Return the recipe of the 3D samples here."""
    return tiny_recipe(window=(16, 16, 16))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> TrainingSample:
    """Return a sample of (20, 24, 40) voxels with context."""
    return training_sample(tmp_path_factory.mktemp("training") / "train", recipe, (20, 24, 40))
