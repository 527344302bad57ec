"""From a hospital's data warehouse (OSIRIS-RWD, OMOP CDM, FHIR) to the table of a study, each value with its source."""
