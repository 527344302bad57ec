"""The bundle of a model: its storage, its card, and the demonstration bundle."""
