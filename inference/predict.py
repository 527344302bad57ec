"""Study + record + bundle -> Prediction. Imports neither torch nor monai nor captum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imaging.delineation import delineate
from imaging.quantities import quantify
from inference.abstention import output_reason, record_reason, study_reason
from inference.contract import BIOMARKERS
from inference.delineation import GIVEN, lesion_map
from inference.encoding import encode
from inference.engine import Engine
from inference.painting import painted_out
from inference.prediction import ModelReference, Prediction
from inference.preprocessing import model_grid, model_image

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical.record import ClinicalRecord
    from imaging.study import Study
    from imaging.thresholds import Method
    from imaging.volume import Volume
    from inference.bundle import Bundle
    from inference.engine import EngineOutput


def predict(
    study: Study,
    record: ClinicalRecord,
    bundle: Bundle,
    *,
    engine: Engine | None = None,
    lesions: Volume | None = None,
    method: Method = "suv4",
    include: Collection[int] = (),
    exclude: Collection[int] = (),
) -> Prediction:
    """Predict progression-free survival, or abstain with the reason.

    Args:
        study: PET in SUVbw with its CT.
        record: missing variables stay missing; the model has seen missing ones.
        bundle: the verified model.
        engine: an open engine on the same bundle, to be used again; None opens one.
        lesions: the reader's label volume on the PET grid; None delineates by `method`.
        method: how lesions are delineated, see `imaging.delineation.delineate`; the model's map helps where it ran.
        include: ids of hot components that the reader takes in.
        exclude: ids of hot components that the reader takes out: their uptake is painted out before the model answers.

    Raises:
        SeriesNotFound: the study holds no CT.
        ComponentUnknown: an id that the delineation does not have, or that is both included and excluded.
        ReferenceNotFound: no healthy organ for the threshold of "percist".
    """
    engine = engine or Engine(bundle)
    contract = bundle.contract
    image = model_image(study, contract)
    encoded = encode(record, contract)
    reason = study_reason(study) or record_reason(record, contract)
    output = None if reason else engine.run(image, encoded.values)
    if output:
        reason = output_reason(output, contract)
    painted: tuple[int, ...] = ()
    hot = pet_seen = None
    if lesions is None:
        drawn = lesion_map(output, model_grid(study, contract), contract) if output else None
        found = delineate(study.pet, study.ct, method=method, lesion_map=drawn, include=include, exclude=exclude)
        labels, name, components, hot = found.lesions, found.method, found.components, found.labels
        painted = tuple(one.id for one in components if one.switched and not one.included)
    else:
        labels, name, components = lesions, GIVEN, ()
    if output and painted:
        pet_seen = painted_out(study.pet, found.labels, painted)
        output = engine.run(model_image(replace(study, pet=pet_seen), contract), encoded.values)
        reason = output_reason(output, contract)
    silent = Prediction(
        model=_reference(bundle, engine),
        abstained=reason,
        endpoints=(),
        survival=None,
        risk_group=None,
        risk_score=None,
        interval_level=bundle.calibration.interval_level,
        missing=encoded.missing,
        contributions={},
        quantities=quantify(study.pet, labels, method=name, ct=study.ct),
        lesion_labels=labels,
        components=components,
        component_labels=hot,
        painted_out=() if pet_seen is None else painted,
        pet_seen=pet_seen,
    )
    return silent if reason or output is None else _answer(silent, output, bundle)


def _reference(bundle: Bundle, engine: Engine) -> ModelReference:
    return ModelReference(
        name=bundle.card["name"],
        version=bundle.card["version"],
        digest=bundle.digest,
        contract_fingerprint=bundle.contract.fingerprint,
        synthetic=bundle.card["synthetic"],
        provider=engine.provider,
    )


def _answer(silent: Prediction, output: EngineOutput, bundle: Bundle) -> Prediction:
    """The same prediction with the model's answer in it."""
    calibration, contract = bundle.calibration, bundle.contract
    curve = calibration.survival(output.hazard_logits, output.score, contract.month_edges)
    names = [*contract.inputs, *(f"image:{name}" for name in BIOMARKERS)]
    return replace(
        silent,
        endpoints=calibration.endpoints(curve),
        survival=curve,
        risk_group=calibration.risk_group(output.score),
        risk_score=calibration.score(output.score),
        contributions={name: float(x) for name, x in zip(names, output.contributions, strict=True)},
    )
