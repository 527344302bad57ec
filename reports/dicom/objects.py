"""The DICOM objects that a PACS stores beside the images of a case.

A Segmentation of the lesions, a Parametric Map of the saliency, a structured report with the quantities and the
prediction, and the report itself as an Encapsulated PDF: each in a series of its own, in the study and under the
identity of the source images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.imaging.dicom.headers.unvalidated import values_as_written
from reports.dicom.encapsulated_pdf import encapsulated_pdf
from reports.dicom.export import Export
from reports.dicom.key_objects import key_objects
from reports.dicom.parametric_map import parametric_map
from reports.dicom.segmentation import segmentation
from reports.dicom.structured_report import structured_report

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.core.messages import Language
    from fedpet.imaging.dicom.patient_identity import PatientHeaders
    from reports.content import ReportContent


@values_as_written()
def write_dicom(
    content: ReportContent,
    sources: PatientHeaders,
    pdf: Path,
    folder: Path,
    *,
    language: Language,
    label_map: bool = False,
) -> tuple[Path, ...]:
    """Write lesions.dcm, saliency.dcm, measurements.dcm, key_slices.dcm and report.dcm.

    The same content and language give the same identifiers and bytes. The files carry the patient's identity.

    Args:
        content: of the finished case.
        sources: headers of its source images, by `fedpet.imaging.dicom.patient_identity.read_identity`.
        pdf: the report, as `write_pdf` wrote it from the same content.
        folder: created where it does not exist.
        language: of every text.
        label_map: write the Segmentation as Label Map Segmentation Storage, which fewer viewers know.

    Returns:
        The files in the order in which they are to be stored, what is referenced before what references it. There is
        no lesions.dcm and no key_slices.dcm where there is no lesion, and no saliency.dcm where there is no map or a
        gate failed.

    Raises:
        SliceGeometryError: the source images are not those of the case.
    """
    export = Export(content, sources, language, label_map)
    lesions, saliency = segmentation(export), parametric_map(export)
    instances = {
        "lesions": lesions,
        "saliency": saliency,
        "measurements": structured_report(export, lesions, saliency),
        "key_slices": key_objects(export),
        "report": encapsulated_pdf(export, pdf.read_bytes()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, instance in instances.items():
        if instance is not None:
            path = folder / f"{name}.dcm"
            export.finish(instance).save_as(path, enforce_file_format=True)
            paths.append(path)
    return tuple(paths)
