"""The usual uptake of healthy tissue, measured on a hospital's earlier studies.

Every study goes through all checks, as for a prediction. Those that fail one are left out, but for the check of the
scale, which judges by what is learned here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from math import exp
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import NodeDataError, StudyError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.dicom.files import DAMAGED
from fedpet.imaging.loading import load_study
from fedpet.imaging.quality.centre_uptake import (
    LEAST_STUDIES,
    CentreUptake,
    MeasuredUptake,
    learn_centre_uptake,
    scanner_name,
)
from fedpet.imaging.quality.uptake_ranges import SCALE, measure_uptake_ranges
from training.data.process_pool import Lost, surviving_map
from training.data.study_folders import patient_folders

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.core.progress import Progress

UNREADABLE: Final = "unreadable"


@dataclass(frozen=True)
class LearnedUptake:
    """What was learned from a folder of studies.

    Attributes:
        usual: by scanner.
        left_out: number of studies by the check that failed first; `UNREADABLE` where they could not be loaded.
    """

    usual: CentreUptake
    left_out: dict[str, int]

    @property
    def sentences(self) -> tuple[Message, ...]:
        """For the person who ran the command."""
        learned = (
            Message(
                "{scanner}: {times:.2f} times the published uptake in {n} studies; a study fails below {low:.2f} and"
                " above {high:.2f} times that.",
                scanner=one.scanner,
                times=exp(one.scale),
                n=one.studies,
                low=exp(-one.scale_limits[1]),
                high=exp(one.scale_limits[1]),
            )
            for one in self.usual.scanners
        )
        refused = (
            Message("{scanner}: nothing is learned, {why}.", scanner=scanner or "?", why=why)
            for scanner, why in self.usual.refused
        )
        left_out = (
            Message("Left out: {n} studies ({why}).", n=count, why=name) for name, count in self.left_out.items()
        )
        return (*learned, *refused, *left_out)

    def require(self) -> CentreUptake:
        """What was learned.

        Raises:
            NodeDataError: nothing was, for no scanner.
        """
        if self.usual.scanners:
            return self.usual
        raise NodeDataError(
            found=Message("The usual uptake could not be learned for any scanner."),
            needed=Message("At least {n} good studies of one scanner, with plausible uptake.", n=LEAST_STUDIES),
            advice=Message("Give more studies, and look at those that fail a check with “fedpet inspect”."),
        )


def measure_centre_uptake(
    dicom_dir: Path, key: bytes, *, workers: int = 1, progress: Progress = no_progress
) -> LearnedUptake:
    """Measure every study below a folder and learn from the good ones.

    Args:
        dicom_dir: one folder a patient.
        key: secret of the pseudonyms.
        workers: processes.
        progress: reports each study.

    Raises:
        NodeDataError: there is no folder.
    """
    folders = patient_folders(dicom_dir)
    good, left_out = [], Counter[str]()
    for done, found in enumerate(surviving_map(partial(_measure, key=key), folders, workers=workers), start=1):
        if isinstance(found, MeasuredUptake):
            good.append(found)
        else:
            left_out[UNREADABLE if isinstance(found, Lost) else found] += 1
        progress(done / len(folders), Message("Measuring healthy tissue ({done} of {n})", done=done, n=len(folders)))
    return LearnedUptake(learn_centre_uptake(good), dict(left_out.most_common()))


def _measure(folder: Path, *, key: bytes) -> MeasuredUptake | str:
    """The uptake in a study, or which check failed first."""
    try:
        analysis = StudyAnalysis(load_study(folder, pseudonym_key=key))
    except (StudyError, *DAMAGED, OSError):
        return UNREADABLE
    failed = [check.name for check in analysis.failed_checks if check.name != SCALE]
    if failed or analysis.anatomy is None:
        return failed[0] if failed else UNREADABLE
    facts = analysis.study.pet_facts
    return MeasuredUptake(scanner_name(facts), facts.uptake_min, measure_uptake_ranges(analysis.anatomy))
