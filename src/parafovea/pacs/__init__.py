"""Exchange with picture archives: series in, results as DICOM objects back."""
