"""Whether a reader's mask lies on uptake: its own against a shell around it, and where else it would fit.

A mask exported with a wrong header lies mirrored, with exchanged axes or aside, and every number measured in it is
wrong. Each lesion is compared with the tissue around it: "near" from one voxel to 16 mm away, "far" to 40 mm, for a
region within a larger tumour, which counts only where the region is hot against the body. The fit of a mask is the mean
over its lesions, weighted by the square root of their volume, so that neither the many small nor the one large decide
alone. The same voxels are then looked up where the usual faults of headers would have put them.
`benchmarks/mask_fit.py` measures how often a fault is caught and a true mask is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from fedpet.core.messages import Message
from fedpet.imaging.quality.mask_moves import all_turns, shift, stay, usual_faults
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.quality.mask_moves import Index, Move
    from fedpet.imaging.volume import Volume

CHECK: Final = "mask_fit"
_NEAR_MM, _FAR_MM = 16.0, 40.0
_AUC = 0.6, 0.9  # probability that a voxel inside is hotter than one around: none, clear
_LOG = 0.1, 0.5  # difference of the mean logarithms of SUV: none, clear
_HOT = 2.0, 4.0  # median inside over the mean of the body: not hot, hot
_LOWEST_SUV = 0.05  # below is air and noise
_SAMPLES = 3000  # voxels of a lesion or shell that are looked at
_NO_UPTAKE, _DOUBTFUL = 0.4, 0.55  # of the fit
_IN_HOT_TISSUE = 0.5  # share of lesions in tissue hotter than the body: brain, heart, bladder
_GOOD, _BETTER, _BETTER_ALONE = 0.7, 0.1, 0.3  # fit in another place, and what it adds; for a single lesion
_SEARCH_MM, _PEAKS = 8.0, 40  # grid and candidates of the search for a shift
_SHOWN = 0.5  # score of a lesion with uptake


@dataclass(frozen=True)
class OtherPlace:
    """A place where a mask would fit: how it got away from there, and its fit there, 0 to 1."""

    description: Message
    fit: float


@dataclass(frozen=True)
class MaskFit:
    """How well a mask lies on uptake.

    Attributes:
        status: fail where no lesion shows uptake, or a usual fault of headers would explain more of it; warn where the
            lesions lie in an organ that is hot itself, or few show uptake.
        fit: 0 (no lesion is hotter than what is around it) to 1 (all clearly are).
        lesions: the same for each label.
        in_hot_tissue: the same where tissue hotter than the body counts as uptake, whatever is around it.
        elsewhere: where a mask that failed would fit, if anywhere.
    """

    status: CheckStatus
    fit: float
    lesions: dict[int, float]
    in_hot_tissue: float
    elsewhere: OtherPlace | None

    def check(self) -> QualityCheck:
        """The check "mask_fit"."""
        shown = sum(score >= _SHOWN for score in self.lesions.values())
        if shown == len(self.lesions):
            told = Message("Lesions given with more uptake than around them: all {n}.", n=shown)
        else:
            told = Message(
                "Lesions given with more uptake than around them: {shown} of {n}; without: {numbers}.",
                shown=shown,
                n=len(self.lesions),
                numbers=_numbers([label for label, score in self.lesions.items() if score < _SHOWN]),
            )
        if self.status is CheckStatus.FAIL:
            told = Message("{told} {elsewhere}", told=told, elsewhere=self._elsewhere())
        elif self.fit < _NO_UPTAKE:
            told = Message("{told} They lie in tissue that is hot itself.", told=told)
        return QualityCheck(CHECK, self.status, told)

    def _elsewhere(self) -> Message:
        if self.elsewhere is None:
            return Message("No mirrored, axis-swapped or shifted copy of the mask fits either.")
        return Message(
            "The mask would lie on more uptake if it were {how}. Its header may be wrong, or it may be of another "
            "patient or examination: check both.",
            how=self.elsewhere.description,
        )


def assess_mask_fit(labels: Volume, pet: Volume, *, search: bool = True) -> MaskFit | None:
    """Compare a mask with the uptake under it, around it and in other places.

    Args:
        labels: on the grid of the PET; 0 is background.
        pet: SUV of any normalisation.
        search: look for a shift or an unusual order of the axes too, where there is no uptake, to be able to name it.

    Returns:
        None where the mask is empty.
    """
    numbered = dict(_regions(labels))
    if not numbered:
        return None
    on = _Placement(pet, tuple(numbered.values()))
    scores = on.scores(stay)
    fit = on.mean(scores)
    hot = on.mean([max(pair) for pair in zip(scores, on.heat(stay), strict=True)])
    least = max(_GOOD, fit + (_BETTER if len(scores) > 1 else _BETTER_ALONE))
    elsewhere = _best(on, usual_faults(pet), at_least=least)
    none = fit < _NO_UPTAKE and hot < _IN_HOT_TISSUE
    if search and none and elsewhere is None:
        least = max(_GOOD, fit + _BETTER_ALONE)
        elsewhere = _best(on, all_turns(pet), at_least=least) or _best(on, [_best_shift(on)], at_least=least)
    doubtful = CheckStatus.WARN if fit < _DOUBTFUL else CheckStatus.PASS
    status = CheckStatus.FAIL if none or elsewhere is not None else doubtful
    return MaskFit(status, fit, dict(zip(numbered, scores, strict=True)), hot, elsewhere)


@dataclass(frozen=True, eq=False)
class _Region:
    """Voxels of one label and around it."""

    weight: float
    inside: Index
    near: Index
    far: Index


@dataclass(frozen=True, eq=False)
class _Placement:
    """A mask on a PET, to be looked at in several places."""

    pet: Volume
    regions: tuple[_Region, ...]

    @cached_property
    def body(self) -> float:
        """Mean SUV of what is no air."""
        inside = self.pet.array[self.pet.array > 2 * _LOWEST_SUV]
        return float(inside.mean()) if len(inside) else 1.0

    def fit(self, move: Move) -> float:
        """Of the whole mask in another place."""
        return self.mean(self.scores(move))

    def mean(self, scores: Sequence[float]) -> float:
        """Over the regions, by their weights."""
        return float(np.average(scores, weights=[region.weight for region in self.regions]))

    def scores(self, move: Move) -> list[float]:
        """0 to 1 for each region: how clearly it is hotter than what is around it."""
        found = []
        for region, hot in zip(self.regions, self.heat(move), strict=True):
            inside, near, far = (self._suv(move(index)) for index in (region.inside, region.near, region.far))
            found.append(max(_contrast(inside, near), hot * _contrast(inside, far) if hot else 0.0))
        return found

    def heat(self, move: Move) -> list[float]:
        """0 to 1 for each region: how hot it is against the body."""
        return [_ramp(float(np.median(self._suv(move(one.inside)))) / self.body, _HOT) for one in self.regions]

    def contrast(self, move: Move) -> float:
        """Mean difference of the logarithms of SUV, inside against near."""
        return self.mean([_log_ratio(self._suv(move(one.inside)), self._suv(move(one.near))) for one in self.regions])

    def _suv(self, index: Index) -> NDArray[np.float64]:
        """SUV at voxels; those outside are air."""
        values = np.full(len(index), _LOWEST_SUV)
        held = ((index >= 0) & (index < self.pet.shape)).all(axis=1)
        values[held] = np.maximum(self.pet.array[tuple(index[held].T)], _LOWEST_SUV)
        return values


def _regions(labels: Volume) -> Iterator[tuple[int, _Region]]:
    step = np.array(labels.spacing[::-1])
    pad = np.ceil(_FAR_MM / step).astype(int) + 1
    for number, box in enumerate(ndimage.find_objects(labels.array), start=1):
        if not box:
            continue
        start = [max(0, side.start - more) for side, more in zip(box, pad, strict=True)]
        wide = tuple(slice(low, side.stop + more) for low, side, more in zip(start, box, pad, strict=True))
        inside = labels.array[wide] == number
        away = ndimage.distance_transform_edt(~inside, sampling=step)
        free = (labels.array[wide] == 0) & (away > 1.01 * step.min())
        near, far = free & (away <= _NEAR_MM), free & (away > _NEAR_MM) & (away <= _FAR_MM)
        parts = (_thinned(np.argwhere(part) + start) for part in (inside, near, far))
        yield number, _Region(float(np.sqrt(inside.sum())), *parts)


def _thinned(index: Index) -> Index:
    if len(index) <= _SAMPLES:
        return index
    return np.asarray(index[np.linspace(0, len(index) - 1, _SAMPLES).astype(int)])


def _contrast(inside: NDArray[np.float64], around: NDArray[np.float64]) -> float:
    """The hotter halves are compared too: a necrosis, a generous outline or a hot neighbour take the other one."""
    if not len(around):
        return 0.0
    pairs = (inside, around), (_hotter_half(inside), _hotter_half(around))
    return max(_ramp(_auc(*pair), _AUC) * _ramp(_log_ratio(*pair), _LOG) for pair in pairs)


def _hotter_half(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(values)[len(values) // 2 :]


def _auc(inside: NDArray[np.float64], around: NDArray[np.float64]) -> float:
    ordered = np.sort(around)
    below = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return float(below.mean()) / 2 / len(ordered)


def _log_ratio(inside: NDArray[np.float64], around: NDArray[np.float64]) -> float:
    return float(np.log(inside).mean() - np.log(around).mean()) if len(around) else 0.0


def _ramp(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _best(on: _Placement, moves: Sequence[tuple[Message, Move]], *, at_least: float) -> OtherPlace | None:
    """The move with the best fit, if that is good enough."""
    fit, description = max(((on.fit(move), told) for told, move in moves), key=lambda found: found[0])
    return OtherPlace(description, fit) if fit >= at_least else None


def _best_shift(on: _Placement) -> tuple[Message, Move]:
    """The shift that brings the mask onto the most uptake, found on a coarse grid and then voxel by voxel."""
    factor = np.maximum(1, np.round(_SEARCH_MM / np.array(on.pet.spacing[::-1])).astype(int))
    uptake = _block_means(np.log(np.maximum(on.pet.array, _LOWEST_SUV)), factor)
    kernel = np.zeros(uptake.shape)
    for region in on.regions:
        for index, sign in ((region.inside, 1.0), (region.near, -1.0)):
            places = np.minimum(index // factor, np.array(kernel.shape) - 1)
            np.add.at(kernel, tuple(places.T), sign * region.weight / max(1, len(index)))
    from scipy.signal import fftconvolve  # noqa: PLC0415  half a second, which no other check needs

    found = fftconvolve(uptake, kernel[::-1, ::-1, ::-1], mode="full")
    peaks = np.argwhere((found == ndimage.maximum_filter(found, 3)) & (found > 0))
    peaks = peaks[np.argsort(-found[tuple(peaks.T)])][:_PEAKS]
    by = [(peak - np.array(kernel.shape) + 1) * factor for peak in peaks] or [np.zeros(3, int)]
    best = max(by, key=lambda one: on.fit(shift(on.pet, one)[1]))
    around = [best + np.array(more) for more in product(*[range(-int(n), int(n) + 1) for n in factor])]
    return shift(on.pet, max(around, key=lambda one: on.contrast(shift(on.pet, one)[1])))


def _block_means(array: NDArray[np.float64], factor: NDArray[np.intp]) -> NDArray[np.float64]:
    """Means of blocks of `factor` voxels; what is left over at the end is left out."""
    whole = array[tuple(slice(0, size // n * n) for size, n in zip(array.shape, factor, strict=True))]
    shape = [part for size, n in zip(whole.shape, factor, strict=True) for part in (size // n, n)]
    return np.asarray(whole.reshape(shape).mean(axis=(1, 3, 5)))


def _numbers(labels: Sequence[int]) -> str:
    shown = [str(label) for label in labels[:8]]
    return ", ".join([*shown, "…"] if len(labels) > len(shown) else shown)
