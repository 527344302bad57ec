"""Labels of the delineation methods, and the lesion map of the model for the delineation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion import GIVEN_MASK
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from fedpet.imaging.resampling import Grid
    from inference.engine import EngineOutput
    from inference.input_contract import InputContract

_WITH_MAP: Final = "_model_map"
_LABELS: Final = {
    GIVEN_MASK: Message("mask given by the reader"),
    "suv4": Message("SUV ≥ 4, faint foci by their gradient; physiological uptake excluded by rules"),
    "suv41pct": Message("41 % of each lesion's SUVmax, physiological uptake excluded by rules"),
    "suv25": Message("SUV ≥ 2.5, faint foci by their gradient; physiological uptake excluded by rules"),
    "liver": Message("SUV ≥ 1.5 x liver, faint foci by their gradient; physiological uptake excluded by rules"),
    "gradient": Message("steepest gradient of each lesion, physiological uptake excluded by rules"),
    "adaptive": Message(
        "threshold between each lesion and its background, by its size; physiological uptake excluded by rules"
    ),
    "percist_liver": Message(
        "SUV ≥ 1.5 x liver + 2 SD (PERCIST), faint foci by their gradient; physiological uptake excluded by rules"
    ),
    "percist_blood_pool": Message(
        "SUV ≥ 2 x blood pool + 2 SD (PERCIST), faint foci by their gradient; physiological uptake excluded by rules"
    ),
}


def delineation_method_label(method: str) -> Message:
    """Label of a delineation method.

    Raises:
        KeyError: no method of `fedpet.imaging.lesions.delineation`.
    """
    if method.endswith(_WITH_MAP):
        rules = _LABELS[method.removesuffix(_WITH_MAP)]
        return Message("{method}, the model's lesion map deciding in doubtful places", method=rules)
    return _LABELS[method]


def lesion_map(output: EngineOutput, grid: Grid, contract: InputContract) -> Volume:
    """Probability of lesion by the model, 0 to 1, on the model grid.

    Args:
        output: of the network.
        grid: the model grid (`inference.preprocessing.model_grid`).
        contract: of the model.
    """
    return Volume(output.maps[contract.concepts.index("lesion")], grid.affine, "1")
