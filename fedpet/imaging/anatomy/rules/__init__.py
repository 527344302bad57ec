"""Organs by rules on location, density and uptake: the last resort, where no segmentation was learned or given."""
