"""The report of an extraction: who was read, what is missing, what contradicts, by which rules."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fedpet.clinical.reading import DATE_COLUMNS
from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from training.data.html_page import bilingual_page, cards, heading, paragraph, table
from training.data.warehouse.extraction import STUDY_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedpet.core.messages import Language
    from training.data.html_page import Cell, Words
    from training.data.warehouse.extraction import Extraction, ExtractionFiles
    from training.data.warehouse.rules import Rules


def extraction_page(found: Extraction, rules: Rules, files: ExtractionFiles, *, first: Language) -> str:
    """The page.

    Args:
        found: what was extracted.
        rules: by which.
        files: where table and provenance lie.
        first: language that is shown first.
    """

    def body(words: Words) -> str:
        parts = (
            *_head(found, files, words),
            *_by_variable(found, rules, words),
            *_contradictions(found, words),
            *_explanations(rules, words),
        )
        return "".join(parts)

    return bilingual_page(Message("From the data warehouse to the study's table"), body, first=first)


def _head(found: Extraction, files: ExtractionFiles, words: Words) -> Iterator[str]:
    private = Message("This page and its tables name patients of the hospital. They are kept there and sent to nobody.")
    yield paragraph(words.say(private), "private")
    linked = sum(STUDY_COLUMN in one.values for one in found.patients)
    numbers = [
        (len(found.patients), Message("patients in the table"), "good"),
        (linked, Message("of them with a PET (Study ID, day)"), ""),
        (sum(one.chemotherapy for one in found.patients), Message("of them with chemotherapy beside it"), ""),
        (found.objecting, Message("object: never read"), ""),
        (found.unstated, Message("left out: nothing is stated about an objection"), ""),
        (found.unclear, Message("left out: the statement neither refuses nor accepts"), "bad" if found.unclear else ""),
        (len(found.left_out), Message("read, not patients of the study"), ""),
    ]
    yield from (paragraph(words.say(one), "bad") for one in found.remarks)
    yield cards((words.number(count), words.say(label), style) for count, label, style in numbers)
    where = Message(
        "Where each value comes from (table, row, date, rule): {provenance}; the PET of each patient: {studies}.",
        provenance=files.provenance.name,
        studies=files.studies.name,
    )
    yield paragraph(words.say(where))
    reasons = Counter(words.say(one.left_out) for one in found.left_out if one.left_out)
    if reasons:
        rows: list[tuple[Cell, ...]] = [(why, (words.number(n), "num")) for why, n in reasons.most_common()]
        yield table([words.say(Message("Why left out")), words.say(Message("number"))], rows)


def _by_variable(found: Extraction, rules: Rules, words: Words) -> Iterator[str]:
    yield heading(words.say(Message("Variables")))
    header = (Message("Column"), Message("Stated"), Message("Missing"), Message("Remarks"), Message("Rule"))
    columns = (*(variable.french for variable in VARIABLES.values()), *DATE_COLUMNS, STUDY_COLUMN)
    rows = [_variable(column, found, rules, words) for column in columns]
    yield table([words.say(name) for name in header], rows)


def _variable(column: str, found: Extraction, rules: Rules, words: Words) -> tuple[Cell, ...]:
    derived = [one.values[column] for one in found.patients if column in one.values]
    stated = sum(one.value is not None for one in derived)
    remarks = Counter(words.say(one.remark) for one in derived if one.remark)
    said = "\n".join(f"{words.number(count)} × {remark}" for remark, count in remarks.most_common(5))
    rule = next((one.rule for one in derived), "")
    share = stated / len(found.patients)
    optional = column in {"date_progression", "date_deces"}
    grade = "good" if share >= 0.8 else "odd" if share >= 0.4 else "bad"
    style = "num" if optional and stated else f"num {grade}"
    missing = words.number(len(found.patients) - stated)
    return column, (words.percent(share), style), (missing, "num"), said, rule and f"[{rule}] {rules.explanation(rule)}"


def _contradictions(found: Extraction, words: Words) -> Iterator[str]:
    yield heading(words.say(Message("Contradictions within the warehouse")))
    rows = [
        (one.patient_id, f"[{rule}]", words.say(message))
        for one in found.patients
        for rule, message in one.contradictions
    ]
    if not rows:
        yield paragraph(words.say(Message("None.")))
        return
    header = (Message("Patient"), Message("Rule"), Message("What was found"))
    yield table([words.say(name) for name in header], rows)


def _explanations(rules: Rules, words: Words) -> Iterator[str]:
    """Rules that give no column of their own."""
    yield heading(words.say(Message("Further rules")))
    names = ("objection", "patient", "diagnosis", "chemotherapy")
    rows = [(f"[{name}]", rules.explanation(name)) for name in names]
    yield table([words.say(Message("Rule")), words.say(Message("Explanation"))], rows)
