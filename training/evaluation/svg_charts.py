"""Curves of the evaluation's report as SVG, drawn here so that the page needs no script and no network."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS = ("#0b6e99", "#c2571a", "#5b7f2b", "#7a4b9d", "#444444")
_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 46
_ROW, _LABELS = 22, 300  # of the forest plot


@dataclass(frozen=True)
class Curve:
    """One line of a chart; `whiskers` are the intervals of its points, and `dashed` marks a reference."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    whiskers: Sequence[tuple[float, float]] = ()
    dashed: bool = False


def chart(
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """A line chart with its legend; what lies beyond the ranges is cut off."""

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        return across * (_WIDTH - _LEFT - _RIGHT), (1 - up) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
        dash = ' stroke-dasharray="4 3"' if curve.dashed else ""
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        for x, (lower, upper) in zip(curve.x, curve.whiskers, strict=False):
            (at, low), (_, high) = place(x, lower), place(x, upper)
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
        if curve.whiskers:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    inside = f'width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT - _TOP - _BOTTOM}"'  # an inner svg cuts off
    drawn = f'<svg x="{_LEFT}" y="{_TOP}" {inside}>{"".join(parts)}</svg>'
    legend = "".join(
        f'<li><span style="background:{COLOURS[number % len(COLOURS)]}"></span>{escape(curve.name)}</li>'
        for number, curve in enumerate(curves)
    )
    picture = _picture([*_frame(x_range, y_range), *_axis_labels(x_label, y_label), drawn], title, _WIDTH, _HEIGHT)
    return f'<figure><figcaption>{escape(title)}</figcaption>{picture}<ul class="legend">{legend}</ul></figure>'


def forest(rows: Sequence[tuple[str, float, float, float]], *, title: str, reference: float) -> str:
    """Values with their intervals, a row each: (name, value, lower, upper), and a line at the reference."""
    low = min(reference, *(lower for _, _, lower, _ in rows))
    high = max(reference, *(upper for _, _, _, upper in rows))
    span = max(high - low, 1e-6)
    low, high = low - 0.05 * span, high + 0.05 * span
    width, height = 780, _ROW * len(rows) + 34

    def across(value: float) -> float:
        return _LABELS + (value - low) / (high - low) * (width - _LABELS - 20)

    base = height - 24
    parts = [f'<line x1="{across(reference):.1f}" x2="{across(reference):.1f}" y1="4" y2="{base}" class="grid"/>']
    parts += [
        f'<text x="{across(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:g}</text>'
        for tick in _ticks(low, high)
    ]
    for number, (name, value, lower, upper) in enumerate(rows):
        y = _ROW * number + 16
        parts += [
            f'<text x="{_LABELS - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<line x1="{across(lower):.1f}" x2="{across(upper):.1f}" y1="{y}" y2="{y}" stroke="{COLOURS[0]}"/>',
            f'<circle cx="{across(value):.1f}" cy="{y}" r="4" fill="{COLOURS[0]}"/>',
        ]
    return f"<figure><figcaption>{escape(title)}</figcaption>{_picture(parts, title, width, height)}</figure>"


def _picture(parts: Sequence[str], title: str, width: int, height: int) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg>'
    )


def _frame(x_range: tuple[float, float], y_range: tuple[float, float]) -> list[str]:
    """Grid lines with their numbers."""
    parts = []
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for tick in _ticks(*x_range):
        x = _LEFT + (tick - x_range[0]) / (x_range[1] - x_range[0]) * (right - _LEFT)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in _ticks(*y_range):
        y = bottom - (tick - y_range[0]) / (y_range[1] - y_range[0]) * (bottom - _TOP)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    return parts


def _axis_labels(x_label: str, y_label: str) -> list[str]:
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    return [
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>',
    ]


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers within the range."""
    step = next(
        step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if (high - low) / step <= 8
    )
    first = -(-round(low / step, 6) // 1)
    return [round(number * step, 6) for number in range(int(first), int(high / step + 1e-6) + 1)]
