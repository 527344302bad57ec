"""Study + record + bundle -> Prediction. Imports neither torch nor monai nor captum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, get_args

from fedpet.clinical.reading import ReadRecord
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.arguments import require_choice, require_type
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.lesion import ThresholdMethod
from fedpet.imaging.study import PetCtStudy
from fedpet.imaging.volume import Volume
from inference.abstention import (
    mask_reason,
    method_reason,
    output_reason,
    record_reason,
    study_reason,
    unconfirmed_reason,
    undecided_reason,
)
from inference.answer import Answer, answer
from inference.bundle.storage import Bundle
from inference.encoding import encode, missing_inputs
from inference.engine import Engine
from inference.lesion_crops import crops_of
from inference.lesion_map import lesion_map
from inference.measured_lesions import measure_lesions
from inference.missing_inputs import unknown_variance
from inference.prediction import ModelReference, Prediction, PredictionOrigin
from inference.preprocessing import model_grid, model_image
from inference.record_concordance import JoinedRecord
from inference.uptake_removal import remove_uptake

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from fedpet.core.messages import Message
    from fedpet.imaging.lesions.interactive import LesionEdits
    from inference.measured_lesions import MeasuredLesions
    from inference.record_concordance import RecordConfirmation


def predict(  # noqa: PLR0913  each is a choice of its own, by name
    study: PetCtStudy | StudyAnalysis,
    record: ClinicalRecord | ReadRecord,
    model: Bundle,
    *,
    engine: Engine | None = None,
    lesions: Volume | None = None,
    method: ThresholdMethod = "suv4",
    include: Collection[int] = (),
    exclude: Collection[int] = (),
    edits: LesionEdits | None = None,
    confirmation: RecordConfirmation | None = None,
) -> Prediction:
    """Predict progression-free survival, or abstain with the reason.

    Args:
        study: PET in SUVbw (g/ml) with its CT (HU); or its analysis, so that what it has computed is used again.
        record: missing variables stay missing; the model was trained with missing values. A record as it was read
            (`fedpet.read_record`) is also compared with the images by identifier and days, see
            `inference.record_concordance.JoinedRecord.of`.
        model: a verified bundle (`fedpet.load_model`).
        engine: an open engine on the same bundle, to be used again; None opens one.
        lesions: the reader's label volume on the PET grid; None takes those of the analysis' mask, and without one
            delineates by `method`.
        method: how lesions are delineated, see `fedpet.imaging.lesions.delineation.delineate`; the map of a network
            that draws one helps. A model of the lesion table abstains where it was trained with another method.
        include: ids of hot components that the reader counts as lesions.
        exclude: ids of hot components that the reader does not: they are not in the lesion table, and their uptake is
            removed before a network that reads images answers.
        edits: lesions that the reader outlined or renamed; without effect where lesions are given.
        confirmation: that a person takes a record as it was read for right although it contradicts the images; without
            one, the model abstains from such a record.

    Returns:
        Probabilities (0 to 1) of being progression-free with their intervals, the survival curve, the risk group and
        the lesions with their quantities; or, where `Prediction.abstained` says why, the lesions alone.

    Raises:
        ArgumentError: an argument of another type, an unknown method, or lesions on another grid than the PET.
        SeriesNotFoundError: the study holds no CT.
        UnknownComponentError: an id that the delineation does not have, or that is both included and excluded.
        ReferenceUptakeError: no healthy organ for the threshold of "percist".
    """
    require_type("study", study, PetCtStudy, StudyAnalysis)
    require_type("record", record, ClinicalRecord, ReadRecord)
    require_type("model", model, Bundle)
    require_type("lesions", lesions, Volume, NoneType)
    require_choice("method", method, get_args(ThresholdMethod))
    engine = engine or Engine(model)
    analysis, record = _compared(study, record, confirmation)
    image = model_image(analysis.study, model.contract)
    reason = (
        study_reason(analysis, record)
        or mask_reason(lesions, analysis.study.pet)
        or record_reason(record, model.contract)
    )
    drawn = analysis.mask.labels if lesions is None and analysis.mask is not None else lesions
    request = _Request(analysis, record, model, engine, drawn, method, include, exclude, edits)
    seen = request.from_table(reason) if model.contract.quantities else request.from_images(image, reason)
    return _prediction(seen, request)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The lesions, the answer or why there is none, and the PET that the model saw where the reader excluded uptake."""

    found: MeasuredLesions
    answer: Answer | None
    abstained: Message | None
    pet: Volume | None = None


