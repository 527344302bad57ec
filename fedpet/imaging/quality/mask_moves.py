"""How the usual faults of headers move a mask over a PET: voxel positions, and the words for each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpet.imaging.volume import Volume

Index = NDArray[np.intp]  # (n, 3): slice, row, column
Move = Callable[[Index], Index]
_WAYS: Final = (  # along x, y, z
    Message("from left to right"), Message("from front to back"), Message("from head to foot"),
)  # fmt: skip


def stay(index: Index) -> Index:
    """No move."""
    return index


def usual_faults(pet: Volume) -> list[tuple[Message, Move]]:
    """What undoes the usual faults: axes mirrored in the array or about the origin, two axes exchanged."""
    faults = [
        *((_mirrored(pet, axes), _flip(pet, axes)) for axes in ((2,), (1,), (0,), (1, 2))),
        *((_other_sign(ways), _flip_mm(pet, ways)) for ways in ((0,), (1,), (0, 1))),
    ]
    for first, second in ((1, 2), (0, 1), (0, 2)):
        order = [0, 1, 2]
        order[first], order[second] = second, first
        faults.append((_exchanged(pet, first, second), _reorder(order)))
    return faults


def all_turns(pet: Volume) -> list[tuple[Message, Move]]:
    """The axes of the array in any order and direction."""
    told = Message("mirrored and given with its axes in another order")

    def turn(order: Sequence[int], flip: Move) -> Move:
        return lambda index: flip(index[:, list(order)])

    return [
        (told, turn(order, _flip(pet, tuple(np.flatnonzero(turned)))))
        for order in permutations(range(3))
        for turned in product((False, True), repeat=3)
    ]


def shift(pet: Volume, by: Index) -> tuple[Message, Move]:
    """Every voxel moved by (slices, rows, columns)."""
    x, y, z = (float(value) for value in pet.affine[:3, :3] @ by[::-1])
    return Message("moved by ({x:.0f}, {y:.0f}, {z:.0f}) mm", x=x, y=y, z=z), lambda index: index + by


def _reorder(order: Sequence[int]) -> Move:
    return lambda index: index[:, list(order)]


def _flip(pet: Volume, axes: Sequence[int]) -> Move:
    """Axes of the array run backwards."""
    turned = np.isin(range(3), axes)
    last = np.array(pet.shape) - 1
    return lambda index: np.where(turned, last - index, index)


def _flip_mm(pet: Volume, ways: Sequence[int]) -> Move:
    """Coordinates with the other sign, as where LPS is taken for RAS."""
    signs = np.where(np.isin(range(3), ways), -1.0, 1.0)
    return lambda index: np.rint(pet.to_index(pet.to_mm(index.astype(float)) * signs)).astype(np.intp)


def _way(pet: Volume, axis: int) -> int:
    """The patient's axis (0 for x) that an axis of the array follows."""
    return int(np.abs(pet.affine[:3, 2 - axis]).argmax())


def _mirrored(pet: Volume, axes: Sequence[int]) -> Message:
    ways = sorted(_way(pet, axis) for axis in axes)
    if len(ways) > 1:
        return Message("mirrored {one} and {other}", one=_WAYS[ways[0]], other=_WAYS[ways[1]])
    return Message("mirrored {way}", way=_WAYS[ways[0]])


def _other_sign(ways: Sequence[int]) -> Message:
    if len(ways) > 1:
        return Message("given the other sign in x and y (LPS taken for RAS)")
    return Message("given the other sign in {axis}", axis="xyz"[ways[0]])


def _exchanged(pet: Volume, first: int, second: int) -> Message:
    one, other = sorted("xyz"[_way(pet, axis)] for axis in (first, second))
    return Message("given with its axes {one} and {other} exchanged", one=one, other=other)
