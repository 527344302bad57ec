"""What the model would answer if a lesion were absent.

A model of the lesion table answers from the table without the lesion. For a network that reads images the uptake of
the lesion is removed (`inference.uptake_removal`), then it runs again. The result shows the weight
of the lesion in the model, not a prognosis after treatment: no treatment removes a lesion like this, and necrosis and
what the CT shows of the lesion stay in the images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from inference.abstention import output_reason
from inference.answer import Answer, answer
from inference.encoding import encode
from inference.lesion_crops import crops_of
from inference.preprocessing import model_image
from inference.uptake_removal import remove_uptake

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.core.progress import Progress
    from fedpet.imaging.study import PetCtStudy
    from inference.bundle.storage import Bundle
    from inference.engine import Engine
    from inference.lesion_crops import LesionCrops
    from inference.prediction import Prediction

MAX_LESIONS = 12  # the largest are removed one by one


@dataclass(frozen=True)
class Counterfactual:
    """The answer without one lesion, or without all of them.

    Attributes:
        lesion: its number, or "all".
        probability: of being progression-free at 12 months, 0 to 1.
        change: of that probability against the answer with all lesions.
        abstained: why the model would abstain for such images; the probability is then an extrapolation.
    """

    lesion: int | Literal["all"]
    probability: float
    change: float
    abstained: Message | None


def counterfactuals(
    study: PetCtStudy,
    record: ClinicalRecord,
    bundle: Bundle,
    prediction: Prediction,
    *,
    engine: Engine,
    progress: Progress = no_progress,
) -> tuple[Counterfactual, ...]:
    """Run the model without each of the largest lesions, then without all of them.

    Args:
        study: whose PET the model saw, unless there is a `Prediction.pet_seen`.
        record: as the model saw it.
        bundle: the model.
        prediction: its answer; its lesions are removed.
        engine: open on the same bundle.
        progress: called after each run.

    Returns:
        The largest lesion first, "all" last where there are several; nothing where the model abstained.
    """
    endpoint = prediction.endpoint("pfs_12m")
    if endpoint is None:
        return ()
    largest = sorted(prediction.quantities.lesions, key=lambda lesion: -lesion.mtv_ml)[:MAX_LESIONS]
    all_lesions = {lesion.id for lesion in prediction.quantities.lesions}
    trials: list[tuple[int | Literal["all"], set[int]]] = [(lesion.id, {lesion.id}) for lesion in largest]
    if len(all_lesions) > 1:
        trials.append(("all", all_lesions))
    results = []
    crops = crops_of(study, prediction.lesion_labels, bundle.contract)
    for number, (lesion, removed) in enumerate(trials, start=1):
        answered = _without(removed, study, record, bundle, prediction, engine=engine, crops=crops)
        probability = answered.survival.probability[answered.survival.months.index(endpoint.months)]
        change = probability - endpoint.probability
        results.append(Counterfactual(lesion, probability, change, answered.abstained))
        progress(number / len(trials), Message("Answer without lesion {n} of {all}", n=number, all=len(trials)))
    return tuple(results)


def _without(
    removed: set[int],
    study: PetCtStudy,
    record: ClinicalRecord,
    bundle: Bundle,
    prediction: Prediction,
    *,
    engine: Engine,
    crops: LesionCrops | None,
) -> Answer:
    """The answer without some lesions."""
    if bundle.contract.quantities and prediction.table is not None:
        table = prediction.table.without(removed)
        return answer(bundle, engine, record, table, crops=crops, confirmed=prediction.confirmed)
    pet = remove_uptake(prediction.pet_seen or study.pet, prediction.lesion_labels, removed)
    clinical = encode(record, bundle.contract).values
    output = engine.run(model_image(replace(study, pet=pet), bundle.contract), clinical)
    return Answer.of(output, bundle, output_reason(output, bundle.contract))
