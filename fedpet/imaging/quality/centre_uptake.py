"""Usual uptake of healthy tissue at a centre: learned from its own earlier studies, scanner by scanner.

A scanner is calibrated to within 10 %, protocols differ in uptake time and reconstruction: what is usual at one centre
is odd at another. Of its good studies a centre keeps, for each scanner and tissue, the median and the spread of the
uptake relative to the published value (`fedpet.imaging.quality.uptake_ranges.USUAL`). Both are shrunk towards what is
published, which counts as much as `PRIOR_STUDIES` and `PRIOR_SPREAD_STUDIES` studies of the centre. The file holds
these figures and nothing of any patient.

A scale that is wrong in every study would be learned as usual. So a scanner whose tissues together lie farther from the
published ones than `MOST_SCALE`, or whose ratios of tissues do by `MOST_RATIO`, is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from fedpet.imaging.quality.uptake_ranges import USUAL, UptakeRanges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from fedpet.core.settings import Settings
    from fedpet.imaging.study import PetFacts

FORMAT: Final = "centre-uptake-1"
LEAST_STUDIES: Final = 10
PRIOR_STUDIES, PRIOR_SPREAD_STUDIES = 2, 10  # scanners differ by 0.09, patients of one by 0.07
MOST_SCALE: Final = 0.25  # logarithm; 10 % of calibration, and as much and more for reconstruction and who is scanned
MOST_RATIO: Final = 0.35  # logarithm of a tissue relative to all together
SCALE_SPREAD: Final = 0.072  # SD of the logarithm of all tissues together between patients of one scanner
_GOOD_SDS, _FAIL_SDS = 2.0, 2.4
_NARROWEST, _WIDEST = 0.15, 0.24  # bounds of the limit at which the check fails
_TISSUES: Final[Mapping[str, Message]] = {
    "liver": Message("liver"),
    "blood_pool": Message("blood pool"),
    "muscle": Message("muscle"),
    "body": Message("body"),
    "lung": Message("lung"),
    "fat": Message("fat"),
    "spleen": Message("spleen"),
    "marrow": Message("bone marrow"),
}
_SD_OF_MAD: Final = 1.4826  # of normally distributed values


@dataclass(frozen=True)
class TissueUptake:
    """One tissue on one scanner, logarithms.

    Attributes:
        deviation: of the usual uptake from the published one, at the published uptake time.
        spread: SD between patients.
        studies: number of studies in which it was measured.
    """

    deviation: float
    spread: float
    studies: int


@dataclass(frozen=True)
class ScannerUptake:
    """What is usual on one scanner.

    Attributes:
        scanner: maker and model.
        studies: from which it was learned.
        scale: logarithm of the factor of all tissues together on the published ones.
        scale_spread: SD of that logarithm between patients.
        tissues: by name of the field of `UptakeRanges`.
    """

    scanner: str
    studies: int
    scale: float
    scale_spread: float
    tissues: Mapping[str, TissueUptake]

    @property
    def scale_limits(self) -> tuple[float, float]:
        """Logarithm of the scale from which a study warns, and from which it fails."""
        wide = self.scale_spread * sqrt(1 + 1 / self.studies)
        fail = min(max(_FAIL_SDS * wide, _NARROWEST), _WIDEST)
        return fail * _GOOD_SDS / _FAIL_SDS, fail


@dataclass(frozen=True)
class MeasuredUptake:
    """Uptake in one good study of a centre.

    Attributes:
        scanner: as `scanner_name` gives it.
        uptake_min: minutes from injection to the scan; None where not known.
        ranges: as measured.
    """

    scanner: str
    uptake_min: float | None
    ranges: UptakeRanges


@dataclass(frozen=True)
class CentreUptake:
    """What is usual on the scanners of a centre, and why others have none."""

    scanners: tuple[ScannerUptake, ...] = ()
    refused: tuple[tuple[str, Message], ...] = ()

    def of(self, facts: PetFacts) -> ScannerUptake | None:
        """What is usual on the scanner of a study; None where it was not learned."""
        name = scanner_name(facts)
        return next((one for one in self.scanners if one.scanner == name), None)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The text of the file."""
        scanners = {
            one.scanner: {
                "studies": one.studies,
                "scale": one.scale,
                "scale_spread": one.scale_spread,
                "tissues": {name: vars(tissue) for name, tissue in sorted(one.tissues.items())},
            }
            for one in self.scanners
        }
        return json.dumps({"format": FORMAT, "scanners": scanners}, indent=1, sort_keys=True) + "\n"


def scanner_name(facts: PetFacts) -> str:
    """Maker and model, without regard to case and spaces."""
    return " ".join(f"{facts.manufacturer} {facts.model}".upper().split())


