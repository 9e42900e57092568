"""The axes of a volume that are flipped for a network."""

from __future__ import annotations

from parafovea.geometry.scan_orientation import axis_flips
from parafovea.settings.recipe import Recipe
from parafovea.storage.store import Stored


def flipped_axes(volume: Stored, recipe: Recipe) -> tuple[int, ...]:
    """Return the axes of a volume that are flipped for the network of a model.

    Parameters
    ----------
    volume : Stored
        The volume, with the record of its source.
    recipe : Recipe
        The model, whose network may state the orientation of its input.

    Returns
    -------
    tuple of int
        0, 1 and 2 for z, y and x; none where the network states no orientation, or the source has
        no place in a patient.

    Raises
    ------
    GridError
        If other axes of the scan point along the patient than the network takes.
    """
    affine = volume.attributes.get("source", {}).get("affine")
    return () if affine is None else axis_flips(affine, recipe.orientation)
