"""`fedpet inspect`, `quantify` and `predict`: what is done with one study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from app.console import REFUSED, messages, progress_bar, reported, write_json
from app.options import CaseOptions
from fedpet.messages import say
from fedpet.progress import part
from fedpet.settings import load_settings
from imaging.normalization import Normalization
from imaging.thresholds import Method

if TYPE_CHECKING:
    from app.casework import CaseResult
    from imaging.corrections import Correction
    from imaging.study import Study as LoadedStudy

Study = Annotated[Path, typer.Argument(exists=True, help="Folder, zip or file with a PET/CT study in DICOM.")]
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]
Weight = Annotated[str, typer.Option(help="Weight in kg, instead of the headers'. Needs --reason.")]
Height = Annotated[str, typer.Option(help="Height in m, instead of the headers'. Needs --reason.")]
Dose = Annotated[str, typer.Option(help="Injected activity in MBq, instead of the headers'. Needs --reason.")]
Injection = Annotated[str, typer.Option(help="Time of injection, HH:MM[:SS] or YYYY-MM-DDTHH:MM:SS. Needs --reason.")]
ScanStart = Annotated[str, typer.Option(help="Start of the scan, as --injection-time. Needs --reason.")]
Reason = Annotated[str, typer.Option(help="Why values of the headers are corrected; kept with the result.")]
PetSeries = Annotated[int | None, typer.Option(help="PET series to use: its number in the list of `inspect`.")]
CtSeries = Annotated[int | None, typer.Option(help="CT series to use: its number in the list of `inspect`.")]
Lesions = Annotated[
    Path | None, typer.Option(exists=True, help="Lesions drawn by a reader: NIfTI, DICOM SEG or RTSTRUCT.")
]
Roi = Annotated[list[str] | None, typer.Option(help="Segment or contour of --lesions to use; may be repeated.")]
Threshold = Annotated[
    Method, typer.Option("--method", help="How hot components are found, where no lesions are given.")
]
Within = Annotated[
    Method | None,
    typer.Option(
        "--method", help="How hot components are found (suv4 by default), or --lesions are cut to what is hot in them."
    ),
]
Include = Annotated[list[int] | None, typer.Option(help="Component to count as a lesion; may be repeated.")]
Exclude = Annotated[list[int] | None, typer.Option(help="Component not to count as a lesion; may be repeated.")]


def inspect(
    study: Study,
    weight: Weight = "",
    height: Height = "",
    dose: Dose = "",
    injection_time: Injection = "",
    scan_start: ScanStart = "",
    reason: Reason = "",
    pet_series: PetSeries = None,
    ct_series: CtSeries = None,
    json: Json = False,
) -> None:
    """Say which series a study holds, which are used, and what the SUV rests on."""
    from imaging.intake import IntakeLimits
    from imaging.loading import inspect_study

    with reported(as_json=json):
        settings = load_settings()
        options = CaseOptions(
            corrections=_corrections(reason, weight, height, dose, injection_time, scan_start),
            pet_series=pet_series,
            ct_series=ct_series,
        )
        report = inspect_study(
            study,
            pseudonym_key=settings.pseudonym_key(),
            limits=IntakeLimits(settings.max_files, settings.max_upload_mb * 2**20),
            corrections=options.corrections,
            pet_series=options.pet_series,
            ct_series=options.ct_series,
            language="en" if json else settings.language,
        )
    if json:
        write_json(report)
    else:
        _show_inspection(report)
    if "refused" in report:
        raise typer.Exit(REFUSED)


def quantify(
    study: Study,
    lesions: Lesions = None,
    roi: Roi = None,
    method: Within = None,
    include: Include = None,
    exclude: Exclude = None,
    normalization: Annotated[Normalization, typer.Option(help="SUV by body weight, lean mass or surface.")] = "bw",
    weight: Weight = "",
    height: Height = "",
    dose: Dose = "",
    injection_time: Injection = "",
    scan_start: ScanStart = "",
    reason: Reason = "",
    pet_series: PetSeries = None,
    ct_series: CtSeries = None,
    json: Json = False,
) -> None:
    """Measure lesions: those a reader drew, or the hot components that are not physiological uptake."""
    from app.casework import read_study

    with reported(as_json=json):
        options = CaseOptions(
            corrections=_corrections(reason, weight, height, dose, injection_time, scan_start),
            pet_series=pet_series,
            ct_series=ct_series,
            method=method or "suv4",
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            mask=lesions,
            rois=tuple(roi or ()),
        )
        loaded = read_study(study, load_settings(), options=options, require="suv")
        report = _measured(loaded, options, normalization, cut=method)
    if json:
        write_json(report)
    else:
        _show_quantities(report)


def _corrections(reason: str, *typed: str) -> tuple[Correction, ...]:
    """The corrections given, in the order of `imaging.corrections.NAMES`."""
    from imaging.corrections import NAMES, parse_correction

    return tuple(
        parse_correction(name, value, reason=reason, by=operator())
        for name, value in zip(NAMES, typed, strict=True)
        if value
    )


def operator() -> str:
    """Who runs the command."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _measured(
    study: LoadedStudy, options: CaseOptions, normalization: Normalization, *, cut: Method | None
) -> dict[str, Any]:
    """The quantities of a study. Lesions are found (given ones cut) on SUVbw, whatever SUV they are measured in."""
    from app.result import plain
    from imaging.delineation import delineate, within
    from imaging.masks import read_mask
    from imaging.normalization import normalised
    from imaging.quantities import quantify as measure
    from imaging.references import organ_references
    from inference.delineation import GIVEN

    pet = normalised(study, normalization)
    if options.mask:
        labels, name, found = read_mask(options.mask, study.pet, study=study, rois=options.rois or None), GIVEN, None
        if cut:
            labels, name = within(labels, study.pet, study.ct, cut), f"{GIVEN}_{cut}"
    else:
        found = delineate(study.pet, study.ct, method=options.method, include=options.include, exclude=options.exclude)
        labels, name = found.lesions, found.method
    quantities = asdict(measure(pet, labels, method=name, ct=study.ct))
    rows = quantities.pop("lesions")
    return {
        "method": quantities.pop("method"),
        "normalization": normalization,
        "unit": pet.unit,
        "lesions": rows,
        "total": {"n": len(rows), **quantities},
        "threshold": found and found.threshold,
        "components": found and plain(found.components),
        "references": study.ct and plain(organ_references(pet, study.ct)),
        "checks": {check.name: check.level.value for check in study.checks},
        "corrections": plain(study.corrections),
    }


