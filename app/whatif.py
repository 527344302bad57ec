"""What the model would answer were a lesion absent.

The uptake of the lesion is painted out: its voxels, and one more around it, get the median SUV of a shell of healthy
tissue 1 to 2 cm away; then the model runs again. It says what the model makes of the lesion, not what would become of
the patient: no treatment removes a lesion so, and necrosis or what the CT shows of it stays in the images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from fedpet.messages import Message
from fedpet.progress import silent
from inference.abstention import output_reason
from inference.encoding import encode
from inference.preprocessing import model_image

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from clinical.record import ClinicalRecord
    from fedpet.progress import Progress
    from imaging.study import Study
    from imaging.volume import Volume
    from inference.bundle import Bundle
    from inference.engine import Engine
    from inference.prediction import Prediction

MOST = 12  # lesions tried one by one, the largest
_SHELL_MM = 10.0, 20.0
_OUTSIDE_SUV = 0.1  # below it is the air around the patient
_NEIGHBOURS = np.ones((3, 3, 3), bool)


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
        study: as the model saw it.
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
    clinical = encode(record, bundle.contract).values
    found = []
    for number, (lesion, absent) in enumerate(tries, start=1):
        pet = painted_out(study.pet, prediction.lesion_labels, absent)
        output = engine.run(model_image(replace(study, pet=pet), bundle.contract), clinical)
        curve = bundle.calibration.survival(output.hazard_logits, output.score, bundle.contract.month_edges)
        probability = curve.probability[curve.months.index(main.months)]
        reason = output_reason(output, bundle.contract)
        found.append(WhatIf(lesion, probability, probability - main.probability, reason))
        progress(number / len(tries), Message("Answer without lesion {n} of {all}", n=number, all=len(tries)))
    return tuple(found)


def painted_out(pet: Volume, labels: Volume, absent: Collection[int]) -> Volume:
    """The PET with the uptake of some lesions replaced by that of the tissue around each.

    Args:
        pet: SUV.
        labels: lesions by number on the same grid; 0 is background.
        absent: numbers of those to paint out. The voxels of every other lesion keep their values.
    """
    suv = pet.array.copy()
    margin = [int(np.ceil(_SHELL_MM[1] / step)) + 1 for step in reversed(pet.spacing)]
    for number, box in enumerate(ndimage.find_objects(labels.array), start=1):
        if box is None or number not in absent:
            continue
        around = tuple(
            slice(max(0, side.start - more), side.stop + more) for side, more in zip(box, margin, strict=True)
        )
        here = labels.array[around]
        lesion = here == number
        grown = ndimage.binary_dilation(lesion, _NEIGHBOURS) & (lesion | (here == 0))
        tissue = pet.array[around][_shell(pet.array[around], here, lesion, pet.spacing)]
        suv[around][grown] = np.median(tissue if tissue.size else pet.array[labels.array == 0])
    return pet.like(suv, pet.unit)


def _shell(
    suv: NDArray[np.float32], labels: NDArray[np.uint16], lesion: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """The tissue around a lesion, away from every lesion and from the air."""
    distance = ndimage.distance_transform_edt(~lesion, sampling=spacing[::-1])
    healthy = ~ndimage.binary_dilation(labels > 0, _NEIGHBOURS)
    near, far = _SHELL_MM
    shell: NDArray[np.bool_] = healthy & (distance >= near) & (distance <= far) & (suv > _OUTSIDE_SUV)
    return shell
