"""The screens of one case."""
