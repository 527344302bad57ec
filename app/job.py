"""The process that computes one case: `python -m app.job`, told on standard input what `app.jobs` asks for.

A case that is "checking" has its images read and checked, and goes on to its answer where its record is confirmed;
one that is "running" is answered; one that is "signing" gets its final report.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.audit import Audit
from app.casework import CaseResult, answer, read_study, run_case, write_objects, write_reports
from app.comparison import landmarks_mm
from app.models import bundle_for
from app.options import CaseOptions
from app.preview import store_preview
from app.result import explanation_from, inspection_json, plain
from app.store import Store
from app.tables import Decision, Status, Version
from app.telling import reason, reporter, task
from app.viewer.volumes import store_answer, store_images
from app.whatif import lesion_terms, what_if
from clinical.reading import record_from_mapping
from fedpet.errors import FedpetError, RecordRefused, StudyRefused
from fedpet.messages import LANGUAGES, Message
from fedpet.progress import part
from fedpet.settings import Settings
from imaging.masks import read_nifti
from imaging.references import organ_references
from inference.engine import Engine
from reports.content import ReaderVerdict

if TYPE_CHECKING:
    from pathlib import Path

    from app.tables import Case
    from fedpet.messages import Language
    from fedpet.progress import Progress
    from imaging.study import Study
    from inference.bundle import Bundle
    from reports.content import ReportContent

_CHANGED = Message("The answer computed now differs from the one that was read: compute the case again, then sign.")


def compute(store: Store, audit: Audit, case: Case, settings: Settings) -> None:
    """Bring a busy case forward, and keep what was found, or why there is nothing.

    An error that fedpet does not raise on purpose ends the process; `app.jobs` then marks the case as failed.
    """
    try:
        if case.status is Status.SIGNING:
            _sign(store, audit, case, settings)
            return
        study = None
        if case.status is Status.CHECKING:
            study = _check(store, case, settings)
            case = store.get(case.id) or case
        if case.status is Status.RUNNING:
            _answer(store, audit, case, settings, study)
    except FedpetError as error:
        if not store.not_signed(case.id, reason(error)):
            refused = isinstance(error, StudyRefused | RecordRefused)
            store.stop(case.id, Status.REFUSED if refused else Status.FAILED, reason(error))


def _check(store: Store, case: Case, settings: Settings) -> Study:
    """Read and check the images, and let them be seen; also where the SUV cannot be computed."""
    progress = reporter(store, case.id)
    study = read_study(
        source_of(store, case.id),
        settings,
        options=CaseOptions.from_json(case.options),
        require="images",
        progress=part(progress, 0.0, 0.8),
    )
    progress(0.8, Message("Preparing the images for the viewer"))
    store_images(study, store.folder(case.id))
    store.checked(case.id, pseudonym=study.pseudonym, study_date=study.study_date, inspection=inspection_json(study))
    return study


def _answer(store: Store, audit: Audit, case: Case, settings: Settings, study: Study | None) -> None:
    folder, progress = store.folder(case.id), reporter(store, case.id)
    options, bundle = CaseOptions.from_json(case.options), bundle_for(case, settings)
    if study is None:
        study = read_study(source_of(store, case.id), settings, options=options, progress=part(progress, 0.0, 0.2))
    elif study.suv_refusal is not None:
        raise study.suv_refusal
    result = run_case(
        study,
        record_from_mapping(case.record).record,
        bundle=bundle,
        out=folder,
        settings=settings,
        language="en" if case.language == "en" else "fr",
        options=options,
        progress=part(progress, 0.2, 0.8),
    )
    store_answer(result, folder)
    kept = _complete(result, bundle, settings, part(progress, 0.8, 0.93))
    progress(0.95, Message("Writing the reports"))
    paths = {language: folder / f"report.{language}.pdf" for language in LANGUAGES}
    content, _ = write_reports(result, bundle, settings, paths=paths, version=case.version)
    for path in paths.values():
        store_preview(path)
    if settings.pacs:
        progress(0.97, Message("Writing the DICOM objects"))
        _write_objects(store, content, case, settings, folder)
    if store.finish(case.id, result=kept):
        audit.record("fedpet", "answer.computed", case=case.id, model=bundle.digest, detail={"version": case.version})


def _complete(result: CaseResult, bundle: Bundle, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Add to `result.json` what the pages set beside the answer: it without each lesion, healthy organs, landmarks."""
    study, path = result.study, result.folder / "result.json"
    engine = Engine(bundle, provider=settings.provider, threads=settings.threads)
    tried = what_if(study, result.record, bundle, result.prediction, engine=engine, progress=progress)
    more = {
        "what_if": plain(tried),
        "lesion_terms": lesion_terms(result.explanation, result.prediction),
        "references": None if study.ct is None else plain(organ_references(study.pet, study.ct)),
        "landmarks_mm": landmarks_mm(study),
    }
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) | more
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return kept


