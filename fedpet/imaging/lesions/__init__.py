"""Lesions: thresholds, delineation, given masks, quantities."""
