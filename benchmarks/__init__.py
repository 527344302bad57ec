"""Figures that anyone can measure again: one script a subject."""
