"""Vector charts: the probability on its scale, the survival curve, the terms of the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from reportlab.graphics.shapes import Circle, Drawing, Line, Polygon, PolyLine, String
from reportlab.lib.colors import white
from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth

from reports.pdf.style import BLUE, BOLD, INK, NAVY, QUIET, REGULAR, RULE, SKY, VERMILION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.lib.colors import Color

    from inference.prediction import EndpointProbability, Prediction, SurvivalCurve
    from reports.locale import Locale

_SMALL = 8.0
_LARGE = 9.0  # on the first page
_NAMES = 0.6  # of the width of a chart of terms, for their names
_ROOM = 0.2  # a number fits below the band of the curve where that is above this probability
Anchor = Literal["start", "middle", "end"]


def _canvas(width: float, height: float) -> Drawing:
    """An empty drawing whose first font is an embedded one."""
    return Drawing(width, height, initialFontName=REGULAR)


def _box(x: float, y: float, width: float, height: float, *, fill: Color, edge: Color | None = None) -> Polygon:
    """A rectangle from its lower left corner."""
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return Polygon(corners, fillColor=fill, strokeColor=edge, strokeWidth=0.5)


def _text(
    x: float, y: float, text: str, *, anchor: Anchor = "middle", bold: bool = False, size: float = _SMALL
) -> String:
    colour = INK if bold else QUIET
    return String(x, y, text, textAnchor=anchor, fontName=BOLD if bold else REGULAR, fontSize=size, fillColor=colour)


def gauge(endpoint: EndpointProbability, locale: Locale, *, width: float) -> Drawing:
    """0 to 100 % with the interval as a bar, the probability as a dot and the cohort's rate as a diamond."""
    drawing = _canvas(width, 15 * mm)
    left, right, y = 5 * mm, width - 7 * mm, 7 * mm

    def at(p: float) -> float:
        return left + p * (right - left)

    drawing.add(Line(left, y, right, y, strokeColor=QUIET, strokeWidth=0.8))
    for tick in (0.0, 0.5, 1.0):
        drawing.add(Line(at(tick), y - 3, at(tick), y + 3, strokeColor=QUIET, strokeWidth=0.8))
        drawing.add(_text(at(tick), y - 14, locale.percent(tick), size=_LARGE))
    span = at(endpoint.upper) - at(endpoint.lower)
    drawing.add(_box(at(endpoint.lower), y - 3.2, span, 6.4, fill=SKY, edge=BLUE))
    drawing.add(_diamond(at(endpoint.base_rate), y))
    drawing.add(Circle(at(endpoint.probability), y, 4.2, fillColor=NAVY, strokeColor=white, strokeWidth=0.8))
    _ = locale.text
    here, cohort = _("patient"), _("cohort")
    apart = stringWidth(f"{here}  {cohort}", BOLD, _LARGE)
    near = abs(at(endpoint.probability) - at(endpoint.base_rate)) < apart
    first, second = ("end", "start") if endpoint.probability < endpoint.base_rate else ("start", "end")
    sides: tuple[Anchor, Anchor] = (first, second) if near else ("middle", "middle")  # type: ignore[assignment]  # both are anchors
    drawing.add(_text(at(endpoint.probability), y + 7, here, bold=True, size=_LARGE, anchor=sides[0]))
    drawing.add(_text(at(endpoint.base_rate), y + 7, cohort, size=_LARGE, anchor=sides[1]))
    return drawing


def _diamond(x: float, y: float, size: float = 3.2) -> Polygon:
    points = [x - size, y, x, y + size, x + size, y, x, y - size]
    return Polygon(points, fillColor=white, strokeColor=VERMILION, strokeWidth=1.1)


