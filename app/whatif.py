"""What the model would answer were a lesion absent.

The uptake of the lesion is painted out (`inference.painting`), then the model runs again. It says what the model makes
of the lesion, not what would become of the patient: no treatment removes a lesion so, and necrosis or what the CT shows
of it stays in the images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedpet.messages import Message
from fedpet.progress import silent
from inference.abstention import output_reason
from inference.encoding import encode
from inference.painting import painted_out
from inference.preprocessing import model_image

if TYPE_CHECKING:
    from clinical.record import ClinicalRecord
    from explain.explanation import Explanation
    from fedpet.progress import Progress
    from imaging.study import Study
    from inference.bundle import Bundle
    from inference.engine import Engine
    from inference.prediction import Prediction

MOST = 12  # lesions tried one by one, the largest


@dataclass(frozen=True)
class WhatIf:
    """The answer without one lesion, or without all of them.

    Attributes:
        lesion: its number, or "all".
        probability: of being progression-free at 12 months.
        change: against the answer with every lesion.
        abstained: why the model would not answer for such images; the probability is then outside of what it learned.
    """

    lesion: int | Literal["all"]
    probability: float
    change: float
    abstained: Message | None


def what_if(
    study: Study,
    record: ClinicalRecord,
    bundle: Bundle,
    prediction: Prediction,
    *,
    engine: Engine,
    progress: Progress = silent,
) -> tuple[WhatIf, ...]:
    """Run the model without each of the largest lesions, then without all of them.

    Args:
        study: whose PET the model saw, but for `Prediction.pet_seen`.
        record: as the model saw it.
        bundle: the model.
        prediction: its answer, whose lesions are taken out.
        engine: open on the same bundle.
        progress: told after each run.

    Returns:
        The largest lesion first, "all" last where there are several; nothing where the model abstained.
    """
    main = prediction.endpoint("pfs_12m")
    if main is None:
        return ()
    largest = sorted(prediction.quantities.lesions, key=lambda lesion: -lesion.mtv_ml)[:MOST]
    every = {lesion.id for lesion in prediction.quantities.lesions}
    tries: list[tuple[int | Literal["all"], set[int]]] = [(lesion.id, {lesion.id}) for lesion in largest]
    if len(every) > 1:
        tries.append(("all", every))
    seen = prediction.pet_seen or study.pet
    clinical = encode(record, bundle.contract).values
    found = []
    for number, (lesion, absent) in enumerate(tries, start=1):
        pet = painted_out(seen, prediction.lesion_labels, absent)
        output = engine.run(model_image(replace(study, pet=pet), bundle.contract), clinical)
        curve = bundle.calibration.survival(output.hazard_logits, output.score, bundle.contract.month_edges)
        probability = curve.probability[curve.months.index(main.months)]
        reason = output_reason(output, bundle.contract)
        found.append(WhatIf(lesion, probability, probability - main.probability, reason))
        progress(number / len(tries), Message("Answer without lesion {n} of {all}", n=number, all=len(tries)))
    return tuple(found)


def lesion_terms(explanation: Explanation | None, prediction: Prediction) -> dict[str, float]:
    """What each lesion adds to the risk score before calibration: the sum of its voxels in the influence map.

    Terms of the lesions and of what is left of the images sum to the image terms of `Prediction.contributions`, since
    integrated gradients are complete. Nothing where the map failed one of its gates.
    """
    if explanation is None or not explanation.reliable:
        return {}
    labels, credit = prediction.lesion_labels.array, explanation.attribution.array
    sums = np.bincount(labels.ravel().astype(np.int64), weights=credit.ravel())
    return {str(lesion.id): float(sums[lesion.id]) for lesion in prediction.quantities.lesions}
