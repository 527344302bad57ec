"""From a prediction to its explanation, in patient space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explain.explanation import Explanation
from explain.gates import completeness, localisation, randomisation, same_score
from explain.integration import BASELINE_SUV, excess, integrated_gradients, load_network, shuffled
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
    shuffled_credit = integrated_gradients(
        shuffled(network, seed=_SHUFFLED_SEED),
        image,
        clinical,
        steps=_SHUFFLED_STEPS,
        progress=part(progress, share, 1.0),
    )
    attribution = to_pet_grid(credit.image, model_grid(study, contract), study.pet)
    shares = lesion_shares(attribution, prediction.lesion_labels)
    above = excess(image[0])
    bearing = above > 0
    return Explanation(
        method=f"integrated gradients (Captum), {steps} steps, PET clipped at SUV {BASELINE_SUV:g}",
        attribution=attribution,
        lesion_share=shares,
        variable_contributions=dict(zip(contract.inputs, (float(x) for x in credit.clinical), strict=True)),
        completeness_error=credit.completeness_error,
        gates=(
            same_score(bundle.calibration.score(credit.score)[0], prediction.risk_score),
            completeness(credit.completeness_error),
            randomisation(credit.image[bearing] / above[bearing], shuffled_credit.image[bearing] / above[bearing]),
            localisation(shares, prediction.lesion_labels, study.pet),
        ),
    )


def to_pet_grid(credit: NDArray[np.float64], grid: Grid, pet: Volume) -> Volume:
    """Credit of the model's voxels, shared among the PET voxels whose centres lie in them.

    The model sees the average of the PET over its voxel; the share of a PET voxel is its part of that average's excess
    over the baseline's SUV, so structure finer than the model's voxel comes from the PET, not from the model. Credit
    of voxels that hold no such PET voxel goes to the others of its sign, in proportion: both signs keep their sums.

    Args:
        credit: (slices, rows, columns) of `grid`.
        grid: the model grid.
        pet: SUV, g/ml.

    Returns:
        float32 on the PET grid; sums to the sum of `credit`, or is zero where no voxel can bear it.
    """
    numbers = Volume(np.arange(credit.size, dtype=np.int32).reshape(credit.shape), grid.affine, "label")
    voxel = resample(numbers, Grid.of(pet), interpolation="nearest", outside=-1).array
    weight = np.where(voxel >= 0, excess(pet.array), 0.0).astype(np.float64)
    voxel = np.maximum(voxel, 0)
    total = np.bincount(voxel.ravel(), weights=weight.ravel(), minlength=credit.size)
    density = np.divide(credit.ravel(), total, out=np.zeros(credit.size), where=total > 0)
    shared = density[voxel] * weight
    for sign in (1.0, -1.0):
        side = np.sign(shared) == sign
        kept, wanted = shared[side].sum(), credit[np.sign(credit) == sign].sum()
        shared[side] *= wanted / kept if kept else 0.0
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
