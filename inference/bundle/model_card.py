"""The model card as a page people read (Markdown), made from `card.json`."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATIOS: Final = "hazard_ratios"  # in the card's entry of a risk model that was fitted exactly
_HALF = 15  # characters on each side of 1 in the forest plot


def card_markdown(card: Mapping[str, Any]) -> str:
    """Render the card; nested objects become nested lists, so that nothing of the provenance is left out."""
    lines = [f"# {card.get('name', 'fedpet model')} {card.get('version', '')}".rstrip(), ""]
    if card.get("synthetic"):
        lines += [
            "> **SYNTHETIC MODEL.** Trained on synthetic patients only. It predicts nothing about real patients.",
            "",
        ]
    for key, value in card.items():
        if key in {"name", "version"}:
            continue
        lines += [f"## {_title(key)}", ""]
        if isinstance(value, dict) and RATIOS in value:
            rest = {name: inner for name, inner in value.items() if name != RATIOS}
            lines += [*_items(rest, 0), "", *forest_plot(value[RATIOS]), ""]
        else:
            lines += [*_items(value, 0), ""]
    return "\n".join(lines)


def forest_plot(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a table of hazard ratios, each with its interval drawn on one logarithmic axis.

    Args:
        rows: with "label", "for" (the difference that the ratio is about), "hazard_ratio", "lower", "upper" and
            "p_proportional" (of the test of proportional hazards).
    """
    if not rows:
        return []
    ends = [log(row[name]) for row in rows for name in ("lower", "upper")]
    reach = max(*map(abs, ends), log(1.2))

    def place(ratio: float) -> int:
        return round((log(ratio) / reach + 1) * _HALF)

    lines = [
        f"| term | for | hazard ratio | 95 % | {exp(-reach):.2f} to {exp(reach):.2f}, centre 1 | p proportional |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        drawn = ["·"] * (2 * _HALF + 1)
        drawn[place(row["lower"]) : place(row["upper"]) + 1] = "─" * (place(row["upper"]) - place(row["lower"]) + 1)
        drawn[_HALF] = "┼" if row["lower"] <= 1 <= row["upper"] else "│"
        drawn[place(row["hazard_ratio"])] = "●"
        interval = f"{row['lower']:.2f} to {row['upper']:.2f}"
        cells = (row["label"], row["for"], f"{row['hazard_ratio']:.2f}", interval, f"`{''.join(drawn)}`")
        lines.append(f"| {' | '.join(cells)} | {row['p_proportional']:.2g} |")
    return lines


def evaluation_markdown(report: dict[str, Any]) -> str:
    """An evaluation report kept beside the card, as a nested list; its signature is no text to read."""
    return "\n".join(_items({name: value for name, value in report.items() if name != "signature"}, 0))


def _items(value: object, depth: int) -> list[str]:
    """Lines of a nested list, or one line for a plain value."""
    pad = "  " * depth
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                lines += [f"{pad}- {_title(key)}:", *_items(inner, depth + 1)]
            else:
                lines.append(f"{pad}- {_title(key)}: {_plain(inner)}")
        return lines
    if isinstance(value, list):
        if value and all(isinstance(item, (int, float)) for item in value):
            return [f"{pad}- {', '.join(_plain(item) for item in value)}"]
        return [line for item in value for line in _items(item, depth)]
    return [f"{pad}- {_plain(value)}" if depth else _plain(value)]


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()
