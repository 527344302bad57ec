"""The DICOM objects that a PACS stores beside the images of a case.

A Segmentation of the lesions, a Parametric Map of the saliency, a structured report with the quantities and the
prediction, and the report itself as an Encapsulated PDF: each in a series of its own, in the study and under the
identity of the source images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.dicom_export import Export
from reports.dicom_map import parametric_map
from reports.dicom_measurements import structured_report
from reports.dicom_pdf import encapsulated_pdf
from reports.dicom_segmentation import segmentation

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.messages import Language
    from imaging.identity import SourceHeaders
    from reports.content import ReportContent


def write_dicom(
    content: ReportContent, sources: SourceHeaders, pdf: Path, folder: Path, *, language: Language
) -> tuple[Path, ...]:
    """Write lesions.dcm, saliency.dcm, measurements.dcm and report.dcm.

    The same content and language give the same identifiers and bytes. The files carry the patient's identity.

    Args:
        content: of the finished case.
        sources: headers of its source images, by `imaging.identity.read_identity`.
        pdf: the report, as `write_pdf` wrote it from the same content.
        folder: is made.
        language: of every text.

    Returns:
        The files in the order in which they are to be stored, what is referenced before what references it. There is
        no lesions.dcm where there is no lesion, and no saliency.dcm where there is no map or a gate failed.

    Raises:
        GeometryRefused: the source images are not those of the case.
    """
    export = Export(content, sources, language)
    lesions, saliency = segmentation(export), parametric_map(export)
    made = {
        "lesions": lesions,
        "saliency": saliency,
        "measurements": structured_report(export, lesions, saliency),
        "report": encapsulated_pdf(export, pdf.read_bytes()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, instance in made.items():
        if instance is not None:
            path = folder / f"{name}.dcm"
            export.finished(instance).save_as(path, enforce_file_format=True)
            written.append(path)
    return tuple(written)
