"""DICOM objects of a report: SR, SEG, parametric map, encapsulated PDF."""
