"""The `fedpet` command. Sub-commands of training, cohort and models are in their own modules."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from app import command_audit, command_cohort, command_model, command_train
from app.console import REFUSED, messages, progress_bar, reported, write_json
from fedpet import __version__
from fedpet.messages import say
from fedpet.settings import load_settings

if TYPE_CHECKING:
    from app.casework import CaseResult

main = typer.Typer(
    name="fedpet",
    help="Federated PET/CT models of response to immunotherapy in lung cancer. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold patient data
)
main.add_typer(command_audit.commands, name="audit")
main.add_typer(command_model.commands, name="model")
main.add_typer(command_cohort.commands, name="cohort")
main.add_typer(command_train.commands, name="train")

Study = Annotated[Path, typer.Argument(exists=True, help="Folder, zip or file with a PET/CT study in DICOM.")]
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@main.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Show the version where it is asked for."""
    if show:
        typer.echo(f"fedpet {__version__}")
        raise typer.Exit


@main.command()
def inspect(study: Study, json: Json = False) -> None:
    """Say which series a study holds, which are used, and what the SUV rests on."""
    from imaging.loading import inspect_study

    with reported(as_json=json):
        report = inspect_study(study, pseudonym_key=load_settings().pseudonym_key())
    if json:
        write_json(report)
    else:
        _show_inspection(report)
    if "refused" in report:
        raise typer.Exit(REFUSED)


def _show_inspection(report: dict[str, Any]) -> None:
    series = Table(title="Series")
    for heading in ("modality", "description", "instances", "chosen", "reason"):
        series.add_column(heading)
    for row in report.get("series", []):
        series.add_row(*(str(row[key]) for key in ("modality", "description", "instances", "chosen", "reason")))
    messages.print(series)
    for key, value in (report.get("pet") or {}).items():
        messages.print(f"{key}: {value}", highlight=False, markup=False)
    for check in report.get("checks", []):
        messages.print(f"{check['level']:>4}  {check['name']}: {check['reason']}", highlight=False, markup=False)
    if refused := report.get("refused"):
        sentence = " ".join(refused[part] for part in ("found", "needed", "advice"))
        messages.print(sentence, style="red", highlight=False, markup=False)


@main.command()
def quantify(
    study: Study,
    lesions: Annotated[Path | None, typer.Option(exists=True, help="NIfTI mask or label image of the lesions.")] = None,
    json: Json = False,
) -> None:
    """Measure lesions: those of a mask, or all components of SUV >= 4 (physiological uptake is not excluded)."""
    from imaging.loading import load_study
    from imaging.masks import read_mask
    from imaging.quantities import quantify as measure
    from inference.delineation import bare_threshold

    with reported(as_json=json):
        loaded = load_study(study, pseudonym_key=load_settings().pseudonym_key())
        labels = read_mask(lesions, loaded.pet) if lesions else bare_threshold(loaded.pet)
        quantities = asdict(measure(loaded.pet, labels, method="given_mask" if lesions else "suv4", ct=loaded.ct))
    rows = quantities.pop("lesions")
    report = {"method": quantities.pop("method"), "lesions": rows, "total": {"n": len(rows), **quantities}}
    if json:
        write_json(report)
        return
    table = Table(title=report["method"])
    for heading in ("id", "region", "suv_max", "suv_mean", "suv_peak", "mtv_ml", "tlg"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*(_figure(row[column.header]) for column in table.columns))
    messages.print(table)
    messages.print({key: _figure(value) for key, value in report["total"].items()})


def _figure(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@main.command()
def predict(
    study: Study,
    clinical: Annotated[Path, typer.Option(exists=True, help="Clinical record: JSON, or CSV with one row.")],
    out: Annotated[Path, typer.Option(help="Folder for the result, the images and the report.")],
    model: Annotated[Path | None, typer.Option(help="Model bundle; the configured one by default.")] = None,
    lang: Annotated[Literal["fr", "en"] | None, typer.Option(help="Language of the report.")] = None,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Compute the saliency map.")] = True,
    lesions: Annotated[Path | None, typer.Option(exists=True, help="NIfTI mask of the lesions, by a reader.")] = None,
    json: Json = False,
) -> None:
    """Predict progression-free survival from a study and a clinical record, explain it and write the report."""
    from app.casework import run_case, write_reports
    from app.result import result_json
    from clinical.reading import read_record
    from inference.bundle import Bundle

    with reported(as_json=json):
        settings = load_settings()
        language = lang or settings.language
        read = read_record(clinical)
        for warning in read.warnings:
            messages.print(say(language)(warning), style="yellow", highlight=False, markup=False)
        bundle = Bundle.chosen(model or settings.model)
        with progress_bar(language) as progress:
            result = run_case(
                study,
                read.record,
                bundle=bundle,
                out=out,
                settings=settings,
                language=language,
                explain=explain,
                lesions=lesions,
                progress=progress,
            )
        write_reports(result, bundle, settings, paths={language: out / "report.pdf"})
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
            f"cohort {endpoint.base_rate:.0%})",
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


@main.command(name="app")
def serve_app(
    port: Annotated[int, typer.Option(help="Port on this machine (loopback only).")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Start the application on this machine and open it in the browser."""
    from app.server import serve

    with reported():
        serve(load_settings(), port=port, open_browser=browser)


if __name__ == "__main__":
    main()
