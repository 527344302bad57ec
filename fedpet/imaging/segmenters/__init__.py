"""Organs from elsewhere: DICOM SEG, NIfTI with a label table, TotalSegmentator's files and TotalSegmentator itself."""