def _show_inspection(report: dict[str, Any]) -> None:
    columns = ("id", "modality", "description", "instances", "chosen", "reason")
    _show_table("Series", columns, report["series"])
    for key, value in (report.get("pet") or {}).items():
        messages.print(f"{key}: {value}", highlight=False, markup=False)
    for check in report.get("checks", []):
        messages.print(f"{check['level']:>4}  {check['name']}: {check['reason']}", highlight=False, markup=False)
    for one in report.get("corrections", []):
        told = f"corrected {one['name']}: {one['old']} -> {one['new']} ({one['reason']})"
        messages.print(told, style="yellow", highlight=False, markup=False)
    if refused := report.get("refused") or report.get("refused_for_prediction"):
        sentence = " ".join(refused[part] for part in ("found", "needed", "advice"))
        messages.print(sentence, style="red", highlight=False, markup=False)


def _show_quantities(report: dict[str, Any]) -> None:
    columns = ("id", "region", "suv_max", "suv_mean", "suv_peak", "mtv_ml", "tlg")
    _show_table(f"{report['method']} ({report['unit']})", columns, report["lesions"])
    messages.print({key: _figure(value) for key, value in report["total"].items()})
    if left_out := [one for one in report["components"] or () if not one["included"]]:
        rows = [one | {"reason": one["reason"]["text"]} for one in left_out]
        _show_table("Not counted", ("id", "place", "suv_max", "volume_ml", "reason"), rows)


