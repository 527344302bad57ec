"""Simulated patients: population, centres, metastases, clinical record and true risk."""
