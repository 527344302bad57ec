"""The table of a batch: `summary.csv` for programs, `summary.html` for people. Both hold pseudonyms only."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from app.cli.batch.run import State
from fedpet.core.messages import Message, translate_message
from reports.labels import CHECKS, ENDPOINTS, supported
from training.data.html_page import bilingual_page, cards, paragraph, table
from training.data.spreadsheet_cells import safe_cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.cli.batch.run import BatchRow
    from fedpet.core.messages import Language
    from inference.bundle.storage import Bundle
    from training.data.html_page import Words

TITLE = Message("Batch of predictions")
_STATES = {
    State.ANSWERED: Message("answered"),
    State.ABSTAINED: Message("abstained"),
    State.REFUSED: Message("refused"),
    State.FAILED: Message("failed"),
}
_STYLES = {State.ANSWERED: "good", State.ABSTAINED: "odd", State.REFUSED: "odd", State.FAILED: "bad"}


def count_states(rows: Sequence[BatchRow]) -> dict[State, int]:
    """Number of studies in each state."""
    return {state: sum(row.state is state for row in rows) for state in State}


def write_summary(out: Path, rows: Sequence[BatchRow], bundle: Bundle, language: Language) -> None:
    """Write both forms into the folder of the batch.

    Args:
        out: the folder.
        rows: of the studies, in the order of the worklist.
        bundle: the model that answered.
        language: of the reasons in the CSV, and first language of the page.
    """
    _write_csv(out / "summary.csv", rows, language)
    page = bilingual_page(TITLE, lambda words: _body(rows, bundle, words), first=language)
    (out / "summary.html").write_text(page, encoding="utf-8")


def _write_csv(path: Path, rows: Sequence[BatchRow], language: Language) -> None:
    say = translate_message(language)
    header = ["line", "folder", "pseudonym", "state", "lesions", "tmtv_ml", "suv_max", "failed_checks", "seconds"]
    for name in ENDPOINTS:
        header += [name, f"{name}_lower", f"{name}_upper"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow([*header, "reason"])
        for row in rows:
            given = {name: values for name, *values in row.endpoints}
            cells: list[object] = [row.line, row.folder, row.pseudonym, row.state.value, row.lesions]
            cells += [_rounded(row.tmtv_ml), _rounded(row.suv_max), " ".join(row.failed_checks), round(row.seconds, 1)]
            for name in ENDPOINTS:
                cells += [supported(value) for value in given.get(name, ())] or ["", "", ""]
            cells.append(say(row.reason) if row.reason else "")
            writer.writerow(["" if cell is None else safe_cell(str(cell)) for cell in cells])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _body(rows: Sequence[BatchRow], bundle: Bundle, words: Words) -> str:
    counts = count_states(rows)
    parts = [cards((str(n), words.say(_STATES[state]), _STYLES[state]) for state, n in counts.items() if n)]
    if bundle.card["synthetic"]:
        warning = Message("SYNTHETIC MODEL: it predicts nothing about real patients.")
        parts.append(paragraph(words.say(warning), "private"))
    model = Message(
        "Model {name} {version}; {level} intervals of each probability, not of what happens to a patient.",
        name=bundle.card["name"],
        version=bundle.card["version"],
        level=words.percent(bundle.calibration.interval_level),
    )
    parts.append(paragraph(words.say(model)))
    header = [Message("Line"), Message("Patient"), Message("State"), *(ENDPOINTS[name] for name in ENDPOINTS)]
    header += [
        Message("Lesions"),
        Message("TMTV (ml)"),
        Message("SUVmax"),
        Message("Failed checks"),
        Message("Why there is no answer"),
    ]
    parts.append(table([words.say(cell) for cell in header], (_cells(row, words) for row in rows)))
    return "".join(parts)


def _cells(row: BatchRow, words: Words) -> list[str | tuple[str, str]]:
    given = {name: (p, low, high) for name, p, low, high in row.endpoints}
    cells: list[str | tuple[str, str]] = [
        str(row.line),
        row.pseudonym or "–",
        (words.say(_STATES[row.state]), _STYLES[row.state]),
    ]
    for name in ENDPOINTS:
        p = given.get(name)
        cells.append(("–" if p is None else f"{words.percent(p[0])} ({_range(p[1], p[2], words)})", "num"))
    cells.append(("–" if row.lesions is None else str(row.lesions), "num"))
    cells += [("–" if value is None else words.number(value, 1), "num") for value in (row.tmtv_ml, row.suv_max)]
    cells.append(", ".join(words.say(CHECKS[name]) if name in CHECKS else name for name in row.failed_checks) or "–")
    cells.append(words.say(row.reason) if row.reason else "")
    return cells


def _range(low: float, high: float, words: Words) -> str:
    return f"{words.number(100 * low)}–{words.number(100 * high)}"
