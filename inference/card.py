"""The model card as a page people read (Markdown), made from `card.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        lines += [f"## {_title(key)}", "", *_items(value, 0), ""]
    return "\n".join(lines)


def evaluation_markdown(report: dict[str, Any]) -> str:
    """An evaluation report kept beside the card, as a nested list."""
    return "\n".join(_items(report, 0))


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
