"""De-identification of DICOM by the confidentiality profiles of PS3.15 annex E."""
