"""The report as PDF: A4, in one language, the same bytes for the same content."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import BaseDocTemplate, PageTemplate, Spacer

from fedpet.messages import Message
from reports.answer import answer
from reports.archive import archived
from reports.digest import canonical_json, hash_of
from reports.edition import Edition
from reports.examination import acquisition, checks, corrections
from reports.findings import findings
from reports.inputs import clinical_inputs, missing_line
from reports.measured import healthy_organs, painted_out
from reports.meeting import context, meeting, status
from reports.page import Furniture, ReportCanvas, text_frame
from reports.provenance import provenance
from reports.style import REGULAR, columns, paragraph, register_fonts
from reports.why import comparators, explanation
from reports.wording import RESEARCH_ONLY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from reportlab.platypus import Flowable

    from fedpet.messages import Language
    from reports.content import ReportContent
    from reports.tagging import Element

rl_config.useA85 = 0  # streams as they are, not as text: faster, and a fifth smaller
TITLE = Message("Progression-free survival under immunotherapy")


def write_pdf(
    content: ReportContent, path: Path, *, language: Language, signer: Callable[[bytes], bytes] | None = None
) -> str:
    """Write the report.

    Args:
        content: what it says.
        path: of the file.
        language: of everything but the model card's own sentences and what readers wrote.
        signer: seals the finished file (`reports.signing.signer`); the bytes then differ from one time to the next.

    Returns:
        The content hash that is printed on every page: SHA-256, hexadecimal (see `reports.digest`).
    """
    canonical = canonical_json(content)
    digest = hash_of(canonical.encode("ascii"))
    pages, structure = _drawn(content, Edition(language), digest)
    document = archived(pages, structure, content=canonical, created=content.created)
    path.write_bytes(document if signer is None else signer(document))
    return digest


def _drawn(content: ReportContent, edition: Edition, digest: str) -> tuple[bytes, Element]:
    """The pages as ReportLab writes them, and what is on them."""
    register_fonts()
    out, canvases = BytesIO(), list[ReportCanvas]()

    def canvas(*args: Any, **kwargs: Any) -> ReportCanvas:
        canvases.append(ReportCanvas(*args, **kwargs))
        return canvases[-1]

    document = BaseDocTemplate(
        out,
        pagesize=A4,
        lang="fr-FR" if edition.language == "fr" else "en-GB",
        title=edition.say(TITLE),
        author=content.centre or "fedpet",
        subject=edition.say(RESEARCH_ONLY),
        creator="fedpet",
        keywords=[content.report_uid, digest],
        invariant=1,
        initialFontName=REGULAR,
        pageCompression=1,
    )
    document.addPageTemplates(PageTemplate(frames=[text_frame()], onPageEnd=Furniture(content, edition, digest)))
    document.build(_story(content, edition), canvasmaker=canvas)
    return out.getvalue(), canvases[-1].structure


def _story(content: ReportContent, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    caution = _(
        "Read the images and form an opinion before reading this answer: an automatic answer, even a wrong one, sways"
        " its reader."
    )
    return [
        *_title(content, edition),
        status(content, edition),
        Spacer(0, 1.5 * mm),
        context(content, edition),
        Spacer(0, 2.5 * mm),
        *answer(content, edition),
        Spacer(0, 1.5 * mm),
        missing_line(content, edition),
        *painted_out(content, edition),
        *([] if content.prediction.abstained else [paragraph(caution, "quiet")]),
        *checks(content, edition),
        *corrections(content, edition),
        *acquisition(content, edition),
        *findings(content, edition),
        *healthy_organs(content, edition),
        *explanation(content, edition),
        *clinical_inputs(content, edition),
        *comparators(content, edition),
        *provenance(content, edition),
        *meeting(content, edition),
    ]


def _title(content: ReportContent, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    right = [
        Message("Patient: {pseudonym}", pseudonym=content.study.pseudonym),
        Message("Examination: {day}", day=edition.day(content.study.study_date) or _("date not stated")),
        Message("Report: {moment}", moment=edition.moment(content.created)),
    ]
    left = [
        paragraph(edition.say(TITLE), "title", tag="H1"),
        paragraph(_("From pre-treatment FDG PET/CT and clinical data, non-small-cell lung cancer"), "quiet"),
    ]
    return [
        columns([left, [paragraph(edition.say(line), "small") for line in right]], [128 * mm, 52 * mm]),
        Spacer(0, 1.5 * mm),
    ]
