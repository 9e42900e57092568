"""DICOM series: slices in files of a folder or a zip archive become a volume."""