def read_centre_uptake(path: Path) -> CentreUptake:
    """What is usual at this centre, from the file that `fedpet cohort uptake` wrote.

    Raises:
        SettingsError: it cannot be read, or says what cannot be.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        scanners = {FORMAT: data["scanners"]}[data["format"]]
        return CentreUptake(tuple(_scanner(name, values) for name, values in scanners.items()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            found=Message("The usual uptake of this centre cannot be read from {file}.", file=str(path)),
            needed=Message("The file as “fedpet cohort uptake” writes it."),
            advice=Message("Run the command again, or remove the setting centre_uptake and the file."),
        ) from error


def own_uptake(settings: Settings) -> CentreUptake | None:
    """What is usual at this centre; None where it has not learned it.

    Raises:
        SettingsError: the file cannot be read, or the one that is set is not there.
    """
    path = settings.centre_uptake_file
    return read_centre_uptake(path) if settings.centre_uptake is not None or path.exists() else None


def _scanner(name: str, values: Mapping[str, Any]) -> ScannerUptake:
    """One scanner of the file.

    Raises:
        ValueError: beyond what is ever learned.
    """
    tissues = {tissue: TissueUptake(**one) for tissue, one in values["tissues"].items()}
    scanner = ScannerUptake(name, values["studies"], values["scale"], values["scale_spread"], tissues)
    plausible = scanner.studies >= LEAST_STUDIES and scanner.scale_spread > 0 and tissues.keys() <= USUAL.keys()
    if not plausible or _refusal(scanner.scale, {tissue: one.deviation for tissue, one in tissues.items()}) is not None:
        raise ValueError(name)
    return scanner


def learn_centre_uptake(measured: Iterable[MeasuredUptake]) -> CentreUptake:
    """What is usual on each scanner, from the centre's good studies."""
    of_scanner: dict[str, list[MeasuredUptake]] = defaultdict(list)
    for one in measured:
        of_scanner[one.scanner].append(one)
    learned, refused = [], []
    for name, studies in sorted(of_scanner.items()):
        found = _learn(name, studies)
        if isinstance(found, Message):
            refused.append((name, found))
        else:
            learned.append(found)
    return CentreUptake(tuple(learned), tuple(refused))


def _learn(name: str, studies: Sequence[MeasuredUptake]) -> ScannerUptake | Message:
    """What is usual on a scanner, or why that is not told."""
    judged = [one.ranges.compared(uptake_min=one.uptake_min) for one in studies]
    scales = np.array([scale for one in judged if (scale := one.log_scale) is not None])
    if len(scales) < LEAST_STUDIES:
        return Message("{n} good studies, {least} are needed", n=len(scales), least=LEAST_STUDIES)
    values = {tissue: _logarithms(judged, tissue) for tissue in USUAL}
    values = {tissue: logs for tissue, logs in values.items() if len(logs) >= LEAST_STUDIES}
    refusal = _refusal(float(np.median(scales)), {tissue: float(np.median(logs)) for tissue, logs in values.items()})
    if refusal is not None:
        return refusal
    return ScannerUptake(
        name,
        len(scales),
        float(np.median(scales)) * _share_of_own(len(scales)),
        _shrunk_spread(scales, SCALE_SPREAD),
        {
            tissue: TissueUptake(
                float(np.median(logs)) * _share_of_own(len(logs)), _shrunk_spread(logs, USUAL[tissue][1]), len(logs)
            )
            for tissue, logs in values.items()
        },
    )


def _refusal(scale: float, deviations: Mapping[str, float]) -> Message | None:
    """Why deviations are too large to be those of a scanner; None where they are not."""
    if abs(scale) > MOST_SCALE:
        return Message(
            "healthy tissues together take up {times:.2f} times the published uptake, which no calibration explains:"
            " weight, dose, times or units may be wrong in all studies",
            times=exp(scale),
        )
    odd = next((name for name, one in deviations.items() if abs(one - scale) > MOST_RATIO), None)
    if odd is None:
        return None
    return Message(
        "{tissue} takes up {times:.2f} times as much, relative to other tissue, as is published: patients may not have"
        " fasted, or the tissue is not found",
        tissue=_TISSUES[odd],
        times=exp(deviations[odd] - scale),
    )


def _logarithms(judged: Sequence[UptakeRanges], tissue: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) of the uptake relative to the published one."""
    return np.array([log(value / USUAL[tissue][0]) for one in judged if (value := getattr(one, tissue))])


def _share_of_own(studies: int) -> float:
    return studies / (studies + PRIOR_STUDIES)


def _shrunk_spread(logs: np.ndarray[Any, np.dtype[np.float64]], published: float) -> float:
    """SD between patients, not moved by a few odd ones, with the published one as that of more studies."""
    own = _SD_OF_MAD * float(np.median(np.abs(logs - np.median(logs))))
    weight = len(logs) - 1
    return sqrt((PRIOR_SPREAD_STUDIES * published**2 + weight * own**2) / (PRIOR_SPREAD_STUDIES + weight))
