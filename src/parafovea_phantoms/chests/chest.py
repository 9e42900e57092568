"""A phantom chest in computed tomography, with nodules in the lungs and decoys elsewhere.

Locally, nodules and decoys are identical: a round lesion in dark lung texture, with strands around
it. Only the context shows that one is in a lung and the other in a stomach, a hernia or an armpit.
Inside the lungs, vessels and their bifurcations are bright and round without being nodules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.errors import ConfigError
from parafovea.geometry.drawn_slices import drawn_slices
from parafovea.geometry.grid import Box, Grid, Shape, Vector, shape3, vector3
from parafovea_phantoms.chests.change_drawing import draw_changes
from parafovea_phantoms.chests.circulation import with_walls
from parafovea_phantoms.chests.drawing import draw
from parafovea_phantoms.chests.frame import require_chest
from parafovea_phantoms.chests.lesion_drawing import add_lesion
from parafovea_phantoms.chests.lesion_kinds import varied_lesion
from parafovea_phantoms.chests.lesion_placement import PLAIN_MANNER, Manner, Region, place, sizes
from parafovea_phantoms.chests.lesions import DrawnLesion, Lesion, draw_lesion, smallest_diameter
from parafovea_phantoms.chests.masses import place_masses
from parafovea_phantoms.chests.motion import moved
from parafovea_phantoms.chests.plan import Chest, plan_chest
from parafovea_phantoms.chests.random_streams import COUCH, DECOYS, MASSES, NODULES
from parafovea_phantoms.chests.scanner import scanned
from parafovea_phantoms.chests.supersampling import SupersampledGrid
from parafovea_phantoms.chests.tissues import DECOY_REGION, LUNG_REGION, NODULE_REGION, REGIONS
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.chests.variety import drawn_variety
from parafovea_phantoms.lattice import Field, random_stream
from parafovea_phantoms.phantom import Finding, Phantom

CHEST_CLASSES = ("background", "nodule")

#: Numbers of nodules and decoys to attempt.
FEWEST, MOST = 5, 10

#: How lesions are placed in varied chests.
VARIED_MANNER = Manner(at_wall=0.3, at_vessel=0.35, crossed=0.15, pressed=(0.6, 0.98))

#: How much more frequent small lesions are in varied chests: added to an exponent.
SMALL = 0.6

#: Voxels that are drawn at a time, to bound memory.
SLAB_VOXELS = 6_000_000


def chest_phantom(
    seed: int,
    *,
    shape: Shape,
    spacing: Vector,
    unit: str = "millimeter",
    variety: float = 0.0,
) -> Phantom:
    """Return a phantom chest with its ground truth.

    Classes: 0 background, 1 nodule. The world is that of DICOM (LPS), in millimetres. Nodules have
    diameters of 3 to 30 mm; if the diagonal of a voxel is longer than 3 mm, it is the smallest
    diameter (`smallest_diameter`).

    Parameters
    ----------
    seed : int
        Random seed, not negative. The same seed, shape and spacing give the same bytes.
    shape : tuple of int
        Voxels along z, y, x.
    spacing : tuple of float
        Distance between voxels along z, y, x, in `unit`, at most 10 mm. The body is scaled to the
        field of view, which must be at least 204 x 177 x 248 mm.
    unit : str
        Name of the unit of the spacing; the phantom's grid is in millimetres.
    variety : float
        Chance and strength of what differs between real scanners and patients, from 0 to 1: see
        `parafovea_phantoms.chests.variety`. Above 0, the distance between slices is drawn and the
        shape differs along z (`parafovea.geometry.drawn_slices`), and there can be a mass of 30 to
        70 mm among the nodules.

    Returns
    -------
    Phantom
        The image in Hounsfield units; `objects` and `findings` are the nodules, `decoys` the
        centres of the decoys, `regions` the tissues.

    Raises
    ------
    ConfigError
        If the seed is negative, the variety is not in [0, 1], the field of view is too small or the
        spacing is too coarse.
    GridError
        If the shape, spacing or unit are invalid.
    """
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative: use 0 or a positive integer")
    grid = Grid(shape3(shape), vector3(spacing, "spacing"), unit=unit).converted("millimeter")
    require_chest(grid)
    if not 0 <= variety <= 1:
        raise ConfigError(f"variety {variety:g} is out of range: use 0 to 1")
    grid = drawn_slices(grid, seed, variety)
    fine = SupersampledGrid.of(grid)
    chest = plan_chest(seed, fine.grid, drawn_variety(seed, variety))
    nodules, decoys = _lesions(seed, chest, grid.spacing)
    drawn = [
        (draw_lesion(lesion, fine.lattice, within=grid.box), region)
        for lesions, region in ((nodules, NODULE_REGION), (decoys, DECOY_REGION))
        for lesion in lesions
    ]
    image = np.empty(grid.shape, dtype=np.int16)
    regions = np.empty(grid.shape, dtype=np.uint8)
    planes = max(1, SLAB_VOXELS // (fine.grid.size // grid.shape[0]))
    for slab in grid.box.tiles((planes, *grid.shape[1:])):
        values, lung_texture, regions[slab.slices] = _drawn(chest, fine, slab, drawn)
        image[slab.slices] = scanned(seed, values, lung_texture, slab, chest=chest, fine=fine)
    objects = np.zeros(grid.shape, dtype=np.uint32)
    found = [body for body, region in drawn if region == NODULE_REGION]
    for number, body in enumerate(found, start=1):
        objects[body.box.slices][body.mask] = number
    for body, region in drawn:
        regions[body.box.slices][body.mask] = region
    placed = _in_world(seed, grid)
    return Phantom(
        image,
        (objects > 0).astype(np.uint8),
        objects,
        placed,
        CHEST_CLASSES,
        tuple(fine.index(lesion.centre) for lesion in decoys),
        regions,
        REGIONS,
        tuple(Finding(placed.world(fine.index(n.centre)), n.diameter) for n in nodules),
    )


def _drawn(
    chest: Chest, fine: SupersampledGrid, slab: Box, bodies: Sequence[tuple[DrawnLesion, int]]
) -> tuple[Field, Field, NDArray[np.uint8]]:
    """Return a slab of a chest with its lesions, in slices as thick as the scanner's."""
    profile = chest.look.reconstruction.profile(fine.lattice.voxel[0])
    margin = len(profile) // 2
    whole = Box.whole(shape3([n // k for n, k in zip(fine.grid.shape, fine.factor, strict=True)]))
    wide = slab.expanded((margin, 0, 0)).intersection(whole)
    values, lung_texture, regions = draw(chest, fine, wide)
    if chest.changes is not None:
        draw_changes(
            chest.changes,
            fine.lattice,
            wide,
            lung=chest.look.densities.lung - chest.look.densities.holes,
            values=values,
            lung_texture=lung_texture,
            regions=regions,
        )
    for body, _ in bodies:
        add_lesion(body, fine.lattice, wide, values=values, lung_texture=lung_texture)
    values = moved(values, chest.look.motion, chest.thorax, fine.lattice, wide)
    if margin:
        values = ndimage.correlate1d(values, profile, axis=0, mode="nearest")
    inner = slab.relative_to(wide.start).slices
    return values[inner], lung_texture[inner], np.ascontiguousarray(regions[inner])


def _lesions(seed: int, chest: Chest, spacing: Vector) -> tuple[list[Lesion], list[Lesion]]:
    """Return the nodules and the decoys, which differ only in their location."""
    smallest = smallest_diameter(spacing)
    lattice = chest.thorax.lattice
    wide = chest.vessels.selected(chest.vessels.first > 2.6)
    keep_away = Tubes.together([wide, with_walls(chest.airways)])
    lung = chest.thorax.lung
    if chest.changes is not None:
        lung = chest.changes.clear(lung)
    lungs = Region(lattice, lung, chest.vessels)
    pockets = Region(lattice, chest.pockets.inside, chest.pockets.strands)
    look, manner = chest.look, PLAIN_MANNER
    if look.strength:
        manner = replace(VARIED_MANNER, make=partial(varied_lesion, variety=look.strength))
    cavity = chest.thorax.cavity
    masses = place_masses(random_stream(seed, MASSES), lungs, cavity, look.masses)
    small = 1 + SMALL * look.strength
    found: list[list[Lesion]] = []
    for stream, region, avoided, there in (
        (NODULES, lungs, keep_away, masses),
        (DECOYS, pockets, wide, []),
    ):
        rng = random_stream(seed, stream)
        wanted = sizes(rng, int(rng.integers(FEWEST, MOST + 1)), smallest=smallest, small=small)
        placed = place(
            rng,
            region,
            wanted,
            smallest=smallest,
            keep_away=avoided,
            manner=manner,
            others=there,
        )
        found.append([*there, *placed])
    return found[0], found[1]


def _in_world(seed: int, grid: Grid) -> Grid:
    """Return the grid with a realistic world origin.

    The isocentre lies near the middle of the body; z depends on the zero position of the couch.
    """
    rng = random_stream(seed, COUCH)
    middle = [float(v) for v in rng.uniform((-420, -170, -12), (-120, -140, 12))]
    origin = [
        round(m - (n - 1) * s / 2, 3)
        for m, n, s in zip(middle, grid.shape, grid.spacing, strict=True)
    ]
    return Grid(grid.shape, grid.spacing, vector3(origin), grid.unit)


def lung_mask(phantom: Phantom) -> NDArray[np.bool_]:
    """Return the mask of the lungs with everything inside them: (z, y, x) bool."""
    if phantom.regions is None or phantom.region_names != REGIONS:
        raise ConfigError("this phantom has no lungs: use phantom chest")
    return np.asarray(phantom.regions >= LUNG_REGION)
