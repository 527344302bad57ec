"""Ground floor of the house: version, errors, messages in French and English, progress, settings.

Every room may import this package; it imports none of them. A Fed-BioMed node asserts `__version__`
before it trains (see `training.plan`).
"""

__version__ = "0.1.0"
