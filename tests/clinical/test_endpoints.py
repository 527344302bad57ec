from datetime import date, timedelta

import pytest

from fedpet.clinical.endpoints import SurvivalOutcome
from fedpet.core.errors import RecordError

START = date(2024, 1, 10)


def outcome(*, progression=None, death=None, last_news=None, start=START):
    def day(offset):
        return None if offset is None else START + timedelta(days=offset)

    return SurvivalOutcome.from_dates(
        start=start, progression=day(progression), death=day(death), last_news=day(last_news)
    )


def test_months_are_days_over_30_4375():
    assert outcome(progression=487).months == pytest.approx(16.0, abs=1e-12)
    assert outcome(last_news=0) == SurvivalOutcome(0.0, event=False)


def test_the_earlier_of_progression_and_death_is_the_event():
    assert outcome(progression=60, death=100, last_news=100) == outcome(progression=60)
    assert outcome(death=100, last_news=90).event
    assert not outcome(last_news=90).event


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"progression": 365}, True),  # event-free for 365 days
        ({"progression": 364}, False),
        ({"death": 20}, False),
        ({"last_news": 365}, True),
        ({"last_news": 364}, None),  # censored before: unknown, never False
        ({"last_news": 900}, True),
    ],
)
def test_pfs_at_12_months(given, expected):
    assert outcome(**given).pfs_12m is expected


@pytest.mark.parametrize(("day", "expected"), [(182, False), (183, True)])
def test_durable_benefit_is_183_days(day, expected):
    assert outcome(progression=day).durable_benefit is expected


def test_no_outcome_without_first_dose_or_news():
    assert outcome(start=None, progression=10) is None
    assert outcome() is None


@pytest.mark.parametrize("given", [{"progression": -1}, {"last_news": -1}, {"progression": 50, "death": 40}])
def test_impossible_dates_are_refused(given):
    with pytest.raises(RecordError):
        outcome(**given)


@pytest.mark.parametrize(
    ("given", "days", "died"),
    [
        ({"progression": 100, "death": 300, "last_news": 300}, 300, True),
        ({"progression": 100, "last_news": 400}, 400, False),
        ({"progression": 100}, 100, False),  # the only news
        ({"progression": 100, "last_news": 60}, 100, False),
        ({"death": 200}, 200, True),
    ],
)
def test_overall_survival_ends_with_death_only(given, days, died):
    day = {name: START + timedelta(days=offset) for name, offset in given.items()}
    dates = dict.fromkeys(("progression", "death", "last_news")) | day
    found = SurvivalOutcome.overall_from_dates(start=START, **dates)
    assert (round(found.months * 30.4375), found.event) == (days, died)
    assert SurvivalOutcome.overall_from_dates(start=None, **dates) is None
