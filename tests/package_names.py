"""Packages that are imported by another name than the index has."""

IMPORTED = {
    "connected-components-3d": "cc3d",
    "pillow": "PIL",
    "pynrrd": "nrrd",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}
