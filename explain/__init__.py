"""Explanation of predictions: Captum attributions over images and variables, with sanity checks."""
