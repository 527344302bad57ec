"""Measurement groups of the structured report: one for each lesion, one for all of them, one for the prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContentSequence,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)

import fedpet
from fedpet.core.messages import Message
from reports.dicom import codes
from reports.dicom.anatomic_sites import SITES, finer_structure
from reports.dicom.export import number
from reports.labels import ORGANS, supported
from reports.measures import sul_factor

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.coding import Code

    from fedpet.imaging.anatomy.reference_uptake import OrganReferences, ReferenceOrgan, ReferenceUptake
    from fedpet.imaging.lesions.lesion import Lesion
    from inference.prediction import EndpointProbability
    from reports.dicom.export import Export


def lesion_groups(
    export: Export, segmentation: Segmentation | None
) -> list[VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """A group for each lesion, tied to its segment by reference and by tracking identifiers (TID 1411)."""
    if segmentation is None:
        return []
    lesions = export.content.prediction.quantities.lesions
    segments = [one for one in segmentation.SegmentSequence if one.SegmentNumber]  # a label map has its background as 0
    return [_lesion(lesion, segment, segmentation, export) for lesion, segment in zip(lesions, segments, strict=True)]


def _lesion(
    lesion: Lesion, segment: SegmentDescription, segmentation: Segmentation, export: Export
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    explanation = export.content.explanation
    measurements = [
        _suv(lesion.suv_max, codes.MAXIMUM),
        _suv(lesion.suv_mean, codes.MEAN),
        _suv(lesion.suv_peak, codes.PEAK),
        *_sul_peak(lesion.suv_peak, export),
        _volume(lesion.mtv_ml),
        _measured(codes.TOTAL_LESION_GLYCOLYSIS, lesion.tlg, codes.GRAM),
    ]
    if explanation is not None and explanation.reliable:
        share = supported(explanation.lesion_share.get(lesion.id, 0.0))
        measurements.append(_measured(codes.LESION_SHARE, share, codes.RATIO))
    site = SITES.get(lesion.region)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
        referenced_segment=ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            segment.SegmentNumber,
            source_series=SourceSeriesForSegmentation(export.sources.pet[0].SeriesInstanceUID),
        ),
        finding_category=codes.ABNORMAL,
        finding_type=codes.LESION,
        finding_sites=None if site is None else [FindingSite(*site)],
        algorithm_id=_delineation(export),
        measurements=measurements,
        qualitative_evaluations=_finer_place(lesion),
    )


def _finer_place(lesion: Lesion) -> list[QualitativeEvaluation] | None:
    """The estimated vertebra, or the lymph nodes of the proposed station with their side."""
    structure, side = finer_structure(lesion) or (None, None)
    if structure is None:
        return None
    found = QualitativeEvaluation(codes.STATION if lesion.vertebra is None else codes.VERTEBRA, structure)
    if side is not None:
        modifier = CodeContentItem(codes.LATERALITY, side, RelationshipTypeValues.HAS_CONCEPT_MOD)
        found[0].ContentSequence = ContentSequence([modifier])
    return [found]


def body_group(export: Export) -> MeasurementsAndQualitativeEvaluations:
    """Totals over the lesions (TID 1501)."""
    quantities = export.content.prediction.quantities
    count = len(quantities.lesions)
    measurements = [
        _volume(quantities.tmtv_ml, codes.TOTAL),
        _measured(codes.TOTAL_LESION_GLYCOLYSIS, quantities.tlg, codes.GRAM, derivation=codes.TOTAL),
        Measurement(codes.NUMBER_OF_LESIONS, count, codes.RATIO),
    ]
    if count:
        measurements += [_suv(quantities.suv_max, codes.MAXIMUM), _suv(quantities.suv_peak, codes.PEAK)]
        measurements += _sul_peak(quantities.suv_peak, export)
    if count > 1:
        apart = {"method": codes.BETWEEN_CENTROIDS, "derivation": codes.MAXIMUM}
        measurements.append(_measured(codes.DISTANCE, quantities.dmax_mm, codes.MILLIMETRE, **apart))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(export, "body", Message("All lesions")),
        finding_category=codes.ABNORMAL,
        finding_type=codes.LESION,
        finding_sites=[FindingSite(codes.ENTIRE_BODY)],
        algorithm_id=_delineation(export),
        measurements=measurements,
    )


def organ_groups(export: Export) -> list[MeasurementsAndQualitativeEvaluations]:
    """Uptake of each healthy organ that was measured (TID 1501)."""
    references = export.content.references
    found = {name: None if references is None else _organ(references, name) for name in codes.ORGANS}
    return [
        MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking(export, f"organ/{name}", ORGANS[name]),
            finding_sites=[FindingSite(codes.ORGANS[name])],
            measurements=[
                _suv(uptake.suv_mean, codes.MEAN),
                _suv(uptake.suv_sd, codes.STANDARD_DEVIATION),
                _measured(codes.VOLUME, uptake.volume_ml, codes.MILLILITRE),
            ],
        )
        for name, uptake in found.items()
        if uptake is not None
    ]


def _organ(references: OrganReferences, name: ReferenceOrgan) -> ReferenceUptake | None:
    uptake: ReferenceUptake | None = getattr(references, name)
    return uptake


def prediction_group(export: Export) -> MeasurementsAndQualitativeEvaluations:
    """Probabilities with their intervals, or that the model abstained (TID 1501); which model, to the byte."""
    prediction = export.content.prediction
    model, answered = prediction.model, prediction.abstained is None
    measurements = [measured for endpoint in prediction.endpoints for measured in _endpoint(endpoint)]
    if prediction.endpoints:
        measurements.append(_measured(codes.INTERVAL_LEVEL, prediction.interval_level, codes.RATIO))
    if prediction.risk_score is not None:
        measurements.append(_measured(codes.RISK_SCORE, supported(prediction.risk_score), codes.RATIO))
    evaluations = [QualitativeEvaluation(codes.ANSWER, codes.ANSWERED if answered else codes.ABSTAINED)]
    evaluations += [
        QualitativeEvaluation(codes.KEPT[endpoint.name], codes.OUTCOMES[endpoint.verdict])
        for endpoint in prediction.endpoints
        if endpoint.verdict is not None
    ]
    if prediction.risk_group is not None:
        evaluations.append(QualitativeEvaluation(codes.RISK_GROUP, codes.RISK_GROUPS[prediction.risk_group]))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(export, "prediction", Message("Prediction of the model")),
        algorithm_id=AlgorithmIdentification(
            export.add_label(model.name),
            model.version,
            parameters=[
                f"bundle SHA-256 {model.digest}",
                f"input contract SHA-256 {model.contract_fingerprint}",
                f"computed by {model.provider}",
            ],
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer="fedpet",
        ),
        measurements=measurements,
        qualitative_evaluations=evaluations,
    )


def _endpoint(endpoint: EndpointProbability) -> list[Measurement]:
    """The probability, the limits of its interval and the rate of the cohort, distinguished by derivation.

    In whole per cent, as the report prints them: the interval supports no more digits.
    """
    name = codes.ENDPOINTS[endpoint.name]
    return [
        _measured(name, supported(endpoint.probability), codes.RATIO),
        _measured(name, supported(endpoint.lower), codes.RATIO, derivation=codes.LOWER),
        _measured(name, supported(endpoint.upper), codes.RATIO, derivation=codes.UPPER),
        _measured(name, supported(endpoint.base_rate), codes.RATIO, derivation=codes.COHORT),
    ]


def _suv(value: float, derivation: Code) -> Measurement:
    return _measured(codes.SUV, value, codes.SUV_UNIT, method=codes.SUV_METHOD, derivation=derivation)


def _sul_peak(suv_peak: float, export: Export) -> list[Measurement]:
    """SULpeak where lean body mass is known."""
    factor = sul_factor(export.content.study.pet_facts)
    if factor is None:
        return []
    return [_measured(codes.SUL, suv_peak * factor, codes.SUL_UNIT, method=codes.SUL_METHOD, derivation=codes.PEAK)]


def _volume(value: float, derivation: Code | None = None) -> Measurement:
    return _measured(codes.METABOLIC_VOLUME, value, codes.MILLILITRE, method=codes.VOXEL_SUM, derivation=derivation)


def _measured(
    name: Code, value: float, unit: Code, *, method: Code | None = None, derivation: Code | None = None
) -> Measurement:
    return Measurement(name, number(value), unit, method=method, derivation=derivation)


def _delineation(export: Export) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        f"fedpet {export.content.prediction.quantities.method}", fedpet.__version__, manufacturer="fedpet"
    )


def _tracking(export: Export, part: str, name: Message) -> TrackingIdentifier:
    return TrackingIdentifier(export.uid("tracking", part), export.locale.translate(name))