def survival_chart(
    prediction: Prediction, curve: SurvivalCurve, locale: Locale, *, size: tuple[float, float]
) -> Drawing:
    """Progression-free survival with its interval, overall survival dashed; diamonds are the whole training cohort."""
    _ = locale.text
    width, height = size
    drawing = _canvas(width, height)
    left, right, bottom, top = 11 * mm, width - 3 * mm, 9 * mm, height - 7 * mm
    last = curve.months[-1]

    def at(month: float, p: float) -> tuple[float, float]:
        return left + month / last * (right - left), bottom + p * (top - bottom)

    def flat(probabilities: Sequence[float]) -> list[float]:
        return [v for month, p in zip(curve.months, probabilities, strict=True) for v in at(month, p)]

    upper, lower = flat(curve.upper), flat(curve.lower)
    back = [v for i in range(len(lower) - 2, -2, -2) for v in lower[i : i + 2]]
    drawing.add(Polygon(upper + back, fillColor=SKY, strokeColor=None))
    for p in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(0.0, p)
        drawing.add(Line(x, y, right, y, strokeColor=RULE, strokeWidth=0.4))
        drawing.add(_text(x - 3, y - 2, locale.percent(p), anchor="end"))
    for month in range(0, int(last) + 1, 3 if last <= 24 else 6):
        x, y = at(month, 0.0)
        drawing.add(Line(x, y, x, y - 2.5, strokeColor=QUIET, strokeWidth=0.5))
        drawing.add(_text(x, y - 10, str(month)))
    for edge in (upper, lower):
        drawing.add(PolyLine(edge, strokeColor=BLUE, strokeWidth=0.5, strokeDashArray=[2, 1.5]))
    drawing.add(PolyLine(flat(curve.probability), strokeColor=NAVY, strokeWidth=1.6))
    if (alive := prediction.overall_survival) is not None:
        points = zip(alive.curve.months, alive.curve.probability, strict=True)
        overall = [v for month, p in points if month <= last for v in at(month, p)]
        drawing.add(PolyLine(overall, strokeColor=INK, strokeWidth=1.2, strokeDashArray=[4, 2]))
        drawing.add(_diamond(*at(alive.months, alive.base_rate), 2.8))
    for endpoint in prediction.endpoints:
        rate = 1 - endpoint.base_rate if endpoint.name == "early_failure_3m" else endpoint.base_rate
        drawing.add(_diamond(*at(endpoint.months, rate), 2.8))
    if (twelve := prediction.endpoint("pfs_12m")) is not None:
        x, y = at(twelve.months, twelve.probability)
        drawing.add(Line(x, bottom, x, y, strokeColor=INK, strokeWidth=0.6, strokeDashArray=[1.5, 1.5]))
        drawing.add(Circle(x, y, 2.6, fillColor=NAVY, strokeColor=white, strokeWidth=0.7))
        if twelve.lower > _ROOM:  # elsewhere it would look like the number of the diamond
            text = locale.percent(twelve.probability)
            drawing.add(_text(x + 4, bottom + 4, text, anchor="start", bold=True, size=8.5))
    drawing.add(_text((left + right) / 2, 1.5, _("months since the first dose of immunotherapy")))
    drawing.add(_text(0, height - 7, _("Progression-free survival"), anchor="start", bold=True, size=8.0))
    return drawing


def bars(terms: Sequence[tuple[str, float]], locale: Locale, *, width: float) -> Drawing:
    """Signed terms from a common zero: the whole name at the left, the bar, the signed value at the right."""
    row, line = 4.8 * mm, 3.2 * mm
    names = [simpleSplit(name, REGULAR, _SMALL, _NAMES * width) or [""] for name, _value in terms]
    drawing = _canvas(width, sum(row + line * (len(lines) - 1) for lines in names) + 2 * mm)
    left = 2 * mm + max((stringWidth(one, REGULAR, _SMALL) for lines in names for one in lines), default=0.0)
    right = width - 13 * mm
    largest = max((abs(value) for _, value in terms), default=0.0) or 1.0
    zero, scale = (left + right) / 2, (right - left) / 2 / largest
    y = drawing.height
    for lines, (_name, value) in zip(names, terms, strict=True):
        y -= row
        length = abs(value) * scale
        colour = VERMILION if value > 0 else BLUE
        for place, one in enumerate(lines):
            drawing.add(_text(0, y + 4 - line * place, one, anchor="start", size=_SMALL))
        x = zero if value > 0 else zero - length
        drawing.add(_box(x, y + 2, length, row - 4.2, fill=colour))
        drawing.add(_text(width, y + 4, locale.decimal(value, 2, sign=True), anchor="end", size=_SMALL))
        y -= line * (len(lines) - 1)
    drawing.add(Line(zero, 0, zero, drawing.height, strokeColor=QUIET, strokeWidth=0.6))
    return drawing


def shorten(text: str, width: float, *, size: float = _SMALL) -> str:
    """The text, ending in "…" where it would be wider than `width` points."""
    if stringWidth(text, REGULAR, size) <= width:
        return text
    while text and stringWidth(f"{text}…", REGULAR, size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def risk_boxes(labels: Sequence[str], chosen: int, *, width: float) -> Drawing:
    """Three boxes in a row; the chosen one is dark, bold and marked with a dot."""
    drawing = _canvas(width, 6 * mm)
    step = width / len(labels)
    for i, label in enumerate(labels):
        here = i == chosen
        fill = NAVY if here else white
        drawing.add(_box(i * step, 1, step - 3, drawing.height - 2, fill=fill, edge=QUIET))
        text = _text((i + 0.5) * step - 1.5, 5.2, f"● {label}" if here else label, bold=here, size=8.2)
        text.fillColor = white if here else QUIET
        drawing.add(text)
    return drawing
