"""Study + record + bundle -> Prediction. Imports neither torch nor monai nor captum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imaging.quantities import quantify
from inference.abstention import output_reason, record_reason, study_reason
from inference.contract import BIOMARKERS
from inference.delineation import bare_threshold, model_lesions
from inference.encoding import encode
from inference.engine import Engine
from inference.prediction import ModelReference, Prediction
from inference.preprocessing import model_grid, model_image

if TYPE_CHECKING:
    from clinical.record import ClinicalRecord
    from imaging.study import Study
    from imaging.volume import Volume
    from inference.bundle import Bundle
    from inference.contract import Contract
    from inference.delineation import Method
    from inference.engine import EngineOutput


def predict(
    study: Study,
    record: ClinicalRecord,
    bundle: Bundle,
    *,
    engine: Engine | None = None,
    lesions: Volume | None = None,
) -> Prediction:
    """Predict progression-free survival, or abstain with the reason.

    Args:
        study: PET in SUVbw with its CT.
        record: missing variables stay missing; the model has seen missing ones.
        bundle: the verified model.
        engine: an open engine on the same bundle, to be used again; None opens one.
        lesions: the reader's label volume on the PET grid; None lets the model delineate.

    Raises:
        SeriesNotFound: the study holds no CT.
    """
    engine = engine or Engine(bundle)
    contract = bundle.contract
    image = model_image(study, contract)
    encoded = encode(record, contract)
    reason = study_reason(study) or record_reason(record, contract)
    output = None if reason else engine.run(image, encoded.values)
    if output:
        reason = output_reason(output, contract)
    labels, method = _lesions(study, contract, lesions, output)
    model = ModelReference(
        name=bundle.card["name"],
        version=bundle.card["version"],
        digest=bundle.digest,
        contract_fingerprint=contract.fingerprint,
        synthetic=bundle.card["synthetic"],
        provider=engine.provider,
    )
    silent = Prediction(
        model=model,
        abstained=reason,
        endpoints=(),
        survival=None,
        risk_group=None,
        risk_score=None,
        interval_level=bundle.calibration.interval_level,
        missing=encoded.missing,
        contributions={},
        quantities=quantify(study.pet, labels, method=method, ct=study.ct),
        lesion_labels=labels,
    )
    return silent if reason or output is None else _answer(silent, output, bundle)


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
        risk_score=calibration.score(output.score)[0],
        contributions={name: float(x) for name, x in zip(names, output.contributions, strict=True)},
    )


def _lesions(
    study: Study, contract: Contract, given: Volume | None, output: EngineOutput | None
) -> tuple[Volume, Method]:
    """Label volume on the PET grid and the name of its method."""
    if given is not None:
        return given, "given_mask"
    if output is None:
        return bare_threshold(study.pet), "suv4"
    return model_lesions(study.pet, output, model_grid(study, contract), contract), "suv4_model_map"
