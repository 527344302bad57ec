"""What a federation will see of a hospital: endpoints, follow-up, scanners, its patients beside a published cohort.

The published cohort are 845 French patients with immunotherapy for non-small-cell lung cancer (docs/cohort.md).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Final

from fedpet.clinical.endpoints import DCB_DAYS, OS24_DAYS, PFS12_DAYS
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fedpet.clinical.record import ClinicalRecord
    from training.data.site_check.comparison import SiteCheck

_EARLY_DAYS: Final = 91
_Z: Final = 1.96


@dataclass(frozen=True)
class EndpointCount:
    """Patients who reached an endpoint, who did not, and of whom it is not known yet."""

    label: Message
    reached: int
    not_reached: int
    unknown: int


@dataclass(frozen=True)
class Share:
    """A share of the patients beside that of the published cohort.

    Attributes:
        label: for people.
        count, of: patients with it, and patients of whom it is known.
        published: share in the published cohort.
    """

    label: Message
    count: int
    of: int
    published: float

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        if not self.of:
            return 0.0, 1.0
        p, n = self.count / self.of, self.of
        centre, spread = p + _Z**2 / (2 * n), _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return max(0.0, (centre - spread) / (1 + _Z**2 / n)), min(1.0, (centre + spread) / (1 + _Z**2 / n))

    @property
    def differs(self) -> bool:
        """Whether the published share lies outside of the interval."""
        low, high = self.interval
        return not low <= self.published <= high


@dataclass(frozen=True)
class FederationView:
    """A hospital's usable patients in numbers.

    Attributes:
        patients: number.
        events: progressions and deaths seen.
        endpoints: numbers by endpoint.
        follow_up: median months, by the reverse Kaplan-Meier method; None where it is not reached.
        pfs: median months of progression-free survival (Kaplan-Meier); None where it is not reached.
        age: median, years; None where no age is stated.
        scanners: patients by maker and model.
        shares: beside the published cohort.
    """

    patients: int
    events: int
    endpoints: tuple[EndpointCount, ...]
    follow_up: float | None
    pfs: float | None
    age: float | None
    scanners: tuple[tuple[str, int], ...]
    shares: tuple[Share, ...]


PUBLISHED_AGE: Final = 65.0  # years, median
PUBLISHED_PFS: Final = 8.2  # months, median


def federation_view(site: SiteCheck) -> FederationView:
    """What a federation will see of the usable patients."""
    rows = [one.row for one in site.usable if one.row is not None]
    outcomes = [row.outcome for row in rows if row.outcome is not None]
    months, events = [one.months for one in outcomes], [one.event for one in outcomes]
    records = [row.record for row in rows if row.record is not None]
    ages = [record.age for record in records if record.age is not None]
    scanners = Counter(
        " ".join(filter(None, (one.study.manufacturer, one.study.model))) or "-" for one in site.usable if one.study
    )
    free = ((_PFS12, PFS12_DAYS), (_DCB, DCB_DAYS), (_EARLY, _EARLY_DAYS))
    counts = [_count(label, [one.free_of_event(days) for one in outcomes]) for label, days in free]
    alive = [None if row.survival is None else row.survival.free_of_event(OS24_DAYS) for row in rows]
    return FederationView(
        patients=len(rows),
        events=sum(events),
        endpoints=(
            *counts,
            _count(_OS24, alive),
        ),
        follow_up=kaplan_meier_median(months, [not event for event in events]),
        pfs=kaplan_meier_median(months, events),
        age=median(ages) if ages else None,
        scanners=tuple(scanners.most_common()),
        shares=tuple(_share(label, records, has, published) for label, has, published in _PUBLISHED),
    )


_PFS12 = Message("Free of progression for 12 months")
_DCB = Message("Durable benefit (6 months)")
_EARLY = Message("No early failure (3 months)")
_OS24 = Message("Alive at 24 months")


def kaplan_meier_median(months: Sequence[float], events: Sequence[bool]) -> float | None:
    """The time at which the Kaplan-Meier curve falls to one half; None where it does not.

    Args:
        months: of event or censoring.
        events: whether the event was seen.
    """
    survival, at_risk = 1.0, len(months)
    for index in sorted(range(len(months)), key=lambda i: (months[i], not events[i])):
        if events[index]:
            survival *= 1 - 1 / at_risk
            if survival <= 0.5 + 1e-12:
                return float(months[index])
        at_risk -= 1
    return None


def _count(label: Message, free: Sequence[bool | None]) -> EndpointCount:
    counts = Counter(free)
    return EndpointCount(label, counts[True], counts[False], counts[None])


def _share(
    label: Message, records: Sequence[ClinicalRecord], has: Callable[[ClinicalRecord], bool | None], published: float
) -> Share:
    stated = [value for record in records if (value := has(record)) is not None]
    return Share(label, sum(stated), len(stated), published)


def _known(value: object, answer: Callable[[], bool]) -> bool | None:
    return None if value is None else answer()


_PUBLISHED: Final[tuple[tuple[Message, Callable[[ClinicalRecord], bool | None], float], ...]] = (
    (Message("Men"), lambda r: _known(r.sex, lambda: r.sex == "M"), 0.678),
    (Message("ECOG PS 0-1"), lambda r: _known(r.ecog_ps, lambda: (r.ecog_ps or 0) <= 1), 0.781),
    (Message("Never smokers"), lambda r: _known(r.smoking, lambda: r.smoking == "never"), 0.066),
    (Message("Non-squamous"), lambda r: _known(r.histology, lambda: r.histology != "squamous"), 0.696),
    (Message("PD-L1 ≥ 75 %"), lambda r: _known(r.pdl1_tps, lambda: (r.pdl1_tps or 0) >= 75), 0.489),
    (Message("Brain metastases"), lambda r: r.brain_metastases, 0.208),
    (Message("Steroids"), lambda r: r.steroids, 0.109),
    (Message("Antibiotics"), lambda r: r.antibiotics, 0.168),
)
