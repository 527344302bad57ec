"""Node data: its format, writer and reader, and its preparation from a hospital's DICOM and table."""
