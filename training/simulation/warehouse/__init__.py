"""The synthetic cohort as a hospital's data warehouse holds it: OSIRIS-RWD, OMOP CDM 5.4, FHIR R4."""
