"""The strict reader of DA, TM and DT: every form that is understood, exactly; everything else unreadable."""

from __future__ import annotations

import datetime as dt
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpet.imaging.dicom.headers.temporal_values import (
    YEARS,
    UnreadableValueError,
    read_date,
    read_date_time,
    read_time,
    read_utc_offset,
)

DATES = st.dates(dt.date(YEARS[0], 1, 1), dt.date(YEARS[-1], 12, 31))
CLOCKS = st.times()
OFFSETS = st.integers(-48, 56).map(lambda quarters: dt.timedelta(minutes=15 * quarters))
PADDING = st.sampled_from(["", " ", "  ", "\0", " \0"])


def unreadable(read, text):
    with pytest.raises(UnreadableValueError) as refusal:
        read(text)
    assert text.strip() == "" or text not in str(refusal.value)  # what is wrong is not quoted: it may be anything
    return True


@given(DATES, st.sampled_from(["", ".", "-", "/"]), PADDING)
def test_a_date_in_any_form(day, mark, padding):
    text = f"{day.year:04d}{mark}{day.month:02d}{mark}{day.day:02d}"
    assert read_date(text + padding) == day


CLOCK_FORMS = {
    "HHMMSS.FFFFFF": lambda t: (t.strftime("%H%M%S.%f"), t),
    "HHMMSS.FFF": lambda t: (t.strftime("%H%M%S.%f")[:-3], t.replace(microsecond=t.microsecond // 1000 * 1000)),
    "HHMMSS.": lambda t: (t.strftime("%H%M%S."), t.replace(microsecond=0)),
    "HHMMSS": lambda t: (t.strftime("%H%M%S"), t.replace(microsecond=0)),
    "HHMM": lambda t: (t.strftime("%H%M"), t.replace(second=0, microsecond=0)),
    "nine decimals": lambda t: (t.strftime("%H%M%S.%f") + "987", t),
    "a comma": lambda t: (t.strftime("%H%M%S,%f"), t),
    "HH:MM:SS": lambda t: (t.strftime("%H:%M:%S"), t.replace(microsecond=0)),
    "HH:MM:SS.FFFFFF": lambda t: (t.strftime("%H:%M:%S.%f"), t),
    "HH:MM": lambda t: (t.strftime("%H:%M"), t.replace(second=0, microsecond=0)),
    "H:MM:SS": lambda t: (f"{t.hour}:{t:%M:%S}", t.replace(microsecond=0)),
    "T first": lambda t: (t.strftime("T%H%M%S"), t.replace(microsecond=0)),
}


@pytest.mark.parametrize("form", CLOCK_FORMS.values(), ids=CLOCK_FORMS)
@given(clock=CLOCKS, padding=PADDING)
def test_a_time_in_any_form(form, clock, padding):
    text, expected = form(clock)
    assert read_time(padding.replace("\0", "") + text + padding) == expected


@given(CLOCKS)
def test_a_time_without_its_point_unless_it_may_be_a_date_and_time(clock):
    text = clock.strftime("%H%M%S%f")
    try:
        day = dt.datetime.strptime(text, "%Y%m%d%H%M")  # noqa: DTZ007  only whether it is one
    except ValueError:
        day = dt.datetime(1, 1, 1)  # noqa: DTZ001
    if 1900 <= day.year < 2200:
        assert unreadable(read_time, text)
    else:
        assert read_time(text) == clock


def test_every_number_of_up_to_six_digits_is_a_time_or_unreadable():
    """Two to four and six digits have one meaning; an oracle of our own, without regular expressions."""
    for width in (1, 2, 3, 4, 5, 6):
        numbers = range(0, 10**width, 1 if width < 6 else 7)
        for number in numbers:
            text = f"{number:0{width}d}"
            parts = [int(text[at : at + 2]) for at in range(0, width, 2)]
            good = width in (4, 6) and parts[0] < 24 and parts[1] < 60 and (width == 4 or parts[2] <= 60)
            try:
                read = read_time(text)
            except UnreadableValueError:
                assert not good, text
            else:
                assert good, text
                second = min(parts[2], 59) if width == 6 else 0
                assert read == dt.time(parts[0], parts[1], second)


STAMPS = {
    "YYYYMMDDHHMMSS.FFFFFF": "%Y%m%d%H%M%S.%f",
    "ISO 8601 extended": "%Y-%m-%dT%H:%M:%S.%f",
    "ISO 8601 basic": "%Y%m%dT%H%M%S.%f",
    "a space": "%Y%m%d %H%M%S.%f",
    "a space and marks": "%Y-%m-%d %H:%M:%S.%f",
    "points": "%Y.%m.%d %H:%M:%S.%f",
    "twenty digits": "%Y%m%d%H%M%S%f",
    "a small t": "%Y-%m-%dt%H:%M:%S.%f",
}


def zone_text(offset, mark):
    minutes = abs(offset) // dt.timedelta(minutes=1)
    return f"{'-' if offset < dt.timedelta(0) else '+'}{minutes // 60:02d}{mark}{minutes % 60:02d}"


@pytest.mark.parametrize("form", STAMPS.values(), ids=STAMPS)
@given(day=DATES, clock=CLOCKS, offset=st.none() | OFFSETS, mark=st.sampled_from(["", ":"]), padding=PADDING)
def test_a_date_time_in_any_form_with_and_without_its_offset(form, day, clock, offset, mark, padding):
    stamp = dt.datetime.combine(day, clock)
    zone = "" if offset is None else zone_text(offset, mark)
    expected = stamp if offset is None else stamp.replace(tzinfo=dt.timezone(offset))
    read = read_date_time(f"{stamp.strftime(form).zfill(len(stamp.strftime(form)))}{zone}{padding}")
    assert read == expected
    assert read.utcoffset() == expected.utcoffset()


def test_utc_has_a_letter():
    assert read_date_time("2024-03-05T08:00:00Z").utcoffset() == dt.timedelta(0)
    assert read_date_time("20240305080000+01").utcoffset() == dt.timedelta(hours=1)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "20240230", "20241301", "20240000", "00000000", "99990101", "05/03/2024", "03-05-2024", "2024-3-5",
        "2024", "202403", "2024-03.05", "20240305T000000", "240305", "2O240305", "20240305-20240306", "२०२४०३०५",
        "20240305?",
    ],
)  # fmt: skip
def test_what_is_no_date(text):
    assert unreadable(read_date, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "9", "09", "240000", "236000", "235961", "9h30", "09h30m00s", "9:00 AM", "090000 AM", "90000", "0900-1000",
        "09:0", "09:00:0", "09::00", "0900.5", "09000.5", "090000.12a", "090000..1", "09-00-00", "0900000", "09000000",
        "20240305090000", "202403050900", "090000Z", "090000+0100", "-090000", "noon", "٠٩٠٠٠٠", "09 00 00",
    ],
)  # fmt: skip
def test_what_is_no_time(text):
    assert unreadable(read_time, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "2024", "202403", "20240305", "2024030508", "2024-03-05", "20240305T", "20240305T08", "20240305240000",
        "20240230080000", "2024030508000", "20240305080000+1500", "20240305080000-1300", "20240305080000-0000",
        "20240305080000-00:00", "20240305080000+0160", "20240305080000+1", "2024-03-0508:00", "2024-0305T080000",
        "20240305080000 CET", "20240305080000.5.5", "05/03/2024 08:00:00", "20240305,080000", "1709625600",
        "00000000000000", "20240305080000\\20240305090000",
    ],
)  # fmt: skip
def test_what_is_no_date_time(text):
    assert unreadable(read_date_time, text)


