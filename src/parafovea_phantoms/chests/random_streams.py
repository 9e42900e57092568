"""Numbers of the random generators of a chest; changing them changes the phantom of a seed."""

#: Generators of the anatomy.
BODY, SURFACES, ARTERIES, VEINS, AIRWAYS, POCKETS, NODULES, DECOYS, LAYERS, COUCH = range(200, 210)

#: Generators of the voxels, one per plane.
LUNG_TEXTURE, NOISE = 300, 301

#: Generators of what differs between scanners and patients.
VARIETY, MASSES, CHANGES = 210, 211, 212
