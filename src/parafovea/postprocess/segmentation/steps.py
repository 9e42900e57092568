"""The steps from class probabilities to objects, by the settings of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.postprocess.segmentation.clean import Cleaning, Holes, SmallComponents
from parafovea.postprocess.segmentation.objects import Objects
from parafovea.settings.postprocess import ClassSettings, resolve_classes


@dataclass(frozen=True)
class Steps:
    """The steps after the classification of voxels.

    Parameters
    ----------
    names : tuple of str
        Names of all classes, the background first.
    settings : tuple of ClassSettings
        Settings of every class except the background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    """

    names: tuple[str, ...]
    settings: tuple[ClassSettings, ...]
    connectivity: int

    @classmethod
    def of(
        cls,
        class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
        names: Sequence[str],
        *,
        connectivity: int,
    ) -> Steps:
        """Return the steps for settings by class name; other classes use the defaults.

        Raises
        ------
        ConfigError
            If a name is not a class.
        """
        chosen = {name: ClassSettings.model_validate(each) for name, each in class_settings.items()}
        return cls(tuple(names), resolve_classes(chosen, names), connectivity)

    @property
    def small(self) -> SmallComponents:
        """Removal of small components."""
        return SmallComponents([s.min_voxels for s in self.settings], self.connectivity)

    @property
    def holes(self) -> Holes:
        """Filling of holes."""
        fills = [s.fill_holes for s in self.settings]
        return Holes.around(fills, connectivity=self.connectivity)

    @property
    def cleanings(self) -> list[Cleaning[Any]]:
        """The changes of classes that the settings ask for, in order."""
        found: list[Cleaning[Any]] = []
        if any(s.removes_small for s in self.settings):
            found.append(self.small)
        if any(s.fill_holes for s in self.settings):
            found.append(self.holes)
        return found

    @property
    def objects(self) -> Objects:
        """Labelling of objects."""
        return Objects([s.instances for s in self.settings], self.connectivity)

    @property
    def splits(self) -> bool:
        """Whether objects are split."""
        return any(s.splits for s in self.settings)
