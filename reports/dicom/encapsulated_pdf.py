"""The report itself as a DICOM Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from reports.dicom import codes
from reports.pdf.first_page import TITLE

if TYPE_CHECKING:
    from reports.dicom.export import Export


class EncapsulatedPdf(SOPClass):
    """A PDF with references to the images that it describes."""

    def __init__(self, pdf: bytes, sources: list[Dataset], *, title: str, verified: bool, **instance: Any) -> None:
        first = sources[0]
        super().__init__(
            study_instance_uid=first.StudyInstanceUID,
            sop_class_uid=EncapsulatedPDFStorage,
            modality="DOC",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **instance,
        )
        self.ConversionType = "WSD"  # made on a workstation
        self.AcquisitionDateTime = None  # of many images: unknown, as type 2 allows
        self.BurnedInAnnotation = "YES"  # pseudonym and clinical data on every page
        self.RecognizableVisualFeatures = "YES"  # projections of the head
        self.DocumentTitle = title
        self.ConceptNameCodeSequence = [CodedConcept.from_code(codes.PET_REPORT)]
        self.VerificationFlag = "VERIFIED" if verified else "UNVERIFIED"
        self.SourceInstanceSequence = [_reference(source) for source in sources]
        self.MIMETypeOfEncapsulatedDocument = "application/pdf"
        self.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        self.EncapsulatedDocumentLength = len(pdf)


def encapsulated_pdf(export: Export, pdf: bytes) -> EncapsulatedPdf:
    """The report in DICOM: padded to an even length; Encapsulated Document Length is the true one."""
    sources = [*export.sources.pet, *export.sources.ct]
    title = export.add_label(export.locale.translate(TITLE))
    return EncapsulatedPdf(pdf, sources, title=title, verified=export.accepted, **export.instance("report", pdf))


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
