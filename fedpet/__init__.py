"""fedpet as a library: from a PET/CT study and a clinical record to a prediction and its explanation.

::

    import fedpet

    study = fedpet.load_study("STUDY")          # a folder, a zip or a DICOM file
    quantities = fedpet.quantify(study).quantities
    record = fedpet.read_record("record.json")
    model = fedpet.load_model()                  # the demonstration model, trained on synthetic patients
    prediction = fedpet.predict(study, record, model)
    explanation = fedpet.explain(study, record, model, prediction)
    fedpet.write_report("report.pdf", study, record, prediction, explanation, model=model)

Research use only: not a medical device. Each name is imported when it is first used, so that `import fedpet` loads
nothing else; the types are in `fedpet/__init__.pyi`. A Fed-BioMed node asserts `__version__` before it trains (see
`training.node.training_plan`).
"""

from importlib import import_module

__version__ = "0.2.0"
__all__ = [
    "__version__",
    "explain",
    "load_model",
    "load_study",
    "predict",
    "published_scores",
    "quantify",
    "read_record",
    "write_report",
]
_HOMES = {  # name -> module:attribute; some stand above this package, which must not import them itself
    "explain": "explain.attribution:explain_prediction",
    "load_model": "inference.bundle.storage:load_model",
    "load_study": "fedpet.imaging.loading:load_study",
    "predict": "inference.predict:predict",
    "published_scores": "fedpet.clinical.scores:published_scores",
    "quantify": "fedpet.imaging.quantification:quantify_study",
    "read_record": "fedpet.clinical.reading:read_record",
    "write_report": "reports.pdf.document:write_report",
}


def __getattr__(name: str) -> object:
    """Import a name of the library at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    path, _, attribute = _HOMES[name].partition(":")
    found = globals()[name] = getattr(import_module(path), attribute)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
