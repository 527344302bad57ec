"""Hot foci of a PET: found, described, told from physiological uptake, outlined."""
