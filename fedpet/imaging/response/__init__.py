"""Comparison of two examinations, and metabolic response by PERCIST 1.0."""
