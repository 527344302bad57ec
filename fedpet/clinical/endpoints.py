"""Progression-free and overall survival from the first dose of immunotherapy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.core.errors import RecordError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from datetime import date

DAYS_PER_MONTH = 30.4375
PFS12_DAYS = 365
DCB_DAYS = 183
OS24_DAYS = 730


@dataclass(frozen=True)
class SurvivalOutcome:
    """Time from the first dose to confirmed progression or death (`event`), else to the last news.

    Overall survival is the same with death as the only event, see `overall_from_dates`.
    """

    months: float
    event: bool

    @staticmethod
    def from_dates(
        *, start: date | None, progression: date | None, death: date | None, last_news: date | None
    ) -> SurvivalOutcome | None:
        """The earlier of progression and death, else censoring at the last news.

        Returns:
            None where the first dose is unknown, or where there is neither an event nor any news.

        Raises:
            RecordError: an event or the last news lies before the first dose, or a progression after death.
        """
        if start is None:
            return None
        events = [day for day in (progression, death) if day is not None]
        end = min(events) if events else last_news
        if end is None:
            return None
        if end < start:
            raise _impossible(Message("An event or the last news is dated before the first dose."))
        if progression is not None and death is not None and progression > death:
            raise _impossible(Message("Progression is dated after death."))
        return SurvivalOutcome((end - start).days / DAYS_PER_MONTH, event=bool(events))

    @staticmethod
    def overall_from_dates(
        *, start: date | None, progression: date | None, death: date | None, last_news: date | None
    ) -> SurvivalOutcome | None:
        """Time to death, else censored at the last news, or at a progression that is the last news there is.

        Returns:
            None where the first dose is unknown, or where there is no news.

        Raises:
            RecordError: death or the last news lies before the first dose.
        """
        known = [day for day in (progression, last_news) if day is not None]
        return SurvivalOutcome.from_dates(
            start=start, progression=None, death=death, last_news=max(known) if known else None
        )

    def free_of_event(self, days: int) -> bool | None:
        """Whether the patient was event-free for `days`; None (unknown) where censored before."""
        if self.months * DAYS_PER_MONTH >= days - 1e-6:
            return True
        return False if self.event else None

    @property
    def pfs_12m(self) -> bool | None:
        """Event-free for 365 days."""
        return self.free_of_event(PFS12_DAYS)

    @property
    def durable_benefit(self) -> bool | None:
        """Event-free for 6 months (183 days)."""
        return self.free_of_event(DCB_DAYS)


def _impossible(found: Message) -> RecordError:
    return RecordError(
        found=found,
        needed=Message("Dates must follow each other: first dose, progression, death or last news."),
        advice=Message(
            "Correct the four dates of this patient (date_debut_ici, date_progression, date_deces,"
            " date_dernieres_nouvelles)."
        ),
    )
