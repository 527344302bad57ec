"""How a simulated patient is scanned: scanner effects, DICOM series, ground truth."""
