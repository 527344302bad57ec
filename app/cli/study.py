"""`fedpet inspect`, `quantify` and `predict`: what is done with one study."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.console import REFUSED, messages, progress_bar, reported, say, show_profile, write_json
from app.cli.options import (
    HeaderOptions,
    InferenceServer,
    Json,
    LesionOptions,
    OrganOptions,
    Study,
    case_options,
    expand_options,
    operator,
)
from explain.methods import MethodName
from fedpet.core.errors import ArgumentError, OutputError
from fedpet.core.messages import Message, translate_message
from fedpet.core.profile import Stage, profiled, stage
from fedpet.core.settings import load_settings
from fedpet.imaging.lesions.lesion import ThresholdMethod
from fedpet.imaging.suv.normalization import Normalization

if TYPE_CHECKING:
    from app.cases.options import CaseOptions
    from app.cases.pipeline import CaseResult
    from fedpet.core.messages import Language
    from fedpet.core.settings import Settings
    from fedpet.imaging.analysis import StudyAnalysis
    from inference.bundle.storage import Bundle
    from inference.lesion_network import LesionNetwork
    from inference.record_concordance import RecordConcordance

Threshold = Annotated[
    ThresholdMethod, typer.Option("--method", help="How hot components are found, where no lesions are given.")
]
Within = Annotated[
    ThresholdMethod | None,
    typer.Option(
        "--method", help="How hot components are found (suv4 by default), or --lesions are cut to what is hot in them."
    ),
]


@expand_options
def inspect(
    study: Study,
    clinical: Annotated[Path | None, typer.Option(exists=True, help="Clinical record to compare with.")] = None,
    *,
    headers: HeaderOptions,
    json: Json = False,
) -> None:
    """Say which series a study holds, which are used, what the SUV rests on, and whether a record fits the images."""
    from app.cases.options import input_limits
    from fedpet.imaging.loading import inspect_study
    from fedpet.imaging.quality.centre_uptake import own_uptake

    with reported(as_json=json):
        settings = load_settings()
        language: Language = "en" if json else settings.language
        report = inspect_study(
            study,
            pseudonym_key=settings.pseudonym_key(),
            limits=input_limits(settings),
            corrections=headers.corrections(),
            pet_series=headers.pet_series,
            ct_series=headers.ct_series,
            usual=own_uptake(settings),
            language=language,
        )
        if "patient" in report:
            report["concordance"] = _compared(report["patient"], clinical, settings, language)
    if json:
        write_json(report)
    else:
        _show_inspection(report)
    if "refused" in report:
        raise typer.Exit(REFUSED)


def _compared(images: dict[str, Any], clinical: Path | None, settings: Settings, language: Language) -> dict[str, Any]:
    """What the images state of the patient against a record; without one, against nothing."""
    from fedpet.clinical.reading import read_record, record_from_mapping
    from fedpet.imaging.study import PatientFacts
    from inference.record_concordance import compare_record, complete_record

    facts = PatientFacts(**{**images, "pet_dates": tuple(images["pet_dates"])})
    read = read_record(clinical) if clinical else record_from_mapping({})
    reference = read.reference(settings.pseudonym_key())
    found = compare_record(complete_record(read.record, reference, facts), reference, facts)
    say, check = translate_message(language), found.check()
    items = [
        {
            "item": item.name,
            "verdict": item.verdict.value,
            "record": item.record and say(item.record),
            "images": item.images and say(item.images),
        }
        for item in found.items
    ]
    return {"check": {"name": check.name, "level": check.level.value, "reason": say(check.reason)}, "items": items}


@expand_options
def quantify(
    study: Study,
    method: Within = None,
    *,
    lesions: LesionOptions,
    organs: OrganOptions,
    normalization: Annotated[Normalization, typer.Option(help="SUV by body weight, lean mass or surface.")] = "bw",
    lesion_network: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Network of fedpet train lesions; finds them.")
    ] = None,
    headers: HeaderOptions,
    json: Json = False,
) -> None:
    """Measure lesions: those a reader drew, or the hot components that are not physiological uptake."""
    from app.cases.pipeline import analyse, read_study

    with reported(as_json=json):
        options = case_options(headers, lesions, method, organs)
        settings = load_settings()
        analysis = analyse(read_study(study, settings, options=options, require="suv"), options, settings)
        network = None if lesion_network is None else _network_alone(lesion_network, analysis)
        report = _measured(analysis, options, normalization, method, network)
    if json:
        write_json(report)
    else:
        _show_quantities(report)


def _network_alone(folder: Path, analysis: StudyAnalysis) -> LesionNetwork:
    """The network that finds the lesions.

    Raises:
        ArgumentError: lesions are given, too.
    """
    from inference.lesion_network import LesionNetwork

    if analysis.mask is not None:
        raise ArgumentError(
            found=Message("Lesions are given, and a network that finds them, too."),
            needed=Message("One of --lesions and --lesion-network."),
            advice=Message("Leave one of them out."),
        )
    return LesionNetwork.load(folder)


def _measured(
    analysis: StudyAnalysis,
    options: CaseOptions,
    normalization: Normalization,
    method: ThresholdMethod | None,
    network: LesionNetwork | None = None,
) -> dict[str, Any]:
    """What was measured in a study, as plain data."""
    from app.cases.result_json import mask_json, plain
    from fedpet.imaging.lesions.lesion import BRAIN_UNSEEN, GIVEN_MASK
    from fedpet.imaging.quantification import measure_table, quantify_study
    from fedpet.imaging.study import CheckStatus

    study, mask = analysis.study, analysis.mask
    given = None if mask is None else mask.labels
    measured = quantify_study(
        analysis,
        normalization=normalization,
        lesions=given if network is None else network.find(study),
        method=method,
        include=options.include,
        exclude=options.exclude,
    )
    found = measured.delineation
    in_suvbw = measured.quantities if normalization == "bw" else None
    table = measure_table(analysis, measured.labels, quantities=in_suvbw)
    quantities = asdict(measured.quantities)
    rows = [row | _finer_place(row) for row in quantities.pop("lesions")]
    name = quantities.pop("method")
    return {
        "method": name if network is None else name.replace(GIVEN_MASK, "lesion_network"),
        "lesion_network": network and network.card,
        "normalization": normalization,
        "unit": measured.pet.unit,
        "lesions": rows,
        "unseen": [plain(BRAIN_UNSEEN)],
        "total": {"n": len(rows), **quantities},
        "table": table.to_json(),
        "threshold": found and found.threshold,
        "components": found and plain(found.components),
        "organs": _organ_source(analysis),
        "references": plain(measured.references),
        "mask": mask_json(analysis),
        "checks": {check.name: check.level.value for check in analysis.checks},
        "remarks": [plain(check) for check in analysis.checks if check.level is not CheckStatus.PASS],
        "corrections": plain(study.corrections),
    }


def _finer_place(lesion: dict[str, Any]) -> dict[str, Any]:
    """Vertebral level and proposed station of a lesion with their codes; `level` holds the one that there is."""
    from fedpet.imaging.anatomy.finer_places import STATIONS, VERTEBRAE

    vertebra, station = lesion["vertebra"], lesion.pop("station")
    return {
        "vertebra": vertebra and {"name": vertebra, "scheme": "SCT", "code": VERTEBRAE[vertebra]},
        "station_proposal": station,
        "station_nodes": station and {"scheme": "SCT", "code": STATIONS[station]},
        "level": vertebra or (f"{station}?" if station else None),
    }


def _organ_source(analysis: StudyAnalysis) -> dict[str, Any] | None:
    """What found the organs on which the decisions rest."""
    if analysis.anatomy is None:
        return None
    organs = analysis.anatomy.organs
    filled_in = sorted(organs.filled_in)
    return {
        "source": organs.source.value,
        "detail": organs.detail,
        "text": str(organs.source.sentence),
        "filled_in_by_rules": filled_in,
    }


def _show_inspection(report: dict[str, Any]) -> None:
    from app.cli.study_tables import show_check, show_table, shown

    columns = ("id", "modality", "description", "instances", "chosen", "reason")
    if report["series"]:
        show_table(Message("Series"), columns, report["series"])
    for key, value in (report.get("pet") or {}).items():
        messages.print(f"{key}: {shown(key, value)}", highlight=False, markup=False)
    if paths := report.get("suv_witness"):
        rows = [one | {"factor": f"{one['factor']:.4g}", "deviation": f"{one['deviation']:+.1%}"} for one in paths]
        title = Message("SUV factor by each path")
        show_table(title, ("path", "factor", "deviation", "used", "counts", "remark"), rows)
    for check in report.get("checks", []):
        show_check(check["name"], check["level"], check["reason"])
    if compared := report.get("concordance"):
        show_table(Message("Record and images"), ("item", "verdict", "record", "images"), compared["items"])
    for one in report.get("corrections", []):
        change = Message(
            "corrected {name}: {old} -> {new} ({reason})",
            **{name: shown(name, one[name]) for name in ("name", "old", "new")},
            reason=one["reason"],
        )
        say(change, style="yellow")
    if refused := report.get("refused") or report.get("refused_for_prediction"):
        sentence = " ".join(refused[part] for part in ("found", "needed", "advice"))
        messages.print(sentence, style="red", highlight=False, markup=False)


def _show_quantities(report: dict[str, Any]) -> None:
    from app.cli.study_tables import show_check, show_table, show_total, shown
    from fedpet.imaging.anatomy.organ_segmentation import OrganSource
    from fedpet.imaging.lesions.lesion import BRAIN_UNSEEN

    for check in report["remarks"]:
        show_check(check["name"], check["level"], shown("reason", check["reason"]))
    columns = ("id", "region", "level", "suv_max", "suv_mean", "suv_peak", "mtv_ml", "tlg")
    show_table(Message("Lesions"), columns, report["lesions"], f" ({report['method']}, {report['unit']})")
    if any(one["station_proposal"] for one in report["lesions"]):
        say(Message("A level with a question mark is a proposal of a lymph node station (IASLC)."))
    show_total(report["total"])
    say(BRAIN_UNSEEN)
    if report["organs"]:
        say(OrganSource(report["organs"]["source"]).sentence)
    if doubtful := [one for one in report["components"] or () if one["to_confirm"]]:
        wanted = ("id", "included", "place", "suv_max", "volume_ml", "score", "reason")
        show_table(Message("To be confirmed"), wanted, doubtful)
    if left_out := [one for one in report["components"] or () if not one["included"]]:
        show_table(Message("Not counted"), ("id", "place", "suv_max", "volume_ml", "reason"), left_out)


@expand_options
def predict(
    study: Study,
    clinical: Annotated[Path, typer.Option(exists=True, help="Clinical record: JSON, or CSV with one row.")],
    out: Annotated[Path, typer.Option(help="Folder for the result, the images and the report.")],
    model: Annotated[Path | None, typer.Option(help="Model bundle; the one in force by default.")] = None,
    lang: Annotated[Literal["fr", "en"] | None, typer.Option(help="Language of the report.")] = None,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Compute the saliency map.")] = True,
    explain_method: Annotated[
        MethodName | None, typer.Option(help="How the answer is explained; by default as suits the model.")
    ] = None,
    dicom: Annotated[bool, typer.Option("--dicom/--no-dicom", help="Write what a PACS stores, in `dicom`.")] = False,
    method: Threshold = "suv4",
    confirm_record: Annotated[
        str, typer.Option(help="Why the record is right although it contradicts the images; kept with the result.")
    ] = "",
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went.")] = False,
    inference_server: InferenceServer = "",
    *,
    lesions: LesionOptions,
    organs: OrganOptions,
    headers: HeaderOptions,
    json: Json = False,
) -> None:
    """Predict progression-free survival from a study and a clinical record, explain it and write the report."""
    from app.cases.pipeline import CaseOutput, predict_study
    from app.cases.result_json import result_json
    from fedpet.clinical.reading import read_record
    from inference.record_concordance import RecordConfirmation
    from inference.registry import bundle_in

    with reported(as_json=json), profiled(whole_process=True) as times:
        _require_unused(out)
        settings = load_settings().with_inference_server(inference_server)
        language = lang or settings.language
        with stage(Stage.RECORD):
            read = read_record(clinical)
        for warning in read.warnings:
            say(warning, language, style="yellow")
        confirmation = RecordConfirmation(confirm_record, operator()) if confirm_record.strip() else None
        with stage(Stage.MODEL):
            bundle = bundle_in(model, settings)
        with progress_bar(language) as progress:
            result = predict_study(
                study,
                read,
                bundle=bundle,
                out=out,
                settings=settings,
                wanted=CaseOutput(language, explain=explain, method=explain_method, dicom=dicom),
                options=replace(case_options(headers, lesions, method, organs), confirmation=confirmation),
                progress=progress,
            )
        if result.concordance is not None and result.concordance.confirmed:
            _record_confirmation(result.concordance, bundle)
    if json:
        found = result_json(result.analysis, result.record, result.prediction, result.explanation, result.concordance)
        write_json(found | ({"profile": times.to_json()} if profile else {}))
    else:
        _show_prediction(result, language)
    if profile:
        show_profile(times, language)


def _require_unused(out: Path) -> None:
    """A second case in one folder would leave files of the first beside its own.

    Raises:
        OutputError: the folder holds a result.
    """
    if (out / "result.json").exists():
        raise OutputError(
            found=Message("The folder already holds the result of a case."),
            needed=Message("A folder without one."),
            advice=Message("Choose another --out, or move the older result away."),
        )


def _record_confirmation(concordance: RecordConcordance, bundle: Bundle) -> None:
    """Leave a line in the audit trail: which items contradict, who confirmed them and why."""
    from app.cli.audit import audit_trail

    given = concordance.confirmation
    if given is not None:
        items = [item.name for item in concordance.contradictions]
        detail = {"contradictions": items, "reason": given.reason}
        audit_trail().record(given.by, "record.confirmed", model=bundle.digest, detail=detail)


def _show_prediction(result: CaseResult, language: Language) -> None:
    from reports.labels import ENDPOINTS, OVERALL_SURVIVAL, VERDICTS, meaning_of_interval
    from reports.locale import Locale

    def told(message: Message) -> None:
        messages.print(Locale(language).translate(message), highlight=False, markup=False)

    prediction = result.prediction
    if prediction.model.synthetic:
        say(Message("SYNTHETIC MODEL: it predicts nothing about real patients."), language, style="bold red")
    if result.concordance is not None and result.concordance.contradictions:
        say(result.concordance.check().reason, language, style="bold yellow")
    if prediction.abstained is not None:
        say(Message("The model abstains. {why}", why=prediction.abstained), language)
    for one in prediction.endpoints:
        interval = Message(
            "{endpoint}: {p:.0%} ({level:.0%} interval {low:.0%} to {high:.0%}; cohort {cohort:.0%}): {answer}",
            endpoint=ENDPOINTS[one.name],
            answer=VERDICTS[one.verdict] if one.verdict else "–",
            p=one.probability,
            level=prediction.interval_level,
            low=one.lower,
            high=one.upper,
            cohort=one.base_rate,
        )
        told(interval)
    if (alive := prediction.overall_survival) is not None:
        alive_in_words = Message(
            "{endpoint}: {p:.0%} ({level:.0%} interval {low:.0%} to {high:.0%}; cohort {cohort:.0%})",
            endpoint=OVERALL_SURVIVAL,
            p=alive.probability,
            level=prediction.interval_level,
            low=alive.lower,
            high=alive.upper,
            cohort=alive.base_rate,
        )
        told(alive_in_words)
    if prediction.endpoints:
        level = Locale(language).percent(prediction.interval_level)
        told(meaning_of_interval(level, missing=prediction.missing, centre=prediction.centre))
    quantities = prediction.quantities
    measured = Message(
        "One lesion, TMTV {tmtv:.1f} ml, SUVmax {suv:.1f} ({method}); computed on {provider}",
        "{count} lesions, TMTV {tmtv:.1f} ml, SUVmax {suv:.1f} ({method}); computed on {provider}",
        count=len(quantities.lesions),
        tmtv=quantities.tmtv_ml,
        suv=quantities.suv_max,
        method=quantities.method,
        provider=prediction.model.provider,
    )
    told(measured)
    for name in sorted(path.name for path in result.folder.iterdir()):
        messages.print(f"  {result.folder / name}", highlight=False, markup=False)
