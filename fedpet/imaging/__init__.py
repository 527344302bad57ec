"""DICOM study -> calibrated volumes -> lesions -> quantities. No machine learning, no interface."""
