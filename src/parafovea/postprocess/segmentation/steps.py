"""The steps from class probabilities to objects, by the settings of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.chain.cleaning import cleanings_of
from parafovea.postprocess.segmentation.block_components import Step
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
    def cleanings(self) -> dict[str, Cleaning[Any]]:
        """The changes of classes that the settings ask for, by name, in order."""
        made: dict[str, Cleaning[Any]] = {
            "small": SmallComponents([s.min_voxels for s in self.settings], self.connectivity),
            "holes": Holes.around(
                [s.fill_holes for s in self.settings], connectivity=self.connectivity
            ),
        }
        return {name: made[name] for name in cleanings_of(self._plain)}

    @property
    def objects(self) -> Objects:
        """Labelling of objects."""
        return Objects([s.instances for s in self.settings], self.connectivity)

    def after(self, cleaning: str | None = None) -> Step[Any]:
        """Return the first step, or the one after a cleaning."""
        names = list(self.cleanings)
        following = names if cleaning is None else names[names.index(cleaning) + 1 :]
        return self.cleanings[following[0]] if following else self.objects

    @property
    def _plain(self) -> list[dict[str, Any]]:
        return [each.model_dump() for each in self.settings]
