"""Names of the random streams of a chest; the numbers are part of what a seed means."""

#: Of the plan.
BODY, SURFACES, ARTERIES, VEINS, AIRWAYS, POCKETS, NODULES, DECOYS, LAYERS, COUCH = range(200, 210)

#: Of the voxels, plane by plane.
LUNG_TEXTURE, NOISE = 300, 301
