"""The check of a hospital as one HTML page, with the hospital's own identifiers: it never leaves the hospital."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from fedpet.clinical.value_parsing import AMBIGUOUS_DATES
from fedpet.core.messages import Message
from inference.record_concordance import LABELS, Agreement
from training.data.html_page import bilingual_page, cards, folded, heading, paragraph, table
from training.data.site_check.comparison import EVENTS, NEARLY_EMPTY, USABLE
from training.data.site_check.federation_view import PUBLISHED_AGE, PUBLISHED_PFS, federation_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fedpet.core.messages import Language
    from inference.record_concordance import ComparedItem
    from training.data.html_page import Cell, Words
    from training.data.site_check.comparison import CheckedPatient, ColumnCompleteness, SiteCheck
    from training.data.site_check.federation_view import FederationView, Share

TITLE: Final = Message("Images and table of the hospital, compared")
CODES: Final[Mapping[str, Message]] = {
    USABLE: Message("usable"),
    "no_row": Message("images without a row of the table"),
    "no_study": Message("row without images"),
    "duplicate_study": Message("second study of a patient"),
    "several_patients": Message("several patients in one folder"),
    "identifier_shared": Message("two persons under one identifier"),
    "record_refused": Message("row cannot be read"),
    "no_outcome": Message("no outcome: dates are missing"),
    "pet_after_treatment": Message("PET after the first dose"),
    "record_contradicts": Message("row and images contradict each other"),
    "no_delay": Message("day of the PET not known"),
    "study_refused": Message("images cannot be used"),
}
_MARKS: Final = {Agreement.AGREE: ("=", "good"), Agreement.DIFFER: ("≠", "bad"), Agreement.NOT_STATED: ("–", "muted")}


def check_page(site: SiteCheck, *, first: Language) -> str:
    """The page.

    Args:
        site: what was found.
        first: language that is shown first.
    """
    view = federation_view(site)

    def body(words: Words) -> str:
        parts = (
            *_head(site, words),
            *_to_correct(site, words),
            *_columns(site, words),
            *_federation(view, words),
            *_all_patients(site, words),
        )
        return "".join(parts)

    return bilingual_page(TITLE, body, first=first)


def _head(site: SiteCheck, words: Words) -> Iterator[str]:
    yield paragraph(
        words.say(
            Message("This page holds the hospital's own identifiers. It is kept in the hospital and sent to nobody.")
        ),
        "private",
    )
    counts = Counter(one.code for one in site.patients)
    usable = counts.pop(USABLE, 0)
    looked = sum(bool(one.remarks) for one in site.usable)
    numbers = [
        (words.number(usable), words.say(Message("patients usable")), "good"),
        (words.number(looked), words.say(Message("of them with something to look at")), "odd"),
        (words.number(sum(counts.values())), words.say(Message("rows and folders left out")), "bad"),
        (words.number(len(site.table)), words.say(Message("rows of the table")), ""),
        (words.number(len(site.studies)), words.say(Message("folders with images")), ""),
    ]
    yield cards(numbers)
    for note in site.table.notes:
        yield paragraph(words.say(note), "muted")
    if counts:
        rows = [(words.say(CODES[code]), (words.number(count), "num")) for code, count in counts.most_common()]
        yield table([words.say(Message("Why left out")), words.say(Message("number"))], rows)
    yield paragraph(
        words.say(
            Message(
                "Headers were compared, not pixels: “fedpet cohort prepare” checks these as well (SUV, chest covered,"
                " …) and may leave out more."
            )
        ),
        "muted",
    )


def _to_correct(site: SiteCheck, words: Words) -> Iterator[str]:
    """Columns, then patients who are left out or who have something to look at."""
    concerned = [one for one in site.patients if one.code != USABLE or one.remarks]
    concerned.sort(key=lambda one: one.code == USABLE)
    yield heading(words.say(Message("To be corrected or looked at")))
    general = [*column_remarks(site)]
    if site.ambiguous_dates:
        general += [Message("Rows with dates that can be read in two ways: {n}.", n=site.ambiguous_dates)]
        general += [AMBIGUOUS_DATES]
    for sentence in general:
        yield paragraph(words.say(sentence), "bad")
    if site.unstated:
        names = ", ".join(one.column for one in site.unstated)
        optional = Message("Stated in no row, which is no fault: these columns are optional: {columns}.", columns=names)
        yield paragraph(words.say(optional), "muted")
    if not concerned:
        if not general:
            yield paragraph(words.say(Message("Nothing.")))
        return
    header = (Message("Patient"), Message("Row"), Message("Folder"), Message("Result"), Message("What and why"))
    rows = [
        (*_who(one, words), (words.say(CODES[one.code]), "odd" if one.code == USABLE else "bad"), _why(one, words))
        for one in concerned
    ]
    yield table([words.say(name) for name in header], rows)


def column_remarks(site: SiteCheck) -> Iterator[Message]:
    """What is wrong with columns as a whole: nearly the right name, not there, nearly empty."""
    yield from map(_misnamed_column, site.misnamed)
    if lacking := [one.column for one in site.sparse if not one.there]:
        yield Message("The table has no column of this name: {columns}.", columns=", ".join(lacking))
        if unread := [one.name[:40] for one in site.table.unread]:
            yield Message(
                "Columns that are not read: {columns}. If one of them is a missing one, rename it.",
                columns=", ".join(unread),
            )
    if empty := [f"{one.column} ({one.filled}/{len(site.table)})" for one in site.sparse if one.there]:
        yield Message(
            "Columns that are stated in less than {share} % of the rows: {columns}.",
            share=round(100 * NEARLY_EMPTY),
            columns=", ".join(empty),
        )


def _misnamed_column(one: ColumnCompleteness) -> Message:
    """That the table lacks a column and has one of nearly its name."""
    return Message(
        "The table has no column {column}, and “{meant}” is not read: if it is the same, rename it {column}.",
        column=one.column,
        meant=one.meant[:40],
    )


def _who(one: CheckedPatient, words: Words) -> tuple[Cell, Cell, Cell]:
    identifier = one.row.patient_id if one.row else ", ".join(one.study.patient_ids) if one.study else ""
    line = words.number(one.row.line) if one.row else "–"
    return identifier or "–", (line, "num"), one.study.folder.name if one.study else "–"


def _why(one: CheckedPatient, words: Words) -> str:
    return "\n".join(filter(None, (" ".join(map(words.say, one.reasons)), *map(words.say, one.remarks))))


def _columns(site: SiteCheck, words: Words) -> Iterator[str]:
    yield heading(words.say(Message("Columns of the table")))
    if site.table.unread:
        header = (Message("Column that is not read"), Message("Perhaps meant"))
        rows = [(one.name, one.nearest or "–") for one in site.table.unread]
        yield table([words.say(name) for name in header], rows)
    titles = (Message("Column"), Message("Meaning"), Message("Stated"), Message("Remark"))
    yield table([words.say(name) for name in titles], [_column(one, len(site.table), words) for one in site.columns])


def _column(one: ColumnCompleteness, rows: int, words: Words) -> tuple[Cell, ...]:
    share = one.filled / rows if rows else 0.0
    style = "" if one.column in EVENTS else "good" if share >= 0.8 else "odd" if share >= 0.4 else "bad"
    remark = ""
    if one.meant:
        remark = words.say(Message("The table has no such column; is “{column}” it?", column=one.meant))
    elif not one.there:
        remark = words.say(Message("The table has no such column."))
    return one.column, words.say(one.label), (words.percent(share), f"num {style}"), remark


def _federation(view: FederationView, words: Words) -> Iterator[str]:
    yield heading(words.say(Message("What a federation will see of this hospital")))
    months = {
        Message("Median follow-up (reverse Kaplan-Meier), months"): view.follow_up,
        Message(
            "Median progression-free survival, months (published: {published:g})", published=PUBLISHED_PFS
        ): view.pfs,
        Message("Median age, years (published: {published:g})", published=PUBLISHED_AGE): view.age,
    }
    rows: list[tuple[Cell, ...]] = [
        (words.say(Message("Patients")), (words.number(view.patients), "num")),
        (words.say(Message("Progressions and deaths seen")), (words.number(view.events), "num")),
    ]
    rows += [
        (words.say(label), ("–" if value is None else words.number(value, 1), "num")) for label, value in months.items()
    ]
    yield table([words.say(Message("Usable patients")), words.say(Message("number"))], rows)
    header = (Message("Endpoint"), Message("yes"), Message("no"), Message("not known yet"))
    counted: list[tuple[Cell, ...]] = [
        (words.say(one.label), *((words.number(n), "num") for n in (one.reached, one.not_reached, one.unknown)))
        for one in view.endpoints
    ]
    yield table([words.say(name) for name in header], counted)
    scanners: list[tuple[Cell, ...]] = [(name, (words.number(count), "num")) for name, count in view.scanners]
    yield table([words.say(Message("PET scanner")), words.say(Message("patients"))], scanners)
    yield from _beside_published(view.shares, words)


def _beside_published(shares: Iterable[Share], words: Words) -> Iterator[str]:
    header = (
        Message("Share of the patients"),
        Message("here"),
        Message("95 % interval"),
        Message("published"),
        Message("stated for"),
    )
    rows = []
    for one in shares:
        low, high = one.interval
        here = words.percent(one.count / one.of) if one.of else "–"
        interval = f"{words.percent(low)} – {words.percent(high)}" if one.of else "–"
        style = "num odd" if one.of and one.differs else "num"
        rows.append(
            (
                words.say(one.label),
                (here, style),
                (interval, "num"),
                (words.percent(one.published), "num"),
                (words.number(one.of), "num"),
            )
        )
    caption = Message(
        "Beside 845 French patients under immunotherapy; in colour where the published share lies outside of the"
        " interval: another recruitment, or a column that is coded otherwise."
    )
    yield table([words.say(name) for name in header], rows, words.say(caption))


def _all_patients(site: SiteCheck, words: Words) -> Iterator[str]:
    paired = [one for one in site.patients if one.concordance is not None]
    if not paired:
        return
    yield heading(words.say(Message("Every patient with images and a row")))
    names = [item.name for item in paired[0].concordance.items] if paired[0].concordance else []
    header = [
        *(words.say(name) for name in (Message("Patient"), Message("Row"), Message("Folder"))),
        *(words.say(LABELS[name]) for name in names),
    ]
    rows = [
        (*_who(one, words), *(_compared(item, words) for item in one.concordance.items))
        for one in paired
        if one.concordance
    ]
    caption = words.say(Message("= agrees, ≠ differs (table / images), – not stated on one side"))
    yield folded(words.say(Message("{n} patients", n=len(paired))), table(header, rows, caption))


def _compared(item: ComparedItem, words: Words) -> Cell:
    mark, style = _MARKS[item.verdict]
    if item.verdict is Agreement.DIFFER and item.record and item.images and item.name != "identifier":
        return f"≠ {words.say(item.record)} / {words.say(item.images)}", style
    return mark, style
