"""Names of the delineation methods, and the model's lesion map for `imaging.delineation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fedpet.messages import Message
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.resampling import Grid
    from inference.contract import Contract
    from inference.engine import EngineOutput

GIVEN: Final = "given_mask"
_WITH_MAP: Final = "_model_map"
_LABELS: Final = {
    GIVEN: Message("mask given by the reader"),
    "suv4": Message("SUV ≥ 4, physiological uptake excluded by rules"),
    "suv41pct": Message("41 % of each lesion's SUVmax, physiological uptake excluded by rules"),
    "percist_liver": Message("SUV ≥ 1.5 x liver + 2 SD (PERCIST), physiological uptake excluded by rules"),
    "percist_blood_pool": Message("SUV ≥ 2 x blood pool + 2 SD (PERCIST), physiological uptake excluded by rules"),
}


def method_label(method: str) -> Message:
    """Human name of a delineation method.

    Raises:
        KeyError: no method of `imaging.delineation`.
    """
    if method.endswith(_WITH_MAP):
        rules = _LABELS[method.removesuffix(_WITH_MAP)]
        return Message("{method}, the model's lesion map deciding in doubtful places", method=rules)
    return _LABELS[method]


def lesion_map(output: EngineOutput, grid: Grid, contract: Contract) -> Volume:
    """The model's probability of lesion, 0 to 1, on its own grid."""
    return Volume(output.maps[contract.concepts.index("lesion")], grid.affine, "1")
