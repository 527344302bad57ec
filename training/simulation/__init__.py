"""Where patients come from: curation of a hospital's DICOM and CSV into node data, and the synthetic cohort."""
