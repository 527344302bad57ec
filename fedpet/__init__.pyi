from explain.attribution import explain_prediction as explain
from fedpet.clinical.reading import read_record
from fedpet.clinical.scores import published_scores
from fedpet.imaging.loading import load_study
from fedpet.imaging.quantification import quantify_study as quantify
from inference.bundle.storage import load_model
from inference.predict import predict
from reports.pdf.document import write_report

__version__: str
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
