"""The explanation of a model that answers from the lesion table: without torch, exact where the score is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explain.explanation import Explanation
from explain.lesion_effects import (
    EXACT_LESIONS,
    TABLE_METHODS,
    LearnedTerms,
    TableScore,
    score_terms,
)
from explain.map_sums import lesion_shares, lesion_sums
from explain.methods import METHODS
from explain.model_gates import behaviour_gates, trained_weights
from explain.sanity_checks import (
    check_completeness,
    check_containment,
    check_lesion_credit,
    check_score_agreement,
    check_sign_agreement,
    relative_error,
)
from explain.voxel_credit import credit_map
from fedpet.core.messages import Message
from inference.engine import Engine
from inference.input_contract import LEARNED_TERM
from inference.lesion_crops import crops_of
from inference.missing_inputs import input_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from explain.explanation import SanityCheckResult, ScoreTerm
    from explain.methods import MethodName
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.analysis import StudyAnalysis
    from fedpet.imaging.volume import Volume
    from inference.bundle.storage import Bundle
    from inference.lesion_crops import LesionCrops
    from inference.prediction import Prediction


def explain_table(
    analysis: StudyAnalysis, record: ClinicalRecord, bundle: Bundle, prediction: Prediction, *, method: MethodName
) -> Explanation:
    """Explain the risk score of a prediction that rests on its lesion table.

    Args:
        analysis: of the images that were predicted.
        record: that was predicted.
        bundle: whose contract has quantities of the table and reads no images.
        prediction: with an answer and its table.
        method: "ablation" or "shapley".

    Returns:
        Terms of the score, and their map; where the score is not the one that was predicted, no terms.
    """
    crops = crops_of(analysis.study, prediction.lesion_labels, bundle.contract)
    score = table_score(bundle, record, prediction, crops)
    share = TABLE_METHODS[method]
    whole, reference = score(score.lesions), score.reference()
    curve, calibration = prediction.survival, bundle.calibration
    agreement = check_score_agreement(calibration.score(whole), prediction.risk_score or np.nan)
    terms = () if curve is None else score_terms(score, share(score, score.lesions), curve, calibration.b)
    regions = {} if analysis.anatomy is None else analysis.anatomy.ratio_voxels()
    attribution = term_map(score, terms, analysis.study.pet, prediction.lesion_labels, regions)
    remainder = sum(term.score for term in terms if term.name == "remainder")
    error = relative_error(remainder, whole - reference)
    description = _description(method, terms, whole - score(()))
    sums = lesion_sums(attribution, prediction.lesion_labels)
    trained = trained_weights(bundle.card, bundle.contract.inputs, score.weights)
    return Explanation(
        method=str(description),
        attribution=attribution,
        lesion_share=lesion_shares(attribution, prediction.lesion_labels),
        variable_contributions={term.name: term.score for term in terms if term.lesion is None},
        completeness_error=error,
        gates=(
            agreement,
            check_completeness(error),
            *table_gates(attribution, prediction.lesion_labels, terms, regions),
            *(() if curve is None else behaviour_gates(score, method, sums, curve, calibration.b)),
            *(() if trained is None else (trained,)),
        ),
        description=description,
        origin=prediction.origin,
        risk_score=prediction.risk_score,
        terms=terms if agreement.passed else (),
        reference_score=reference,
    )


def _description(method: MethodName, terms: tuple[ScoreTerm, ...], together: float) -> Message:
    """What the map shows, and how much of their part of the score lies on none of them."""
    label = METHODS[method].label
    if method == "shapley":
        exact = sum(term.lesion is not None for term in terms) <= EXACT_LESIONS
        return Message("{method}, {exact}", method=label, exact=Message("exact") if exact else Message("sampled"))
    common = sum(term.score for term in terms if term.name == "common")
    if not common:
        return label
    return Message(
        "{method}; {share:.0f} % of the lesions' part of the score (log hazard) is common to several of them "
        "and lies on no voxel",
        method=label,
        share=100 * abs(common) / max(abs(together), 1e-6),
    )


def table_score(
    bundle: Bundle, record: ClinicalRecord, prediction: Prediction, crops: LesionCrops | None = None
) -> TableScore:
    """The score of the patient as the graph that answers computes it: its terms for inputs of 1 are the weights.

    Args:
        bundle: the model.
        record: of the patient.
        prediction: with its table.
        crops: of the patient, where the contract has crops.
    """
    if prediction.table is None:
        raise ValueError("a model of the lesion table predicts with its table")
    engine = Engine(bundle, provider="cpu", threads=1)
    weights = input_weights(engine, bundle.contract)
    learned = LearnedTerms.of(engine, crops) if crops and LEARNED_TERM in prediction.contributions else None
    return TableScore(bundle.contract, weights, record, prediction.table, learned)


def term_map(
    score: TableScore,
    terms: tuple[ScoreTerm, ...],
    pet: Volume,
    labels: Volume,
    regions: dict[str, NDArray[np.intp]],
) -> Volume:
    """The terms of lesions and organs as a map on the PET grid; see `explain.voxel_credit.credit_map`."""
    lesions = {term.lesion: term.score for term in terms if term.lesion is not None}
    ratios = {term.name.removeprefix("organ:"): term.score for term in terms if term.name.startswith("organ:")}
    organs = {name: (term, regions[name]) for name, term in ratios.items() if name in regions}
    return credit_map(score, pet, labels, lesions, organs)


def table_gates(
    attribution: Volume, labels: Volume, terms: tuple[ScoreTerm, ...], regions: dict[str, NDArray[np.intp]]
) -> tuple[SanityCheckResult, ...]:
    """Judge a map against the terms and the measured effects, whoever made it.

    Args:
        attribution: the map, on the PET grid.
        labels: of the lesions.
        terms: of the score.
        regions: voxels of the organs that were measured.
    """
    sums = lesion_sums(attribution, labels)
    lesions = {term.lesion: term for term in terms if term.lesion is not None}
    effects = {number: term.points for number, term in lesions.items() if term.points is not None}
    read = labels.array > 0
    for voxels in regions.values():
        read[tuple(voxels.T)] = True
    return (
        check_sign_agreement(sums, effects),
        check_lesion_credit(sums, {number: term.score for number, term in lesions.items()}),
        check_containment(attribution.array, read),
    )
