"""The process that computes one case, `python -m app.jobs.case_process`; its task comes on standard input.

A case that is "checking" has its images read and checked, and goes on to its answer where its record is confirmed; one
that is "running" is answered; one that is "signing" gets its final report.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.audit.trail import AuditTrail
from app.cases.earlier_report import earlier_report
from app.cases.model_choice import bundle_for, method_of
from app.cases.options import CaseOptions, input_limits
from app.cases.pipeline import CaseResult, analyse, answer, compute_case, read_study, write_objects, write_reports
from app.cases.prefill import copied, stated
from app.cases.reading import Reading
from app.cases.report_preview import render_report_pages
from app.cases.result_json import explanation_from, inspection_json, plain
from app.cases.store import Store
from app.cases.tables import Decision, SignedVersion, Status
from app.jobs.reporting import full_disk_told, limit_memory, progress_reporter, read_task, reason
from app.viewer.description import read_description
from app.viewer.volumes import store_images, store_prediction
from fedpet.clinical.reading import record_from_mapping
from fedpet.core.errors import CaseError, FedpetError, ModelGoneError, RecordError, RecordMismatchError, StudyError
from fedpet.core.logs import discreet_logs
from fedpet.core.messages import LANGUAGES, Message
from fedpet.core.progress import sub_progress
from fedpet.core.scratch import scratch_folder
from fedpet.core.settings import Settings
from fedpet.imaging.loading import list_series
from fedpet.imaging.nifti import read_nifti
from fedpet.imaging.response.comparison import landmarks_mm
from inference.counterfactual import counterfactuals
from inference.engine import Engine
from inference.record_concordance import join_record
from reports.content import ReaderDecision

if TYPE_CHECKING:
    from pathlib import Path

    from app.cases.tables import Case
    from fedpet.core.messages import Language
    from fedpet.core.progress import Progress
    from fedpet.imaging.analysis import StudyAnalysis
    from inference.bundle.storage import Bundle
    from inference.record_concordance import JoinedRecord
    from reports.content import ReportContent

_CHANGED = Message("The answer computed now differs from the one that was read: compute the case again, then sign.")


def compute(store: Store, audit: AuditTrail, case: Case, settings: Settings) -> None:
    """Take a busy case to its next state, and store the answer or the reason why there is none.

    An error that fedpet does not raise on purpose ends the process; `app.jobs.scheduler` then marks the case as failed.
    """
    with suppress(CaseError):  # the case was erased, or another process was faster: nothing of this belongs to it
        try:
            _advance(store, audit, case, settings)
        except CaseError:
            raise
        except RecordMismatchError as error:
            store.record_mismatch(case.id, reason(error))
        except ModelGoneError as error:  # a reader takes another model, or brings it back
            record = store.record_failure if case.status is Status.SIGNING else store.record_mismatch
            record(case.id, reason(error))
        except StudyError as error:
            store.record_refusal(case.id, reason(error), series=_series(store, case, settings))
        except RecordError as error:
            store.record_refusal(case.id, reason(error))
        except FedpetError as error:
            store.record_failure(case.id, reason(error))


def _series(store: Store, case: Case, settings: Settings) -> list[dict[str, Any]] | None:
    """The series of a study that was refused by its check; None where they cannot be read, or the check had passed."""
    if case.status is not Status.CHECKING:
        return None
    try:
        found: list[dict[str, Any]] = plain(list_series(source_of(store, case.id), limits=input_limits(settings)))
    except StudyError:
        return []
    return found


def _advance(store: Store, audit: AuditTrail, case: Case, settings: Settings) -> None:
    if case.status is Status.SIGNING:
        _sign(store, audit, case, settings)
        return
    analysis = None
    if case.status is Status.CHECKING:
        analysis, case = _check(store, case, settings)
    if case.status is Status.RUNNING:
        _answer(store, audit, case, settings, analysis)


def _check(store: Store, case: Case, settings: Settings) -> tuple[StudyAnalysis, Case]:
    """Read and check the images and prepare them for the viewer, also where the SUV cannot be computed."""
    progress, options = progress_reporter(store, case.id), CaseOptions.from_json(case.options)
    study = read_study(
        source_of(store, case.id),
        settings,
        options=options,
        require="images",
        progress=sub_progress(progress, 0.0, 0.8),
    )
    progress(0.8, Message("Preparing the images for the viewer"))
    store_images(study, store.folder(case.id))
    analysis = analyse(study, options, settings)
    checked = store.finish_check(
        case.id,
        pseudonym=study.pseudonym,
        study_date=study.study_date,
        inspection=inspection_json(analysis),
        stated=stated(study.patient),
    )
    return analysis, checked


def _answer(store: Store, audit: AuditTrail, case: Case, settings: Settings, analysis: StudyAnalysis | None) -> None:
    folder, progress = store.folder(case.id), progress_reporter(store, case.id)
    options, bundle = CaseOptions.from_json(case.options), bundle_for(case, settings)
    if analysis is None:
        reading = sub_progress(progress, 0.0, 0.2)
        study = read_study(source_of(store, case.id), settings, options=options, progress=reading)
        analysis = analyse(study, options, settings)
    elif analysis.study.suv_refusal is not None:
        raise analysis.study.suv_refusal
    result = compute_case(
        joined_record(analysis, case, options, settings),
        bundle=bundle,
        out=folder,
        settings=settings,
        language="en" if case.language == "en" else "fr",
        options=options,
        method=method_of(options, bundle, settings),
        progress=sub_progress(progress, 0.2, 0.8),
    )
    store_prediction(result, folder)
    stored = _complete(result, bundle, settings, sub_progress(progress, 0.8, 0.93))
    progress(0.95, Message("Writing the reports"))
    paths = {language: folder / f"report.{language}.pdf" for language in LANGUAGES}
    content, _ = write_reports(result, bundle, settings, paths=paths, version=case.version)
    for path in paths.values():
        render_report_pages(path)
    if settings.pacs:
        progress(0.97, Message("Writing the DICOM objects"))
        _write_objects(store, content, case, settings, folder)
    store.finish_computation(case.id, result=stored, options=case.options)
    audit.record("fedpet", "answer.computed", case=case.id, model=bundle.digest, detail={"version": case.version})


def _complete(result: CaseResult, bundle: Bundle, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Add to `result.json` what the pages show beside the answer: counterfactuals, healthy organs, landmarks."""
    analysis, path = result.analysis, result.folder / "result.json"
    engine = Engine.of(bundle, settings)
    without_lesions = counterfactuals(
        analysis.study, result.record, bundle, result.prediction, engine=engine, progress=progress
    )
    more = {
        "what_if": plain(without_lesions),
        "references": plain(analysis.references_beside(result.prediction.lesion_labels)),
        "landmarks_mm": landmarks_mm(analysis.anatomy),
    }
    result_json: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) | more
    path.write_text(json.dumps(result_json, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return result_json


def _sign(store: Store, audit: AuditTrail, case: Case, settings: Settings) -> None:
    """Write the final report: the answer as it was read, by the same model, with the verdict on it."""
    given = case.verdict or {}
    result, bundle = _as_read(store, case, settings)
    seen = given.get("shown", case.digest)
    stored = {"overall_survival": None, **(case.result or {})["prediction"]}  # the key is younger than some results
    if plain(result.prediction) != stored or seen != case.digest:
        store.record_failure(case.id, _CHANGED)
        return
    signed, reading = datetime.now(UTC), Reading.of(case)
    verdict = ReaderDecision(
        decision=Decision(given["decision"]).value,
        comment=given["comment"],
        reader=given["reader"],
        signed=signed.astimezone().isoformat(timespec="seconds"),
        shown=seen,
        conclusion=given.get("conclusion", ""),
        estimate=reading.estimate,
        key_points=reading.key_points,
    )
    folder = store.version_folder(case.id, case.version)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = {language: folder / f"report.{language}.pdf" for language in LANGUAGES}
    earlier = earlier_report(store, case, lambda of: read_description(store.folder(of))["body"])
    content, digest = write_reports(
        result, bundle, settings, paths=paths, verdict=verdict, version=case.version, earlier=earlier
    )
    for path in paths.values():
        render_report_pages(path)
    _write_objects(store, content, case, settings, folder)
    version = SignedVersion(
        case=case.id,
        number=case.version,
        signed=signed,
        reader=given["reader"],
        decision=Decision(given["decision"]),
        comment=given["comment"],
        report_uid=content.report_uid,
        content_hash=digest,
        result={**(case.result or {}), "reading": case.reading},
    )
    store.finish_signing(version)
    facts = {"version": case.version, "decision": given["decision"], "content_hash": digest, "shown": seen}
    audit.record(given["reader"], "verdict.signed", case=case.id, model=bundle.digest, detail=facts)


def _write_objects(store: Store, content: ReportContent, case: Case, settings: Settings, folder: Path) -> None:
    language: Language = "en" if case.language == "en" else "fr"
    pdf = folder / f"report.{language}.pdf"
    write_objects(content, source_of(store, case.id), settings, pdf=pdf, out=folder / "dicom", language=language)


def _as_read(store: Store, case: Case, settings: Settings) -> tuple[CaseResult, Bundle]:
    """The case computed again from its files, with the explanation that was read."""
    options, bundle = CaseOptions.from_json(case.options), bundle_for(case, settings)
    analysis = analyse(read_study(source_of(store, case.id), settings, options=options), options, settings)
    joined = joined_record(analysis, case, options, settings)
    prediction = answer(joined.analysis, joined.record, bundle, settings, options=options)
    folder, stored, explanation = store.folder(case.id), case.stored_result, None
    if stored is not None and stored.explanation is not None:
        explanation = explanation_from(stored.explanation, read_nifti(folder / "saliency.nii.gz", "1"), prediction)
    result = CaseResult(joined.analysis, joined.record, prediction, explanation, folder, joined.concordance)
    return result, bundle


def joined_record(analysis: StudyAnalysis, case: Case, options: CaseOptions, settings: Settings) -> JoinedRecord:
    """The study with the record of the case.

    Raises:
        RecordMismatchError: they contradict each other, and no reader confirmed it.
    """
    read = record_from_mapping(case.record)
    reference = replace(read.reference(settings.pseudonym_key()), copied=copied(case))
    return join_record(analysis, read.record, reference, confirmation=options.confirmation)


def source_of(store: Store, case_id: str) -> Path:
    """The files of a case as received: an archive, or a folder."""
    folder = store.source(case_id)
    files = list(folder.iterdir())
    return files[0] if len(files) == 1 else folder


def _main() -> None:
    task = read_task()
    settings = Settings(**task["settings"])
    discreet_logs()
    limit_memory(settings)
    with full_disk_told(), scratch_folder(settings.folder):
        store = Store.open(settings)
        case = store.get(task["case"])
        if case is not None:
            compute(store, AuditTrail.of(store.engine, settings), case, settings)


if __name__ == "__main__":
    _main()