def _sign(store: Store, audit: Audit, case: Case, settings: Settings) -> None:
    """Write the final report of what was read: the same answer, by the same model, with the verdict on it."""
    given = case.verdict or {}
    result, bundle = _as_read(store, case, settings)
    if plain(result.prediction) != (case.result or {})["prediction"]:
        store.not_signed(case.id, _CHANGED)
        return
    signed = datetime.now(UTC)
    verdict = ReaderVerdict(
        decision=Decision(given["decision"]).value,
        comment=given["comment"],
        reader=given["reader"],
        signed=signed.astimezone().isoformat(timespec="seconds"),
    )
    folder = store.version_folder(case.id, case.version)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = {language: folder / f"report.{language}.pdf" for language in LANGUAGES}
    content, digest = write_reports(result, bundle, settings, paths=paths, verdict=verdict, version=case.version)
    for path in paths.values():
        store_preview(path)
    _write_objects(store, content, case, settings, folder)
    version = Version(
        case=case.id,
        number=case.version,
        signed=signed,
        reader=given["reader"],
        decision=Decision(given["decision"]),
        comment=given["comment"],
        report_uid=content.report_uid,
        content_hash=digest,
        result=case.result,
    )
    if store.signed(version):
        facts = {"version": case.version, "decision": given["decision"], "content_hash": digest}
        audit.record(given["reader"], "verdict.signed", case=case.id, model=bundle.digest, detail=facts)


def _write_objects(store: Store, content: ReportContent, case: Case, settings: Settings, folder: Path) -> None:
    language: Language = "en" if case.language == "en" else "fr"
    pdf = folder / f"report.{language}.pdf"
    write_objects(content, source_of(store, case.id), settings, pdf=pdf, out=folder / "dicom", language=language)


def _as_read(store: Store, case: Case, settings: Settings) -> tuple[CaseResult, Bundle]:
    """The case computed again from its files, with the explanation that was read."""
    options, bundle = CaseOptions.from_json(case.options), bundle_for(case, settings)
    study = read_study(source_of(store, case.id), settings, options=options)
    record = record_from_mapping(case.record).record
    prediction = answer(study, record, bundle, settings, options=options)
    folder, explained = store.folder(case.id), (case.result or {})["explanation"]
    explanation = explanation_from(explained, read_nifti(folder / "saliency.nii.gz", "1")) if explained else None
    return CaseResult(study, record, prediction, explanation, folder), bundle


def source_of(store: Store, case_id: str) -> Path:
    """The archive, or the folder of the files, as received."""
    folder = store.source(case_id)
    files = list(folder.iterdir())
    return files[0] if len(files) == 1 else folder


def _main() -> None:
    asked = task()
    settings = Settings(**asked["settings"])
    store = Store.open(settings)
    case = store.get(asked["case"])
    if case is not None:
        compute(store, Audit(store.engine, settings.folder), case, settings)


if __name__ == "__main__":
    _main()
