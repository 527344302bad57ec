"""The pages of a report as PNG images, for the preview: not every browser shows a PDF inside a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pypdfium2

if TYPE_CHECKING:
    from pathlib import Path

_SCALE = 1.6  # pixels per point: an A4 page becomes 952 x 1347


def render_report_pages(report: Path) -> int:
    """Write `report.<language>.<page>.png` beside `report.<language>.pdf`; returns the number of pages."""
    for old in report.parent.glob(f"{report.stem}.*.png"):
        old.unlink()
    with pypdfium2.PdfDocument(report) as document:
        for number, page in enumerate(document, start=1):
            page.render(scale=_SCALE).to_pil().save(report.with_suffix(f".{number}.png"), optimize=True)
        return len(document)
