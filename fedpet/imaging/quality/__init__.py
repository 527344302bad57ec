"""Quality checks of a study, and pitfalls of FDG PET."""
