"""`fedpet batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.console import FAILED, progress_bar, reported, say, show_profile, write_json
from app.cli.options import EngineOptions, HeaderOptions, Json, OrganOptions, case_options, expand_options
from explain.methods import MethodName
from fedpet.core.errors import OutputError
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings
from fedpet.imaging.lesions.lesion import ThresholdMethod


@expand_options
def batch(
    worklist: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="Table with the columns `study` and `clinical`, or folder of NAME or NAME.zip with NAME.json or .csv.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the batch: new, or of an earlier run, which then goes on.")],
    model: Annotated[Path | None, typer.Option(help="Model bundle; the one in force by default.")] = None,
    lang: Annotated[Literal["fr", "en"] | None, typer.Option(help="Language of the reports.")] = None,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Compute the saliency maps.")] = True,
    explain_method: Annotated[
        MethodName | None, typer.Option(help="How answers are explained; by default as suits the model.")
    ] = None,
    dicom: Annotated[bool, typer.Option("--dicom/--no-dicom", help="Write what a PACS stores, in `dicom`.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time of all studies went.")] = False,
    method: Annotated[ThresholdMethod, typer.Option("--method", help="How hot components are found.")] = "suv4",
    *,
    engine: EngineOptions,
    organs: OrganOptions,
    json: Json = False,
) -> None:
    """Predict many studies, on all cores or machines; what one run did, the next one keeps."""
    from app.cases.pipeline import CaseOutput
    from app.cli.batch.run import BatchPlan, State, centre_mark, run_batch, whole_profile
    from app.cli.batch.summary import count_states, write_summary
    from app.cli.batch.worklist import read_worklist, write_key
    from inference.registry import bundle_in

    with reported(as_json=json):
        settings = load_settings()
        language = lang or settings.language
        items = read_worklist(worklist)
        bundle = bundle_in(model, settings)
        _require_place(out)
        plan = BatchPlan(
            out,
            bundle.folder,
            bundle.digest,
            settings if engine.chosen == 1 else settings.model_copy(update={"threads": settings.threads or 1}),
            case_options(HeaderOptions(), None, method, organs),
            CaseOutput(language, explain=explain, method=explain_method, dicom=dicom),
            centre_mark(settings),
        )
        with progress_bar(language) as progress:
            rows = run_batch(items, plan, workers=engine.chosen, progress=progress)
        write_summary(out, rows, bundle, language)
        key = write_key(settings.folder / "batch", out, items, rows)
    counts = count_states(rows)
    if json:
        write_json({"counts": counts, "rows": [row.to_json() for row in rows]})
    told = Message(
        "{answered} answered, {abstained} abstained, {refused} refused, {failed} failed. Table: {table}."
        " Which study is which: {key}, private to you.",
        **{state.value: n for state, n in counts.items()},
        table=str(out / "summary.html"),
        key=str(key),
    )
    say(told, language)
    if profile:
        show_profile(whole_profile(rows), language)
    if counts[State.FAILED]:
        raise typer.Exit(FAILED)


def _require_place(out: Path) -> None:
    """Refuse a folder that is something else than that of a batch.

    Raises:
        OutputError: it is a file, or holds files and no journal of a batch.
    """
    from app.cli.batch.run import JOURNAL

    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / JOURNAL).is_file()):
        raise OutputError(
            found=Message("{name} holds other files than those of a batch.", name=out.name),
            needed=Message("A new folder, or that of an earlier batch."),
            advice=Message("Choose another --out; nothing is overwritten."),
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / JOURNAL).touch()
