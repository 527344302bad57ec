"""The protocols of a PACS: DIMSE and DICOMweb, query, transfer, storage."""
