"""From a prediction to its explanation, in patient space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explain.explanation import Explanation
from explain.gates import completeness, localisation, randomisation, same_score
from explain.integration import BASELINE_SUV, excess, integrated_gradients, load_network, shuffled
from fedpet.messages import Message
from fedpet.progress import part, silent
from imaging.resampling import Grid, resample
from imaging.volume import Volume
from inference.encoding import encode
from inference.preprocessing import model_grid, model_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.record import ClinicalRecord
    from fedpet.progress import Progress
    from imaging.study import Study
    from inference.bundle import Bundle
    from inference.prediction import Prediction

_SHUFFLED_STEPS = 6  # a coarse path is enough to see whether the map changes
_SHUFFLED_SEED = 20180


def explain_prediction(
    study: Study,
    record: ClinicalRecord,
    bundle: Bundle,
    prediction: Prediction,
    *,
    steps: int = 32,
    progress: Progress = silent,
) -> Explanation:
    """Explain the risk score of a prediction by integrated gradients.

    Args:
        study: the study that was predicted.
        record: the record that was predicted.
        bundle: the bundle that predicted.
        prediction: with a risk score.
        steps: points along the path; 32 keep the completeness error far below 1 %.
        progress: told after each pass.

    Raises:
        ValueError: the model abstained, so there is no score to explain.
        BundleDamaged: the bundle's weights do not fit its network.
    """
    if prediction.risk_score is None:
        raise ValueError("the model abstained: there is no score to explain")
    contract, network = bundle.contract, load_network(bundle)
    image, clinical = model_image(study, contract), encode(record, contract).values
    share = steps / (steps + _SHUFFLED_STEPS)
    credit = integrated_gradients(network, image, clinical, steps=steps, progress=part(progress, 0.0, share))
    blind = shuffled(network, seed=_SHUFFLED_SEED)
    rest = part(progress, share, 1.0)
    blind_credit = integrated_gradients(blind, image, clinical, steps=_SHUFFLED_STEPS, progress=rest)
    above = excess(image[0])
    bearing = above > 0
    attribution = to_pet_grid(credit.image, above, model_grid(study, contract), study.pet)
    shares = lesion_shares(attribution, prediction.lesion_labels)
    description = Message(
        "integrated gradients (Captum), {steps} steps, PET clipped at SUV {suv:g}", steps=steps, suv=BASELINE_SUV
    )
    return Explanation(
        method=str(description),
        attribution=attribution,
        lesion_share=shares,
        variable_contributions=dict(zip(contract.inputs, (float(x) for x in credit.clinical), strict=True)),
        completeness_error=credit.completeness_error,
        gates=(
            same_score(bundle.calibration.score(credit.score), prediction.risk_score),
            completeness(credit.completeness_error),
            randomisation(credit.image[bearing] / above[bearing], blind_credit.image[bearing] / above[bearing]),
            localisation(shares, prediction.lesion_labels, study.pet),
        ),
        description=description,
    )


def to_pet_grid(credit: NDArray[np.float64], above: NDArray[np.float32], grid: Grid, pet: Volume) -> Volume:
    """The credit of the model's voxels on the PET's grid: credit per unit of excess SUV, times the PET's own excess.

    The model sees averages of PET voxels. The credit of an average belongs to its voxels in proportion to what moved
    in them, their SUV above the baseline's, so structure finer than the model's voxel comes from the PET, not from the
    model. Credit and excess are interpolated linearly; positive and negative credit are then scaled to keep their sums.

    Args:
        credit: (slices, rows, columns) of `grid`; 0 wherever `above` is 0.
        above: SUV above the baseline's in the model's image, same shape.
        grid: the model grid.
        pet: SUV, g/ml.

    Returns:
        float32 on the PET grid. Its positive part sums to that of `credit`, and so does its negative part, unless no
        voxel of the PET can bear it.
    """
    wanted, moved = (
        resample(Volume(source, grid.affine, "1"), Grid.of(pet), outside=0.0).array
        for source in (credit, above.astype(np.float64))
    )
    sensitivity = np.divide(wanted, moved, out=np.zeros_like(wanted), where=moved > 0)
    shared = sensitivity * excess(pet.array)
    for sign in (1.0, -1.0):
        side = np.sign(shared) == sign
        borne = shared[side].sum()
        shared[side] *= credit[np.sign(credit) == sign].sum() / borne if borne else 0.0
    return pet.like(shared.astype(np.float32), "1")


def lesion_shares(attribution: Volume, labels: Volume) -> dict[int, float]:
    """Lesion id -> its share of the absolute attribution; 0 is all the rest, and all of it where there is none at all.

    Args:
        attribution: on the PET grid.
        labels: label volume on the same grid.
    """
    mass = np.bincount(labels.array.ravel().astype(np.int64), weights=np.abs(attribution.array).ravel())
    total = float(mass.sum())
    if total == 0:
        mass[0] = total = 1.0
    present = [0, *(int(label) for label in np.unique(labels.array) if label)]
    return {label: float(mass[label]) / total for label in present}
