"""`fedpet cohort`: simulate patients, or turn a hospital's DICOM and CSV into node data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.console import FAILED, messages, progress_bar, reported, say, write_json
from app.cli.options import EngineOptions, Json, expand_options, given_contract
from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import load_settings
from fedpet.imaging.lesions.lesion import ThresholdMethod

if TYPE_CHECKING:
    from inference.input_contract import InputContract

commands = typer.Typer(help="Synthetic cohort and node data.", no_args_is_help=True)
WarehouseForm = Literal["osiris", "omop", "fhir"]
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]
AllCores = Annotated[int | None, typer.Option(min=1, help="Processes that work side by side; all cores without.")]
Dicom = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with one folder a patient.")]
TableOnly = Annotated[bool, typer.Option("--table", help="Node data of the lesion table, without voxels.")]
Crops = Annotated[
    bool,
    typer.Option(
        "--crops", help="The table with crops around its lesions, about 0.2 MB a patient: for a learned term."
    ),
]
Table = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="CSV or xlsx of the clinical data and outcomes.")
]


def _table_contract(lesion_table: bool, crops: bool) -> InputContract | None:  # noqa: FBT001  two flags of the command
    """The contract of the lesion table, with crops or without; None where neither is asked for."""
    from inference.input_contract import crop_contract, table_contract

    if crops:
        return crop_contract()
    return table_contract() if lesion_table else None


@commands.command()
@expand_options
def simulate(
    patients: Annotated[int, typer.Option(min=1, help="Patients over all sites.")],
    out: Annotated[Path, typer.Option(help="New folder for the cohort.")],
    sites: Annotated[int, typer.Option(min=1, max=8, help="Number of centres.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    fidelity: Annotated[Literal["standard", "coarse"], typer.Option(help="coarse is made for training.")] = "standard",
    signal: Annotated[float, typer.Option(min=0.0, help="Strength of the risk function.")] = 0.85,
    anatomy: Annotated[
        Literal["schematic", "varied"], typer.Option(help="varied: bodies that differ as people do.")
    ] = "schematic",
    *,
    engine: EngineOptions,
    stranding: Annotated[
        bool, typer.Option("--stranding", help="Plant an effect that no quantity of the lesion table measures.")
    ] = False,
    node_data: Annotated[bool, typer.Option("--node-data", help="Write node data at once, no DICOM.")] = False,
    spacing: Annotated[
        float, typer.Option(min=0.0, max=64.0, help="Of the node data's grid, mm; 0 leaves the images out.")
    ] = 8.0,
    lesion_table: TableOnly = False,
    crops: Crops = False,
    as_warehouse: Annotated[
        WarehouseForm | None, typer.Option("--as", help="Write each centre's clinical data as this warehouse, too.")
    ] = None,
    database: Annotated[
        str, typer.Option(help="With --as osiris|omop and one site: SQLAlchemy URL of an empty database, no files.")
    ] = "",
) -> None:
    """Draw synthetic patients: their PET/CT in DICOM, clinical table and ground truth, or at once their node data."""
    from training.simulation.cohort import simulate_cohort
    from training.simulation.node_data import Preparation, contract_at, simulate_nodes
    from training.simulation.warehouse.writing import write_warehouses

    with reported():
        settings = load_settings()
        make = simulate_cohort
        if node_data:
            contract = _table_contract(lesion_table, crops) or contract_at(spacing)
            make = partial(simulate_nodes, preparation=Preparation(contract, settings.pseudonym_key()))
        with progress_bar(settings.language) as progress:
            make(
                patients=patients,
                sites=sites,
                seed=seed,
                out=out,
                fidelity=fidelity,
                signal=signal,
                anatomy=anatomy,
                stranding=stranding,
                workers=engine.chosen,
                progress=progress,
            )
        if as_warehouse is not None and stranding:
            raise SettingsError(
                found=Message("A warehouse of patients with --stranding."),
                needed=Message("Clinical data of patients without it: a warehouse draws their outcomes anew."),
                advice=Message("Leave --stranding or --as out."),
            )
        if as_warehouse is not None:
            write_warehouses(
                as_warehouse, patients=patients, sites=sites, seed=seed, signal=signal, out=out, database=database
            )
    say(Message("Cohort written to {folder}.", folder=str(out)), settings.language)


@commands.command()
def check(
    dicom: Dicom,
    table: Table,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The page; it holds identifiers and stays here.")] = Path(
        "cohort-check.html"
    ),
    workers: AllCores = None,
) -> None:
    """Compare a hospital's DICOM and table before anything is prepared: one HTML page for its data manager."""
    from training.data.output_places import require_page_place
    from training.data.preparation_files import PrivateFiles
    from training.data.private_files import write_private
    from training.data.process_pool import all_cores
    from training.data.site_check.comparison import check_site
    from training.data.site_check.page import TITLE, check_page, column_remarks

    with reported():
        require_page_place(out, TITLE, dicom)
        settings = load_settings()
        memory = PrivateFiles(settings.folder / "cohort").headers
        with progress_bar(settings.language) as progress:
            site = check_site(
                dicom,
                table,
                settings.pseudonym_key(),
                memory=memory,
                workers=workers or all_cores(),
                progress=progress,
            )
        write_private(out, check_page(site, first=settings.language))
        for remark in column_remarks(site):
            say(remark, settings.language, style="red")
        told = Message(
            "{usable} of {rows} rows usable with their images, {left_out} rows and folders left out. The page: {page}."
            " It and {memory} hold identifiers, are private to you and stay in the hospital.",
            usable=len(site.usable),
            rows=len(site.table),
            left_out=len(site.patients) - len(site.usable),
            page=str(out.resolve()),
            memory=str(memory),
        )
        messages.print(translate_message(settings.language)(told), highlight=False, markup=False)
    if not site.usable:
        raise typer.Exit(FAILED)


