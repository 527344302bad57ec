"""Reading DICOM: files, headers, pixels, geometry, choice of series."""