@pytest.mark.parametrize(("text", "hours"), [("+0100", 1), ("-0330", -3.5), ("+1400", 14), ("Z", 0), ("+05:45", 5.75)])
def test_an_offset_from_utc(text, hours):
    assert read_utc_offset(text).utcoffset(None) == dt.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "0100", "+9900", "+1", "+0161", "-0000", "CET", "+0100+0100"])
def test_what_is_no_offset(text):
    assert unreadable(read_utc_offset, text)


@given(st.text(st.sampled_from("0123456789:.-+TZ ,/"), max_size=26))
def test_whatever_is_understood_is_written_with_the_same_digits(text):
    """No part of a text is left aside: all of its digits are in what was read, in their order."""
    digits = re.sub(r"\D", "", text)
    for read in (read_date, read_time, read_date_time):
        try:
            value = read(text)
        except UnreadableValueError:
            continue
        if isinstance(value, dt.datetime):
            canonical = f"{value.year:04d}{value:%m%d%H%M%S%f}"
        else:
            canonical = f"{value.year:04d}{value:%m%d}" if isinstance(value, dt.date) else f"{value:%H%M%S%f}"
        assert _agree(digits, canonical), text


def _agree(digits, canonical):
    """Digits as written against all digits of the value; one-digit hours, leap seconds, offsets and decimals apart."""
    forms = {canonical, canonical[: len(canonical) - 6], canonical[:12], canonical[:4], canonical[:8]}
    padded = {digits, f"0{digits}", f"{digits[:8]}0{digits[8:]}"}
    return any(
        one.replace("60", "59").startswith(form) or form.startswith(one.replace("60", "59"))
        for one, form in itertools.product(padded, forms)
    )
