"""Bounds of what an input contract may say: it comes in a file, and sizes memory and every input of the network."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite, prod
from typing import TYPE_CHECKING, Final, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.input_contract import ClinicalTerm, InputContract, QuantityTerm

_LONGEST_SIDE: Final = 1024  # voxels
_MOST_VOXELS: Final = 2**26  # 64 million: 1.5 mm over head to thigh
_SPACINGS_MM: Final = (0.5, 64.0)
_MOST_TERMS: Final = 500
_LAST_MONTH: Final = 1200.0
_HU: Final = (-10_000.0, 100_000.0)
_SUV: Final = (0.0, 10_000.0)


def require_bounds(contract: InputContract, kinds: object, transforms: object) -> None:
    """Require that every parameter can be meant.

    Args:
        contract: as read.
        kinds: the `Literal` of kinds of clinical terms.
        transforms: the `Literal` of transforms of quantities.

    Raises:
        ValueError: one cannot; the text says which.
        TypeError: one has another type.
    """
    _require_grid(contract)
    _require_crops(contract)
    for name, value, (low, high) in (
        ("suv_range", contract.suv_range, _SUV),
        ("hu_range", contract.hu_range, _HU),
        ("outside_hu", (contract.outside_hu,), _HU),
    ):
        if not all(low <= one <= high for one in value) or list(value) != sorted(set(value)):
            raise ValueError(f"{name} {value}: expected increasing numbers from {low:g} to {high:g}")
    edges = contract.month_edges
    if len(edges) < 2 or edges[0] != 0 or not all(a < b <= _LAST_MONTH for a, b in pairwise(edges)):
        raise ValueError(f"month_edges {edges}: expected increasing months from 0 to {_LAST_MONTH:g} at most")
    scaled: tuple[ClinicalTerm | QuantityTerm, ...] = (*contract.terms, *contract.quantities)
    for term in scaled:
        if not (isfinite(term.mean) and isfinite(term.sd) and term.sd > 0):
            raise ValueError(f"term {term.name}: mean and sd must be finite, and sd above 0")
    _require_known("kind", [term.kind for term in contract.terms], get_args(kinds))
    _require_known("transform", [term.transform for term in contract.quantities], get_args(transforms))
    _require_once("terms", [term.name for term in contract.terms])
    _require_once("quantities", [term.name for term in contract.quantities])
    _require_once("concepts", contract.concepts)


def _require_grid(contract: InputContract) -> None:
    shape, (least, most) = contract.shape, _SPACINGS_MM
    whole = len(shape) == 3 and all(isinstance(one, int) and 1 <= one <= _LONGEST_SIDE for one in shape)
    if not whole or prod(shape) > _MOST_VOXELS:
        raise ValueError(
            f"shape {shape}: expected three whole numbers of 1 to {_LONGEST_SIDE}, 64 million voxels at most"
        )
    if not least <= contract.spacing_mm <= most:
        raise ValueError(f"spacing_mm {contract.spacing_mm}: expected {least:g} to {most:g}")


def _require_crops(contract: InputContract) -> None:
    crops, (least, most) = contract.crops, _SPACINGS_MM
    if crops is None:
        return
    if contract.shape != (1, 1, 1) or not contract.quantities:
        raise ValueError("crops: expected beside the quantities of a lesion table, and no voxels of the whole study")
    for name, value, highest in (("size", crops.size, 64), ("lesions", crops.lesions, 64)):
        if not isinstance(value, int) or not 1 <= value <= highest:
            raise ValueError(f"crops: {name} {value}: expected a whole number of 1 to {highest}")
    if crops.size % 4 or not least <= crops.spacing_mm <= most:
        raise ValueError(f"crops: expected a size that 4 divides, and {least:g} to {most:g} mm")


def _require_known(what: str, values: Sequence[str], known: Sequence[str]) -> None:
    if unknown := set(values) - set(known):
        raise ValueError(f"unknown {what}: {', '.join(sorted(map(str, unknown)))}")


def _require_once(what: str, names: Sequence[str]) -> None:
    if len(names) > _MOST_TERMS or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what}: expected {_MOST_TERMS} different names at most")
