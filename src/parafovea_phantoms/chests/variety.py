"""What differs between real scanners and patients, and not between plain phantom chests.

A chest's variety, from 0 to 1, is the chance and the strength of each. The ranges and shares are
assumptions, meant to be wider than what one hospital has; they are measured on no set of scans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from parafovea_phantoms.chests.changes import UNCHANGED, ChangeSizes
from parafovea_phantoms.chests.motion import STILL, Motion
from parafovea_phantoms.chests.random_streams import VARIETY
from parafovea_phantoms.chests.reconstruction import STANDARD, Reconstruction
from parafovea_phantoms.chests.tissues import PLAIN_DENSITIES, Densities
from parafovea_phantoms.lattice import random_stream

#: Range of the noise by dose, of slice thickness in millimetres, and of Hounsfield units of blood
#: with a contrast agent and of lung.
DOSE_NOISE, THICKNESS = (0.5, 3.0), (0.6, 5.0)
ENHANCED, LUNG = (100.0, 300.0), (-780.0, -930.0)

#: Share of varied chests with a contrast agent, with emphysema, with a mass, in a round view.
CONTRAST, EMPHYSEMA, MASS, ROUND = 0.55, 0.3, 0.35, 0.4

#: Share of varied chests with motion of the heart and of the diaphragm, and greatest displacements
#: in millimetres.
BEATING, BREATHING, BEAT, BREATH = 0.6, 0.3, 4.0, 7.0

#: Share of varied chests with each change of lung and pleura.
PLEURA, FLUID, CONSOLIDATION, PLATES, SCARS, PLUGS = 0.3, 0.15, 0.4, 0.4, 0.4, 0.25


@dataclass(frozen=True)
class ChestVariety:
    """All that was drawn for one chest.

    Parameters
    ----------
    strength : float
        The variety: chance that a lesion is of a kind that plain chests lack.
    reconstruction : Reconstruction
        Settings of the scanner.
    densities : Densities
        Hounsfield units of the patient.
    shrink : float
        Size of the body relative to that of a plain chest in this field of view.
    masses : int
        Number of masses to attempt: lesions above 30 mm.
    motion : Motion
        Motion of heart and diaphragm.
    changes : ChangeSizes
        Changes of lung and pleura that are no lesions.
    """

    strength: float = 0.0
    reconstruction: Reconstruction = STANDARD
    densities: Densities = PLAIN_DENSITIES
    shrink: float = 1.0
    masses: int = 0
    motion: Motion = STILL
    changes: ChangeSizes = UNCHANGED


#: A chest without variety.
PLAIN = ChestVariety()


def drawn_variety(seed: int, variety: float) -> ChestVariety:
    """Return what is drawn for the chest of a seed; with a variety of 0, what is plain."""
    if variety == 0:
        return PLAIN
    scanner, patient, disease, motion, changes = (
        random_stream(seed, VARIETY, subject) for subject in range(5)
    )
    shrink = 1 - 0.16 * variety * float(patient.uniform())
    return ChestVariety(
        variety,
        _reconstruction(scanner, variety),
        _densities(patient, variety),
        shrink,
        masses=int(disease.uniform() < MASS * variety),
        motion=_motion(motion, variety),
        changes=_changes(changes, variety),
    )


def _reconstruction(rng: np.random.Generator, variety: float) -> Reconstruction:
    """Draw the settings of a scanner."""
    dose, sharp, thick, chance, round_view = rng.uniform(size=5)
    low, high = DOSE_NOISE
    noise = low * (high / low) ** float(dose)
    sharp = (2 * float(sharp) - 1) * variety
    thickness = THICKNESS[0] * (THICKNESS[1] / THICKNESS[0]) ** float(thick)
    made = Reconstruction(
        noise=noise**variety,
        thickness=thickness if chance < variety else 0.0,
        round_view=bool(round_view < ROUND * variety),
    )
    if sharp > 0:
        return replace(
            made,
            noise=made.noise * (1 + 0.8 * sharp),
            edge=0.9 * sharp,
            grain=made.grain * (1 - 0.6 * sharp),
            drift=made.drift + 0.25 * sharp,
        )
    return replace(
        made,
        noise=made.noise * (1 + 0.45 * sharp),
        blur=made.blur - 0.9 * sharp,
        grain=made.grain - 1.1 * sharp,
    )


def _densities(rng: np.random.Generator, variety: float) -> Densities:
    """Draw the Hounsfield units of a patient."""
    plain = PLAIN_DENSITIES
    contrast, blood, heart, organs, lung, dependent, coarse, fine, emphysema, holes = (
        float(v) for v in rng.uniform(size=10)
    )
    made = replace(
        plain,
        lung=plain.lung + variety * (LUNG[0] + lung * (LUNG[1] - LUNG[0]) - plain.lung),
        lung_per_millimetre=plain.lung_per_millimetre * (3 * dependent) ** variety,
        lung_coarse=plain.lung_coarse * (1 + 2 * variety * coarse),
        lung_fine=plain.lung_fine * (1 + variety * (1.3 * fine - 0.6)),
        holes=120 * holes if emphysema < EMPHYSEMA * variety else 0.0,
    )
    if contrast >= CONTRAST * variety:
        return made
    level = ENHANCED[0] + blood * (ENHANCED[1] - ENHANCED[0])
    return replace(
        made,
        blood=level,
        heart=plain.heart + (0.55 + 0.4 * heart) * (level - plain.heart),
        liver=plain.liver + 50 * organs,
        spleen=plain.spleen + 70 * organs,
    )


def _motion(rng: np.random.Generator, variety: float) -> Motion:
    """Draw the motion during a scan."""
    beats, beat, breathes, breath, axis, doubled = (float(v) for v in rng.uniform(size=6))
    return Motion(
        heart=variety * (1 + (BEAT - 1) * beat) if beats < BEATING * variety else 0.0,
        diaphragm=variety * (1 + (BREATH - 1) * breath) if breathes < BREATHING * variety else 0.0,
        axis=1 if axis < 0.5 else 2,
        doubled=doubled < 0.5,
    )


def _changes(rng: np.random.Generator, variety: float) -> ChangeSizes:
    """Draw how much of lung and pleura is changed."""
    chance = [float(v) for v in rng.uniform(size=6)]
    pleura, calcified, calcium, fluid, dense, dense_value, side = (
        float(v) for v in rng.uniform(size=7)
    )
    happens = [
        value < share * variety
        for value, share in zip(
            chance, (PLEURA, FLUID, CONSOLIDATION, PLATES, SCARS, PLUGS), strict=True
        )
    ]
    return ChangeSizes(
        pleura=3 + 7 * pleura if happens[0] else 0.0,
        pleura_value=150 + 350 * calcium if calcified < 0.3 else 45.0,
        fluid=10 + 25 * fluid if happens[1] else 0.0,
        consolidation=6 + 24 * dense if happens[2] else 0.0,
        consolidation_value=-650 + 680 * min(1.0, 1.6 * dense_value),
        sides=(-1,) if side < 0.35 else (1,) if side < 0.7 else (-1, 1),
        plates=happens[3],
        scars=happens[4],
        plugs=happens[5],
    )
