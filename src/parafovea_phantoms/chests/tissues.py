"""Region names and Hounsfield units of the tissues of a chest.

The values are in the ranges of Prokop and Galanski, Spiral and Multislice Computed Tomography of
the Body (Thieme, 2003), and Buzug, Computed Tomography (Springer, 2008), p. 475, without contrast
agent: fat -100 to -50, blood and liver 45 to 65, spleen 35 to 55, cortical bone 700 and more, the
lung in inspiration -910 to -850. Dependent parts of the lung are denser
(Verschakelen et al., AJR 161, 1993, 713-717).
"""

from __future__ import annotations

from dataclasses import dataclass

#: Regions by index; from "lung" on, all are inside the lungs.
REGIONS = (
    "air",
    "table",
    "skin",
    "fat",
    "muscle",
    "bone",
    "cartilage",
    "liver",
    "spleen",
    "heart",
    "blood",
    "gullet",
    "airway",
    "pocket",
    "decoy",
    "lung",
    "lung vessel",
    "bronchus",
    "nodule",
)
(
    AIR_REGION,
    TABLE_REGION,
    SKIN_REGION,
    FAT_REGION,
    MUSCLE_REGION,
    BONE_REGION,
    CARTILAGE_REGION,
    LIVER_REGION,
    SPLEEN_REGION,
    HEART_REGION,
    BLOOD_REGION,
    GULLET_REGION,
    AIRWAY_REGION,
    POCKET_REGION,
    DECOY_REGION,
    LUNG_REGION,
    LUNG_VESSEL_REGION,
    BRONCHUS_REGION,
    NODULE_REGION,
) = range(len(REGIONS))

#: Hounsfield units. The table is a carbon shell around foam.
AIR = -1000.0
TABLE_SHELL, TABLE_FOAM = -250.0, -930.0
SKIN, FAT, MUSCLE = 20.0, -104.0, 54.0
DENSE_BONE, SPONGY_BONE = 720.0, 190.0
CARTILAGE, DISC, CANAL = 105.0, 85.0, 22.0
LIVER, SPLEEN, HEART, BLOOD, GULLET = 58.0, 48.0, 43.0, 46.0, 36.0
AIRWAY_WALL, POCKET_WALL, FISSURE = 10.0, 40.0, -420.0

#: Hounsfield units of lung in the middle of the chest, and their increase per millimetre towards
#: posterior.
LUNG, LUNG_PER_MILLIMETRE = -882.0, 0.42

#: Standard deviation of the variation within fat and cancellous bone, and of the coarse and fine
#: variation of lung.
FAT_UNEVEN, BONE_UNEVEN, LUNG_COARSE, LUNG_FINE = 5.0, 35.0, 11.0, 20.0


@dataclass(frozen=True)
class Densities:
    """Hounsfield units that differ between patients.

    Parameters
    ----------
    blood, heart, liver, spleen : float
        Hounsfield units of organs, which a contrast agent raises.
    lung, lung_per_millimetre : float
        Lung in the middle of the chest, and its increase per millimetre towards posterior.
    lung_coarse, lung_fine : float
        Standard deviation of the coarse and of the fine variation of lung.
    holes : float
        How much less dense lung is where emphysema destroyed it; 0 without emphysema.
    """

    blood: float = BLOOD
    heart: float = HEART
    liver: float = LIVER
    spleen: float = SPLEEN
    lung: float = LUNG
    lung_per_millimetre: float = LUNG_PER_MILLIMETRE
    lung_coarse: float = LUNG_COARSE
    lung_fine: float = LUNG_FINE
    holes: float = 0.0


#: Those of a plain chest.
PLAIN_DENSITIES = Densities()
