"""Figures of a case: projections, fused slices, saliency panels."""