@commands.command()
def rules(
    form: Annotated[WarehouseForm, typer.Argument(metavar="osiris|omop|fhir", help="Form of the warehouse.")],
) -> None:
    """Print the rules of extraction that come with fedpet, to be adapted: TOML with an explanation of every rule."""
    from training.data.warehouse.rules import shipped_rules

    typer.echo(shipped_rules(form), nl=False)


@commands.command()
def extract(
    source: Annotated[
        str, typer.Argument(help="Database (postgresql://user@host/base), folder of CSV or Parquet, or FHIR bundles.")
    ],
    form: Annotated[WarehouseForm, typer.Option("--from", help="Form of the warehouse.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The study's table; it is private to you.")] = Path(
        "clinical.csv"
    ),
    rules: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Rules in TOML; those of fedpet without.")
    ] = None,
) -> None:
    """Derive the study's table from a data warehouse, each value with its source; who objects is never read."""
    from training.data.warehouse.extraction import ExtractionFiles, require_place, write_extraction
    from training.data.warehouse.extraction import extract as run
    from training.data.warehouse.page import extraction_page
    from training.data.warehouse.rules import read_rules

    with reported():
        settings = load_settings()
        chosen = read_rules(rules, form)
        files = ExtractionFiles(out.resolve())
        require_place(files, source)
        found = run(source, chosen)
        write_extraction(found, files, extraction_page(found, chosen, files, first=settings.language))
        told = Message(
            "Patients in {table}: {patients}; objecting and not read: {objecting}; left out: {left_out}. What is"
            " missing and what contradicts: {page}; where each value comes from: {provenance}. All four files are"
            " private to you and stay in the hospital.",
            patients=len(found.patients),
            table=str(files.table),
            objecting=found.objecting,
            left_out=len(found.left_out) + found.unstated + found.unclear,
            page=str(files.page),
            provenance=str(files.provenance),
        )
        for sentence in (told, *found.remarks):
            messages.print(translate_message(settings.language)(sentence), highlight=False, markup=False)


@commands.command()
@expand_options
def prepare(
    dicom: Dicom,
    table: Table,
    out: Annotated[Path, typer.Option(help="Folder for the node data; its name is the site's.")],
    masks: Annotated[Path | None, typer.Option(exists=True, help="Folder of lesion and organ masks, optional.")] = None,
    contract: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Input contract; the default one without.")
    ] = None,
    *,
    engine: EngineOptions,
    lesion_table: TableOnly = False,
    crops: Crops = False,
) -> None:
    """Turn a hospital's DICOM and table into node data, and say who was left out and why. Goes on where it stopped."""
    from fedpet.imaging.quality.centre_uptake import own_uptake
    from inference.input_contract import default_contract
    from training.data.node_data import require_cases
    from training.data.preparation_files import PrivateFiles
    from training.data.prepare import prepare_node_data

    with reported():
        settings = load_settings()
        private = PrivateFiles(settings.folder / "cohort", own_uptake(settings))
        with progress_bar(settings.language) as progress:
            report = prepare_node_data(
                dicom,
                table,
                out,
                contract=given_contract(contract)
                if contract
                else _table_contract(lesion_table, crops) or default_contract(),
                pseudonym_key=settings.pseudonym_key(),
                masks=masks,
                private=private,
                workers=engine.chosen,
                progress=progress,
            )
        told = Message(
            "{prepared} patients prepared, {left_out} left out; why: {report}. Whom a pseudonym is of: {key}"
            " (private, never leaves the hospital).",
            prepared=len(report.cases),
            left_out=len(report.left_out),
            report=str(out / "report.json"),
            key=str(private.key(out)),
        )
        messages.print(translate_message(settings.language)(told), highlight=False, markup=False)
        require_cases(report)


