"""DICOM series: slices in the files of a folder or zip archive, read as a volume."""
