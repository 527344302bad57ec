"""Headers of DICOM files: their parser, what an attribute says, dates and times, and whose they are."""
