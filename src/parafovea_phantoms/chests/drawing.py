"""Rendering of a chest's anatomy to noise-free Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Shape
from parafovea_phantoms.chests import tissues
from parafovea_phantoms.chests.circulation import with_walls
from parafovea_phantoms.chests.frame import Positions
from parafovea_phantoms.chests.plan import Chest
from parafovea_phantoms.chests.pockets import WALL
from parafovea_phantoms.chests.skeleton import CORTEX, plates, vertebrae
from parafovea_phantoms.chests.supersampling import SupersampledGrid
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field, Lattice, smoothstep


def draw(chest: Chest, fine: SupersampledGrid, slab: Box) -> tuple[Field, Field, NDArray[np.uint8]]:
    """Return a slab of a chest without nodules.

    Parameters
    ----------
    chest : Chest
        Anatomy of the chest.
    fine : SupersampledGrid
        The grid to draw on.
    slab : Box
        Voxels of the volume.

    Returns
    -------
    tuple
        (z, y, x) float32 Hounsfield units; float32 share of lung texture; uint8 regions.
    """
    box = slab.scaled(fine.factor)
    lattice = Lattice.over(fine.grid, length=1.0)
    canvas = Canvas(box.shape)
    drawing = _Drawing(chest, lattice, box, canvas, sum(fine.grid.spacing) / 3)
    drawing.table()
    drawing.body_wall()
    drawing.organs()
    drawing.spine()
    drawing.lungs()
    drawing.passages()
    drawing.pockets()
    drawing.skeleton()
    middle = tuple(slice(k // 2, None, k) for k in fine.factor)
    return (
        fine.averaged(canvas.values),
        fine.averaged(canvas.lung_texture),
        np.ascontiguousarray(canvas.regions[middle]),
    )


def share(inside: Field, width: float) -> Field:
    """Return the share of a voxel inside a structure, from the signed distance of its centre.

    Parameters
    ----------
    inside : ndarray
        (z, y, x) float32 signed distance in millimetres, positive inside.
    width : float
        Side of a voxel, in millimetres.
    """
    part: Field = np.clip(inside * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return part


class Canvas:
    """Hounsfield units and regions of a box; each tissue is painted over the earlier ones.

    Parameters
    ----------
    shape : tuple of int
        Voxels along z, y, x.

    Attributes
    ----------
    values : ndarray
        (z, y, x) float32 Hounsfield units, initially air.
    regions : ndarray
        (z, y, x) uint8 index into `tissues.REGIONS`.
    lung_texture : ndarray
        (z, y, x) float32 share of each voxel with lung texture.
    """

    def __init__(self, shape: Shape) -> None:
        self.values: Field = np.full(shape, tissues.AIR, dtype=np.float32)
        self.regions: NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
        self.lung_texture: Field = np.zeros(shape, dtype=np.float32)

    def paint(
        self, part: Field, value: float | Field, region: int | None, *, lung_texture: bool = False
    ) -> None:
        """Cover a share of each voxel with a tissue.

        Parameters
        ----------
        part : ndarray
            (z, y, x) float32 share, in [0, 1].
        value : float or ndarray
            Hounsfield units.
        region : int or None
            Region of voxels that are at least half covered; None leaves regions unchanged.
        lung_texture : bool
            Whether the tissue has lung texture.
        """
        if not part.any():
            return
        self.values += part * (value - self.values)
        self.lung_texture += part * ((1.0 if lung_texture else 0.0) - self.lung_texture)
        if region is not None:
            self.regions[part >= 0.5] = region


@dataclass(frozen=True)
class _Drawing:
    """Renderer of the anatomy in a box, tissue by tissue."""

    chest: Chest
    lattice: Lattice
    box: Box
    canvas: Canvas
    width: float

    @property
    def _densities(self) -> tissues.Densities:
        return self.chest.look.densities

    def _at(self, field: Field) -> Field:
        return self.lattice.sample(field, self.box)

    def _frame(self, box: Box) -> Positions:
        return self.chest.thorax.frame.inside(self.lattice.voxel_positions(box))

    def _paint(self, inside: Field, value: float | Field, region: int | None) -> None:
        self.canvas.paint(share(inside, self.width), value, region)

    def _tubes(self, tubes: Tubes, value: float, region: int | None) -> None:
        part = tubes.coverage(self.lattice, self.box, self.width)
        self.canvas.paint(part, value, region)

    def table(self) -> None:
        frame = self.chest.thorax.frame
        _, y, x = (
            p - np.float32(c)
            for p, c in zip(self.lattice.voxel_positions(self.box), frame.centre, strict=True)
        )
        top = np.float32(124 * frame.scale) - x * x * np.float32(1 / 1100)
        depth = y - top
        outer = np.minimum(np.minimum(depth, 38 - depth), 205 - np.abs(x))
        outer = np.broadcast_to(outer, self.box.shape)
        self._paint(outer, tissues.TABLE_SHELL, tissues.TABLE_REGION)
        self._paint(outer - np.float32(2.5), tissues.TABLE_FOAM, None)

    def body_wall(self) -> None:
        thorax = self.chest.thorax
        broad, patchy = self._at(thorax.layers[0]), self._at(thorax.layers[1])
        skin, out = self._at(thorax.skin), -self._at(thorax.cavity)
        self._paint(skin, tissues.SKIN, tissues.SKIN_REGION)
        fat = tissues.FAT + np.float32(tissues.FAT_UNEVEN) * self._at(thorax.layers[2])
        self._paint(skin - np.float32(1.8), fat, tissues.FAT_REGION)
        z, y, x = self._frame(self.box)
        # More fat at the flanks and in front than over the back.
        thick = 11 + 3 * broad + np.float32(0.025) * np.abs(x) - np.float32(0.02) * y
        armpit = 1 - np.sqrt(
            ((z - 40) / 50) * ((z - 40) / 50)
            + ((y - 2) / 36) * ((y - 2) / 36)
            + ((np.abs(x) - 126) / 24) * ((np.abs(x) - 126) / 24)
        )
        muscle = np.minimum(skin - thick, -22 * armpit + 2 * patchy)
        muscle = np.maximum(muscle, np.minimum(12 - out, skin - 5))
        for depth, phase in ((15.0, broad), (27.0, patchy)):
            sheet = np.abs(out - np.float32(depth) - 2.5 * phase) - np.float32(0.9)
            gate = (np.float32(0.4) - patchy * phase) * 4
            muscle = np.minimum(muscle, np.maximum(sheet, -gate))
        self._paint(muscle, tissues.MUSCLE, tissues.MUSCLE_REGION)
        self._paint(-out, fat, tissues.FAT_REGION)

    def organs(self) -> None:
        thorax = self.chest.thorax
        above, cavity = self._at(thorax.above), self._at(thorax.cavity)
        band = np.minimum(np.minimum(cavity, -above), above + np.float32(3.5))
        self._paint(band, tissues.MUSCLE, tissues.MUSCLE_REGION)
        for field, value, region in (
            (thorax.liver, self._densities.liver, tissues.LIVER_REGION),
            (thorax.spleen, self._densities.spleen, tissues.SPLEEN_REGION),
        ):
            self._paint(self._at(field), value, region)
        heart = np.minimum(self._at(thorax.heart) - 2, above)
        self._paint(heart, self._densities.heart, tissues.HEART_REGION)

    def spine(self) -> None:
        # The spine lies within this distance of its axis.
        frame = self.chest.thorax.frame
        near = 62 * frame.scale
        middle = frame.placed(np.array([[0.0, 70.0, 0.0]]))[0]
        step = np.array(self.lattice.voxel)
        start = np.maximum(np.floor((middle - near) / step).astype(int), 0)
        stop = np.ceil((middle + near) / step).astype(int)
        part = Box(
            (self.box.start[0], int(start[1]), int(start[2])),
            (self.box.stop[0], int(stop[1]), int(stop[2])),
        ).intersection(self.box)
        if part.size == 0:
            return
        canvas = Canvas(part.shape)
        here = part.relative_to(self.box.start).slices
        for name in ("values", "regions", "lung_texture"):
            getattr(canvas, name)[...] = getattr(self.canvas, name)[here]
        bone, disc, canal = (frame.scale * f for f in vertebrae(self._frame(part)))
        skin = self.lattice.sample(self.chest.thorax.skin, part)
        bone = np.minimum(bone, skin - np.float32(4))
        uneven = self.lattice.sample(self.chest.thorax.layers[3], part)
        spongy = tissues.SPONGY_BONE + np.float32(tissues.BONE_UNEVEN) * uneven
        for inside, value, region in (
            (canal, tissues.CANAL, tissues.MUSCLE_REGION),
            (disc, tissues.DISC, tissues.CARTILAGE_REGION),
            (bone, tissues.DENSE_BONE, tissues.BONE_REGION),
            (bone - np.float32(CORTEX), spongy, None),
        ):
            canvas.paint(share(inside, self.width), value, region)
        for name in ("values", "regions", "lung_texture"):
            getattr(self.canvas, name)[here] = getattr(canvas, name)

    def lungs(self) -> None:
        thorax = self.chest.thorax
        part = share(self._at(thorax.lung), self.width)
        if part.any():
            self.canvas.paint(part, self._lung_texture(), tissues.LUNG_REGION, lung_texture=True)
            _, _, x = self._frame(self.box)
            major, minor = self._at(thorax.major), self._at(thorax.minor)
            right = np.clip(-x, 0, 1) * np.clip(-major, 0, 1)
            self.canvas.paint(self._sheet(major) * part, tissues.FISSURE, None)
            self.canvas.paint(self._sheet(minor) * part * right, tissues.FISSURE, None)
            self._inside_lungs(
                self.chest.vessels, self._densities.blood, tissues.LUNG_VESSEL_REGION
            )
            outer = with_walls(self.chest.airways)
            self._inside_lungs(outer, tissues.AIRWAY_WALL, tissues.BRONCHUS_REGION)
            self._inside_lungs(self.chest.airways, tissues.AIR, tissues.BRONCHUS_REGION)

    def _sheet(self, beside: Field) -> Field:
        """Return the share of each voxel in a sheet of one millimetre, thinner than a voxel."""
        inside: Field = np.float32(0.5) - np.abs(beside)
        return share(inside, self.width) * np.float32(min(1.0, 1.0 / self.width))

    def _inside_lungs(self, tubes: Tubes, value: float, region: int) -> None:
        """Draw tubes; voxels outside of the lungs keep their region."""
        part = tubes.coverage(self.lattice, self.box, self.width)
        inside = self.canvas.regions >= tissues.LUNG_REGION
        self.canvas.paint(part, value, None)
        self.canvas.regions[inside & (part >= 0.5)] = region

    def _lung_texture(self) -> Field:
        """Return the Hounsfield units of lung, which is denser in dependent parts."""
        _, y, _ = self._frame(self.box)
        coarse = self._at(self.chest.thorax.layers[2])
        value: Field = (
            self._densities.lung
            + np.float32(self._densities.lung_per_millimetre) * y
            + np.float32(self._densities.lung_coarse) * coarse
        )
        if self._densities.holes:
            patches = smoothstep(self._at(self.chest.thorax.layers[3]), 0.2, 1.2)
            value = np.maximum(value - np.float32(self._densities.holes) * patches, -990)
        return value

    def pockets(self) -> None:
        inside = self._at(self.chest.pockets.inside)
        self._paint(inside + np.float32(WALL), tissues.POCKET_WALL, tissues.POCKET_REGION)
        part = share(inside, self.width)
        if part.any():
            self.canvas.paint(part, self._lung_texture(), tissues.POCKET_REGION, lung_texture=True)
            strands = self.chest.pockets.strands.coverage(self.lattice, self.box, self.width)
            self.canvas.paint(strands * part, tissues.BLOOD, None)

    def passages(self) -> None:
        through = self.chest.passages
        self._tubes(through.gullet, tissues.GULLET, tissues.GULLET_REGION)
        self._tubes(through.vessels, self._densities.blood, tissues.BLOOD_REGION)
        outer = with_walls(through.airways)
        self._tubes(outer, tissues.AIRWAY_WALL, tissues.AIRWAY_REGION)
        self._tubes(through.airways, tissues.AIR, tissues.AIRWAY_REGION)

    def skeleton(self) -> None:
        bones, thorax = self.chest.bones, self.chest.thorax
        self._tubes(bones.cartilage, tissues.CARTILAGE, tissues.CARTILAGE_REGION)
        self._tubes(bones.bone, tissues.DENSE_BONE, tissues.BONE_REGION)
        self._tubes(bones.bone.thicker(-CORTEX), tissues.SPONGY_BONE, None)
        scale = np.float32(thorax.frame.scale)
        plate = plates(self._frame(self.box), -self._at(thorax.cavity) / scale) * scale
        plate = np.minimum(plate, self._at(thorax.skin) - 9)
        self._paint(plate, tissues.DENSE_BONE, tissues.BONE_REGION)
        self._paint(plate - np.float32(CORTEX), tissues.SPONGY_BONE, None)