@dataclass(frozen=True, eq=False)
class _Request:
    """What is asked, see `predict`."""

    analysis: StudyAnalysis
    record: ClinicalRecord
    model: Bundle
    engine: Engine
    lesions: Volume | None
    method: ThresholdMethod
    include: Collection[int]
    exclude: Collection[int]
    edits: LesionEdits | None

    def from_table(self, reason: Message | None) -> _Seen:
        """The answer from the lesion table; `reason` says why there is none."""
        found = self._measure(None)
        reason = (
            reason
            or method_reason(found.quantities, self.model.contract)
            or undecided_reason(found.components)
            or (None if found.confirmed else unconfirmed_reason(found.components))
        )
        if reason:
            return _Seen(found, None, reason)
        crops = crops_of(self.analysis.study, found.labels, self.model.contract)
        answered = answer(self.model, self.engine, self.record, found.table, crops=crops, confirmed=found.confirmed)
        return _Seen(found, answered, answered.abstained)

    def from_images(self, image: NDArray[np.float32], reason: Message | None) -> _Seen:
        """The answer of a network that reads the images; `reason` says why there is none."""
        study, contract = self.analysis.study, self.model.contract
        clinical = encode(self.record, contract).values
        output = None if reason else self.engine.run(image, clinical)
        found = self._measure(lesion_map(output, model_grid(study, contract), contract) if output else None)
        if output is None:
            return _Seen(found, None, reason)
        pet_seen = None
        if found.component_labels is not None and found.excluded:
            pet_seen = remove_uptake(study.pet, found.component_labels, found.excluded)
            output = self.engine.run(model_image(replace(study, pet=pet_seen), contract), clinical)
        reason = output_reason(output, contract, found.quantities, confirmed=found.confirmed)
        unknown = unknown_variance(self.record, contract, self.engine)
        return _Seen(found, Answer.of(output, self.model, unknown=unknown), reason, pet_seen)

    def _measure(self, model_map: Volume | None) -> MeasuredLesions:
        return measure_lesions(
            self.analysis,
            lesions=self.lesions,
            method=self.method,
            lesion_map=model_map,
            include=self.include,
            exclude=self.exclude,
            edits=self.edits,
        )


def _compared(
    study: PetCtStudy | StudyAnalysis, record: ClinicalRecord | ReadRecord, confirmation: RecordConfirmation | None
) -> tuple[StudyAnalysis, ClinicalRecord]:
    if not isinstance(record, ReadRecord):
        return StudyAnalysis.of(study), record
    joined = JoinedRecord.of(study, record, confirmation=confirmation)
    return joined.analysis, joined.record


def _model_reference(bundle: Bundle, engine: Engine) -> ModelReference:
    return ModelReference(
        name=bundle.card["name"],
        version=bundle.card["version"],
        digest=bundle.digest,
        contract_fingerprint=bundle.contract.fingerprint,
        synthetic=bundle.card["synthetic"],
        provider=engine.provider,
    )


def _prediction(seen: _Seen, request: _Request) -> Prediction:
    found, model = seen.found, request.model
    answered = None if seen.abstained else seen.answer
    return Prediction(
        model=_model_reference(model, request.engine),
        origin=PredictionOrigin.of(request.analysis, request.record),
        abstained=seen.abstained,
        endpoints=answered.endpoints if answered else (),
        survival=answered.survival if answered else None,
        risk_group=answered.risk_group if answered else None,
        risk_score=answered.risk_score if answered else None,
        interval_level=model.calibration.interval_level,
        centre=answered.centre if answered else None,
        missing=missing_inputs(request.record, model.contract, found.table),
        contributions=answered.contributions if answered else {},
        quantities=found.quantities,
        lesion_labels=found.labels,
        components=found.components,
        component_labels=found.component_labels,
        painted_out=() if seen.pet is None else found.excluded,
        pet_seen=seen.pet,
        table=found.table,
        overall_survival=answered.overall_survival if answered else None,
    )
