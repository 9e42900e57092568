"""How the axes of a scan point in the patient, and which of them a network takes the other way."""

from __future__ import annotations

import numpy as np

from parafovea.errors import GridError
from parafovea.settings.networks import ImageNetworkSpec
from parafovea.settings.recipe import Recipe
from parafovea.storage.store import Stored

#: The codes of the two ways along each axis of the patient.
WAYS = ("RL", "AP", "SI")


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
    network = recipe.network
    wanted = network.orientation if isinstance(network, ImageNetworkSpec) else ""
    affine = volume.attributes.get("source", {}).get("affine")
    if not wanted or affine is None:
        return ()
    # few networks state an orientation
    import nibabel

    found = "".join(nibabel.aff2axcodes(np.asarray(affine, dtype=np.float64)))
    if [_axis(code) for code in found] != [_axis(code) for code in wanted]:
        raise GridError(
            f"the axes x, y, z of the scan point to {found}, but the network takes {wanted}, whose "
            "axes have another order: store the scan with axes in that order "
            "(nibabel.as_closest_canonical for RAS), or as transverse slices"
        )
    pairs = enumerate(zip(found, wanted, strict=True))
    return tuple(sorted(2 - axis for axis, (has, takes) in pairs if has != takes))


def _axis(code: str) -> int:
    return next(axis for axis, ways in enumerate(WAYS) if code in ways)