def _show_table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title=title)
    for heading in columns:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(_figure(row[column]) for column in columns))
    messages.print(table)


def _figure(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def predict(
    study: Study,
    clinical: Annotated[Path, typer.Option(exists=True, help="Clinical record: JSON, or CSV with one row.")],
    out: Annotated[Path, typer.Option(help="Folder for the result, the images and the report.")],
    model: Annotated[Path | None, typer.Option(help="Model bundle; the one in force by default.")] = None,
    lang: Annotated[Literal["fr", "en"] | None, typer.Option(help="Language of the report.")] = None,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Compute the saliency map.")] = True,
    dicom: Annotated[bool, typer.Option("--dicom/--no-dicom", help="Write what a PACS stores, in `dicom`.")] = False,
    lesions: Lesions = None,
    roi: Roi = None,
    method: Threshold = "suv4",
    include: Include = None,
    exclude: Exclude = None,
    weight: Weight = "",
    height: Height = "",
    dose: Dose = "",
    injection_time: Injection = "",
    scan_start: ScanStart = "",
    reason: Reason = "",
    pet_series: PetSeries = None,
    ct_series: CtSeries = None,
    json: Json = False,
) -> None:
    """Predict progression-free survival from a study and a clinical record, explain it and write the report."""
    from app.casework import read_study, run_case, write_objects, write_reports
    from app.models import bundle_in
    from app.result import result_json
    from clinical.reading import read_record

    with reported(as_json=json):
        settings = load_settings()
        language = lang or settings.language
        read = read_record(clinical)
        for warning in read.warnings:
            messages.print(say(language)(warning), style="yellow", highlight=False, markup=False)
        options = CaseOptions(
            corrections=_corrections(reason, weight, height, dose, injection_time, scan_start),
            pet_series=pet_series,
            ct_series=ct_series,
            method=method,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            mask=lesions,
            rois=tuple(roi or ()),
        )
        bundle = bundle_in(model, settings)
        with progress_bar(language) as progress:
            loaded = read_study(study, settings, options=options, progress=part(progress, 0.0, 0.3))
            result = run_case(
                loaded,
                read.record,
                bundle=bundle,
                out=out,
                settings=settings,
                language=language,
                options=options,
                explain=explain,
                progress=part(progress, 0.3, 1.0),
            )
        pdf = out / "report.pdf"
        content, _ = write_reports(result, bundle, settings, paths={language: pdf})
        if dicom:
            write_objects(content, study, settings, pdf=pdf, out=out / "dicom", language=language)
    if json:
        write_json(result_json(result.study, result.record, result.prediction, result.explanation))
    else:
        _show_prediction(result)


def _show_prediction(result: CaseResult) -> None:
    prediction = result.prediction
    if prediction.model.synthetic:
        messages.print("SYNTHETIC MODEL: it predicts nothing about real patients.", style="bold red")
    if prediction.abstained is not None:
        messages.print(f"The model abstains. {prediction.abstained}", highlight=False, markup=False)
    for endpoint in prediction.endpoints:
        messages.print(
            f"{endpoint.name}: {endpoint.probability:.0%} "
            f"({prediction.interval_level:.0%} interval {endpoint.lower:.0%} to {endpoint.upper:.0%}; "
            f"cohort {endpoint.base_rate:.0%}){f': {endpoint.verdict}' if endpoint.verdict else ''}",
            highlight=False,
        )
    quantities = prediction.quantities
    messages.print(
        f"{len(quantities.lesions)} lesions, TMTV {quantities.tmtv_ml:.1f} ml, SUVmax {quantities.suv_max:.1f} "
        f"({quantities.method}); ran on {prediction.model.provider}",
        highlight=False,
    )
    for name in sorted(path.name for path in result.folder.iterdir()):
        messages.print(f"  {result.folder / name}", highlight=False, markup=False)


COMMANDS = (inspect, quantify, predict)
