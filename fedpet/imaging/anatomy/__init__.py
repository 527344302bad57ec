"""Organs, bones and regions found on CT and PET by rules, and reference uptake."""
