"""The quantities and the prediction as a DICOM structured report: TID 1500, Comprehensive 3D SR (PS3.3 A.35.13)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    UIDRefContentItem,
)

import fedpet
from reports.dicom import codes
from reports.dicom.export import deterministic_uid, long_string, number
from reports.dicom.measurement_groups import body_group, lesion_groups, organ_groups, prediction_group
from reports.dicom.sr_statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from highdicom.pm import ParametricMap
    from highdicom.seg import Segmentation
    from highdicom.sr import ContentItem
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

    from reports.dicom.export import Export

_NO_NAME = re.compile(r"[\\^=]")  # what separates the parts of a person's name in DICOM (PS3.5 6.2.1)
_CONTAINS = RelationshipTypeValues.CONTAINS
_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT


def structured_report(
    export: Export, segmentation: Segmentation | None, saliency: ParametricMap | None
) -> Comprehensive3DSR:
    """The report; it references the segments, and lists the images, the segmentation and the map as its evidence."""
    content, sources = export.content, export.sources
    derived = [instance for instance in (segmentation, saliency) if instance is not None]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(export)),
        procedure_reported=codes.PET_ALONE if content.study.ct is None else codes.PET_CT,
        imaging_measurements=[
            *lesion_groups(export, segmentation),
            *organ_groups(export),
            body_group(export),
            prediction_group(export),
        ],
        title=codes.PET_REPORT,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(codes.LANGUAGES[export.language])
        ),
    )
    items = report[0].ContentSequence
    items.insert(len(items) - 1, _library(export))  # its place in the template: before the measurements
    items.append(_container(codes.QUALITATIVE, statements(export)))
    payload = "".join(instance.SOPInstanceUID for instance in derived).encode()
    built = Comprehensive3DSR(
        evidence=[*sources.pet, *sources.ct, *derived],
        content=report,
        is_complete=True,
        coding_schemes=[codes.SCHEME_IDENTIFICATION],
        **_attested(export),
        **export.instance("measurements", payload),
    )
    if export.accepted and content.verdict is not None:
        built.VerifyingObserverSequence[0].VerificationDateTime = export.moment(content.verdict.signed)
    return built


def _attested(export: Export) -> dict[str, Any]:
    """Preliminary until a reader signs; verified, by name, only where the reader accepts the answer."""
    verdict = export.content.verdict
    if verdict is None or not export.accepted:
        return {"is_final": verdict is not None}
    centre = export.content.centre or export.locale.text("centre not configured")
    return {
        "is_final": True,
        "is_verified": True,
        "verifying_observer_name": long_string(_NO_NAME.sub(" ", verdict.reader))[:63] + "^",
        "verifying_organization": long_string(centre),
    }


def _observer(export: Export) -> ObserverContext:
    model = export.content.prediction.model
    device = DeviceObserverIdentifyingAttributes(
        deterministic_uid("device", fedpet.__version__, model.digest),
        name="fedpet",
        manufacturer_name="fedpet",
        model_name=fedpet.__version__,
    )
    return ObserverContext(CodedConcept.from_code(codes.DEVICE), device)


def _library(export: Export) -> ContainerContentItem:
    """The source images by series (TID 1600), with what the SUV of the PET rests on."""
    groups = [_series(export.sources.pet, _tracer(export))]
    if export.sources.ct:
        groups.append(_series(export.sources.ct, []))
    return _container(codes.LIBRARY, groups)


def _series(headers: Sequence[Dataset], facts: list[ContentItem]) -> ContainerContentItem:
    first, source = headers[0], CodedConcept.from_code(codes.SOURCE)
    shared: list[ContentItem] = [CodeContentItem(codes.MODALITY, codes.MODALITIES[first.Modality], _CONTEXT)]
    if frame := first.get("FrameOfReferenceUID"):
        shared.append(UIDRefContentItem(codes.FRAME_OF_REFERENCE, frame, _CONTEXT))
    images = [
        ImageContentItem(source, header.SOPClassUID, header.SOPInstanceUID, relationship_type=_CONTAINS)
        for header in headers
    ]
    return _container(codes.LIBRARY_GROUP, [*shared, *facts, *images])


def _tracer(export: Export) -> list[ContentItem]:
    """Radiopharmaceutical, dose and uptake time (TID 1607), where known."""
    facts = export.content.study.pet_facts
    known = ((codes.INCUBATION, facts.uptake_min, codes.MINUTE), (codes.TOTAL_DOSE, facts.dose_bq, codes.BECQUEREL))
    return [
        CodeContentItem(codes.RADIONUCLIDE, codes.FLUORINE_18, _CONTEXT),
        CodeContentItem(codes.RADIOPHARMACEUTICAL, codes.FDG, _CONTEXT),
        *(
            NumContentItem(name, number(value), unit, relationship_type=_CONTEXT)
            for name, value, unit in known
            if value is not None
        ),
    ]


def _container(name: Code, items: Iterable[ContentItem]) -> ContainerContentItem:
    container = ContainerContentItem(name, relationship_type=_CONTAINS)
    container.ContentSequence = ContentSequence(list(items))
    return container
