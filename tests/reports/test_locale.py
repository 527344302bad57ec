from datetime import datetime

import pytest

from fedpet.core.messages import Message
from reports.locale import Locale
from reports.pdf.style import BLUE, INK, NAVY, PANEL, QUIET, VERMILION

FR, EN = Locale("fr"), Locale("en")


@pytest.mark.parametrize(
    ("call", "french", "english"),
    [
        (lambda e: e.decimal(1005.64), "1\u202f005,6", "1,005.6"),
        (lambda e: e.decimal(-0.314, 2, sign=True), "−0,31", "−0.31"),
        (lambda e: e.decimal(0.314, 2, sign=True), "+0,31", "+0.31"),
        (lambda e: e.decimal(0.0, 2, sign=True), "0,00", "0.00"),
        (lambda e: e.percent(0.337), "34\u202f%", "34%"),
        (lambda e: e.percent(0.002), "<1\u202f%", "<1%"),
        (lambda e: e.percent(0.997), ">99\u202f%", ">99%"),
        (lambda e: e.percent(1.0), "100\u202f%", "100%"),
        (lambda e: e.text("Serum albumin"), "Albuminémie", "Serum albumin"),
        (
            lambda e: e.translate(Message("Delineation: {method}.", method="P")),
            "Segmentation\u00a0: P.",
            "Delineation: P.",
        ),
        (lambda e: e.clock(datetime(2026, 11, 2, 9)), "02/11/2026 09:00:00", "02/11/2026 09:00:00"),  # noqa: DTZ001 - DICOM times are local
        (lambda e: e.interval(0.264, 0.418), "26–42\u202f%", "26–42%"),
        (lambda e: e.day("2026-11-02"), "2 novembre 2026", "2 November 2026"),
        (lambda e: e.day(""), "", ""),
        (
            lambda e: e.translate(Message("PET of {day}", day="2026-11-02")),
            "TEP du 2 novembre 2026",
            "PET of 2 November 2026",
        ),
        (lambda e: e.listed(["a", "b"]), "a\u00a0; b", "a; b"),
        (lambda e: e.moment("2026-01-04T09:05:00"), "4 janvier 2026, 09:05", "4 January 2026, 09:05"),
        (lambda e: e.moment("2026-01-04T09:05:00+02:00"), "4 janvier 2026, 09:05", "4 January 2026, 09:05"),
        (lambda e: e.translate(Message("value {x:.2f} of {n}", x=1.5, n=3)), "value 1,50 of 3", "value 1.50 of 3"),
        (
            lambda e: e.translate(Message("{x:.1e}, {y:.0e}", x=5.5e-8, y=1e-3)),
            "5,5\u00a0×\u00a010⁻⁸, 10⁻³",
            "5.5\u00a0×\u00a010⁻⁸, 10⁻³",
        ),
        (lambda e: e.translate(Message("{x:.2f}, {y:.2f}", x=-0.001, y=-0.5)), "0,00, −0,50", "0.00, −0.50"),
        (lambda e: e.translate(Message("{v:.1f} ml of {n}", v=0, n=1150)), "0,0 ml of 1\u202f150", "0.0 ml of 1,150"),
        (lambda e: e.translate(Message("{x:.0f} % and ≥ 50 %", x=80.0)), "80\u00a0% and ≥ 50\u00a0%", "80% and ≥ 50%"),
        (lambda e: e.translate(Message("{x:.0%}, {y:.0%}", x=0.49, y=1)), "49\u202f%, 100\u202f%", "49%, 100%"),
        (lambda e: e.translate(Message("{t}", t="FDG -- fluorodeoxyglucose")), *["FDG – fluorodeoxyglucose"] * 2),
        (lambda e: e.translate(Message("see {m}", m=Message("{x:g} mm", x=0.25))), "see 0,25 mm", "see 0.25 mm"),
    ],
)
def test_numbers_dates_and_sentences(call, french, english):
    assert call(FR) == french
    assert call(EN) == english


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.rgb()]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("ink", [INK, QUIET, NAVY, BLUE, VERMILION])
def test_inks_are_legible_in_grey_on_paper_and_panels(ink):
    assert (luminance(PANEL) + 0.05) / (luminance(ink) + 0.05) >= 4.5  # WCAG 2.2, 1.4.3
