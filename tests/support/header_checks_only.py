"""An analysis for images too small or too simple to pass the checks of the program."""

from __future__ import annotations

from dataclasses import dataclass

from fedpet.imaging.analysis import StudyAnalysis


@dataclass(frozen=True, eq=False)
class HeaderChecksOnly(StudyAnalysis):
    """The study's own `header_checks`, and those of a reader's mask, are all its checks."""

    @property
    def checks(self):
        return (*self.study.header_checks, *self.mask_checks)
