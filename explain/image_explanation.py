"""The explanation of a network that reads the images, by Captum; needs torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from explain.captum_methods import (
    STAGES,
    ExplainedInputs,
    attribute,
    load_network,
    randomize_parameters,
    uptake_sensitivity,
)
from explain.explanation import Explanation, ScoreTerm
from explain.lesion_effects import free_after, lesion_label, variable_terms
from explain.map_sums import lesion_shares, lesion_sums
from explain.methods import METHODS
from explain.sanity_checks import (
    check_completeness,
    check_concentration,
    check_containment,
    check_parameter_randomization,
    check_score_agreement,
    check_sign_agreement,
    relative_error,
)
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress, sub_progress
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume
from inference.counterfactual import counterfactuals
from inference.encoding import encode
from inference.engine import Engine
from inference.preprocessing import model_grid, model_image
from inference.uptake_removal import remove_uptake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from explain.captum_methods import Attribution
    from explain.explanation import SanityCheckResult
    from explain.methods import MethodName
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.core.progress import Progress
    from fedpet.imaging.study import PetCtStudy
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction

_COARSE_STEPS = 8  # a coarse path is enough to see whether the map changes
_RANDOM_COPIES = 19  # a network that has learnt nothing beats all of them once in 20 times
_SEED = 20180
_REST = Message("Not attributed by the map")


def explain_images(
    study: PetCtStudy,
    record: ClinicalRecord,
    bundle: Bundle,
    prediction: Prediction,
    *,
    method: MethodName,
    steps: int,
    progress: Progress,
) -> Explanation:
    """Explain the risk score of a network by a map on the voxels of the lesions.

    Args:
        study: as the model saw it.
        record: that was predicted.
        bundle: of the network.
        prediction: with an answer.
        method: of `explain.methods.METHODS`, for images.
        steps: points along the path.
        progress: called with a fraction (0 to 1) and a message.

    Returns:
        The map, its terms by lesion with the effect of each lesion as measured by the model itself, and the gates.
    """
    painted = remove_uptake(study.pet, prediction.lesion_labels, {one.id for one in prediction.quantities.lesions})
    network, inputs = load_network(bundle), explained_inputs(study, record, bundle, prediction, painted)
    found = attribute(network, inputs, method=method, steps=steps, progress=sub_progress(progress, 0.0, 0.6))
    taken = np.abs(study.pet.array - painted.array)
    excess = np.abs(inputs.image[0] - inputs.baseline[0])
    attribution = to_pet_grid(found.image, excess, model_grid(study, bundle.contract), study.pet, taken)
    with_rim = rims(prediction.lesion_labels)
    sums = lesion_sums(attribution, with_rim)
    measured = _measured_effects(study, record, bundle, prediction)
    progress(0.7, Message("Checking the explanation"))
    terms = _terms(found, sums, measured, record, bundle, prediction)
    description = Message(
        "{method}, {steps} steps, from the patient without the lesions", method=METHODS[method].label, steps=steps
    )
    return Explanation(
        method=str(description),
        attribution=attribution,
        lesion_share=lesion_shares(attribution, with_rim),
        variable_contributions=dict(zip(bundle.contract.inputs, (float(x) for x in found.clinical), strict=True)),
        completeness_error=found.completeness_error,
        gates=(
            check_score_agreement(bundle.calibration.score(found.score), prediction.risk_score or np.nan),
            *map_gates(attribution, with_rim, found.difference - float(found.clinical.sum()), measured),
            *network_gates(network, inputs),
        ),
        description=description,
        origin=prediction.origin,
        risk_score=prediction.risk_score,
        terms=terms,
        reference_score=found.score - found.difference,
    )


def _measured_effects(
    study: PetCtStudy, record: ClinicalRecord, bundle: Bundle, prediction: Prediction
) -> dict[int, float]:
    """Lesion -> answer at 12 months with it minus without it; of the largest (`inference.counterfactual`)."""
    if not prediction.quantities.lesions or prediction.endpoint("pfs_12m") is None:
        return {}
    engine = Engine(bundle, provider="cpu", threads=1)
    without = counterfactuals(study, record, bundle, replace(prediction, pet_seen=None), engine=engine)
    return {one.lesion: -one.change for one in without if one.lesion != "all"}


def explained_inputs(
    study: PetCtStudy, record: ClinicalRecord, bundle: Bundle, prediction: Prediction, painted: Volume
) -> ExplainedInputs:
    """The inputs of the patient, and those of the patient without the lesions and with a reference record.

    Args:
        study: as the model saw it.
        record: that was predicted.
        bundle: of the network.
        prediction: whose lesions are meant.
        painted: the PET without their uptake.
    """
    contract = bundle.contract
    clinical = encode(record, contract).values
    flags = np.array([name.startswith("missing:") for name in contract.inputs])
    grid = model_grid(study, contract)
    return ExplainedInputs(
        image=model_image(study, contract),
        baseline=model_image(replace(study, pet=painted), contract),
        clinical=clinical,
        clinical_baseline=np.where(flags, clinical, np.float32(0.0)),
        lesions=resample(rims(prediction.lesion_labels), grid, interpolation="nearest", outside=0).array,
    )


def rims(labels: Volume) -> Volume:
    """The lesions with the layer of one voxel around each from which uptake is removed too; lesions keep theirs."""
    grown = ndimage.maximum_filter(labels.array, 3)
    return labels.like(np.where(labels.array > 0, labels.array, grown), "label")


def map_gates(
    attribution: Volume, lesions: Volume, difference: float, measured: Mapping[int, float]
) -> tuple[SanityCheckResult, ...]:
    """Judge a map against what was measured, whoever made it.

    Args:
        attribution: the map, on the PET grid.
        lesions: with their rims.
        difference: of the score, between the patient and the same patient without the lesions.
        measured: lesion -> its effect on the answer.
    """
    error = relative_error(float(attribution.array.sum(dtype=np.float64)) - difference, difference)
    return (
        check_completeness(error),
        check_sign_agreement(lesion_sums(attribution, lesions), measured),
        check_containment(attribution.array, lesions.array > 0),
    )


def network_gates(network: nn.Module, inputs: ExplainedInputs) -> tuple[SanityCheckResult, ...]:
    """Judge whether the network has learnt what its map shows: cascading randomisation, and concentration.

    Args:
        network: that is explained.
        inputs: of the patient and the reference.
    """
    maps = [
        attribute(one, inputs, method="integrated_gradients", steps=_COARSE_STEPS, progress=no_progress).image
        for one in (network, *(randomize_parameters(network, seed=_SEED, stage=stage) for stage in STAGES))
    ]
    taken = inputs.image[0] - inputs.baseline[0]
    voxels = np.abs(taken) > _LEAST_SUV
    learnt, *shuffled = (one[voxels] / taken[voxels] for one in maps)
    copies = [randomize_parameters(network, seed=_SEED + copy) for copy in range(1, _RANDOM_COPIES + 1)]
    shares = [_share_of_lesions(one, inputs) for one in copies]
    return (
        check_parameter_randomization(learnt, dict(zip(STAGES, shuffled, strict=True))),
        check_concentration(_share_of_lesions(network, inputs), shares),
    )


_LEAST_SUV = 0.5  # that the baseline takes from a voxel whose sensitivity is compared


def _share_of_lesions(network: nn.Module, inputs: ExplainedInputs) -> float:
    """Share of the lesions in the sensitivity of the score to the uptake of the whole body."""
    sensitivity = uptake_sensitivity(network, inputs)
    return float(sensitivity[inputs.changed].sum() / max(sensitivity.sum(), 1e-12))


def _terms(
    found: Attribution,
    sums: dict[int, float],
    measured: dict[int, float],
    record: ClinicalRecord,
    bundle: Bundle,
    prediction: Prediction,
) -> tuple[ScoreTerm, ...]:
    """Lesions by their sums in the map, then the variables, then what the map leaves."""
    curve, slope = prediction.survival, bundle.calibration.b
    if curve is None:
        return ()
    lesions = [
        ScoreTerm(f"lesion:{one.id}", lesion_label(one.id, one.region), sums[one.id], measured.get(one.id))
        for one in prediction.quantities.lesions
    ]
    clinical = dict(zip(bundle.contract.inputs, found.clinical.tolist(), strict=True))
    variables = [
        ScoreTerm(name, label, term, free_after(curve, 0.0) - free_after(curve, -slope * term))
        for name, label, term in variable_terms(record, bundle.contract, clinical)
    ]
    rest = found.difference - sum(term.score for term in (*lesions, *variables))
    return (*lesions, *variables, ScoreTerm("remainder", _REST, rest))


def to_pet_grid(
    on_model_grid: NDArray[np.float64], excess: NDArray[np.float32], grid: Grid, pet: Volume, taken: NDArray[np.float32]
) -> Volume:
    """Distribute the attributions of the voxels of the model over those of the PET.

    The model sees averages of PET voxels. The attribution of an average belongs to its voxels in proportion to the SUV
    that the baseline takes from them: structure finer than a voxel of the model comes from the PET, not from the
    model. Attribution and excess SUV are interpolated linearly, their ratio is multiplied by the excess SUV of the PET,
    and positive and negative attributions are scaled to keep their sums.

    Args:
        on_model_grid: attributions, (slices, rows, columns) of `grid`; what lies where `excess` is 0 is left out.
        excess: SUV that the baseline takes from the image of the model, same shape.
        grid: the model grid.
        pet: whose grid is meant.
        taken: SUV that the baseline takes from the PET, in its shape.

    Returns:
        float32 on the PET grid. Its positive part has the sum of that of `on_model_grid`, and so has its negative part,
        unless no voxel of the PET has excess SUV there.
    """
    kept = np.where(excess > 0, on_model_grid, 0.0)
    model_attribution, model_excess = (
        resample(Volume(source, grid.affine, "1"), Grid.of(pet), outside=0.0).array
        for source in (kept, excess.astype(np.float64))
    )
    sensitivity = np.divide(
        model_attribution, model_excess, out=np.zeros_like(model_attribution), where=model_excess > 0
    )
    shared = sensitivity * taken
    for sign in (1.0, -1.0):
        side = np.sign(shared) == sign
        total = shared[side].sum()
        shared[side] *= kept[np.sign(kept) == sign].sum() / total if total else 0.0
    return pet.like(shared.astype(np.float32), "1")