@commands.command()
def uptake(
    dicom: Dicom,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The file; without, where the setting centre_uptake looks.")
    ] = None,
    workers: AllCores = None,
) -> None:
    """Learn the usual uptake of healthy tissue from the centre's earlier studies, for the checks of later ones."""
    from training.data.centre_uptake import measure_centre_uptake
    from training.data.private_files import write_private
    from training.data.process_pool import all_cores

    with reported():
        settings = load_settings()
        with progress_bar(settings.language) as progress:
            found = measure_centre_uptake(
                dicom, settings.pseudonym_key(), workers=workers or all_cores(), progress=progress
            )
        for sentence in found.sentences:
            say(sentence, settings.language)
        place = out or settings.centre_uptake_file
        write_private(place, found.require().to_json())
        say(Message("Written: {file}. It holds no patient.", file=str(place)), settings.language)


@commands.command()
def unfavourable(
    out: Annotated[Path, typer.Argument(help="New folder for the studies.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    workers: Workers = 1,
) -> None:
    """Write studies with one thing wrong or difficult each, and which check has to notice it."""
    from training.simulation.difficult_studies import write_difficult_studies

    with reported(), progress_bar(load_settings().language) as progress:
        write_difficult_studies(out, seed=seed, workers=workers, progress=progress)
    messages.print(f"Studies written to {out}; see {out / 'expected.csv'}", highlight=False, markup=False)


@commands.command("import")
def import_(
    collection: Annotated[Literal["autopet", "delineations"], typer.Argument(help="What the folder holds.")],
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder above the studies.")],
    out: Annotated[Path, typer.Option(help="Folder for the cases.")],
    contract: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Input contract; the default one without.")
    ] = None,
) -> None:
    """Turn scans with drawn lesions (autoPET as NIfTI or DICOM, or a hospital's own) into data for the networks."""
    from inference.input_contract import default_contract
    from training.data.lesion_cases import import_scans

    with reported():
        settings = load_settings()
        with progress_bar(settings.language) as progress:
            dataset = import_scans(
                collection,
                folder,
                out,
                contract=given_contract(contract) if contract else default_contract(),
                pseudonym_key=settings.pseudonym_key(),
                progress=progress,
            )
    written = Message("One case written", "{count} cases written", count=len(dataset["cases"]))
    left_out = Message("one study left out", "{count} studies left out", count=len(dataset["left_out"]))
    file = str(out / "dataset.json")
    say(Message("{written}, {left_out}; see {file}", written=written, left_out=left_out, file=file))


@commands.command("score-lesions")
def score_lesions(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder above studies with lesions.")],
    method: Annotated[ThresholdMethod, typer.Option(help="How fedpet outlines lesions.")] = "suv4",
    predictions: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Masks of another program instead, by study.")
    ] = None,
    json: Json = False,
) -> None:
    """Dice, false-positive and false-negative volume against drawn lesions, as the autoPET challenge measures them."""
    from training.data.lesion_cases import score_scans

    with reported(as_json=json):
        settings = load_settings()
        with progress_bar(settings.language) as progress:
            scores = score_scans(
                folder,
                pseudonym_key=settings.pseudonym_key(),
                method=method,
                predictions=predictions,
                progress=progress,
            ).to_json()
    if json:
        write_json(scores)
        return
    for name in ("n", "with_lesions", "dice", "false_positive_ml", "false_negative_ml"):
        value = scores[name]
        figure = f"{value:.3f}" if isinstance(value, float) else value
        messages.print(f"{name}: {figure}", highlight=False, markup=False)
    for one in scores["left_out"]:
        messages.print(f"study {one['number']} left out: {one['reason']}", highlight=False, markup=False)
