"""The synthetic cohort written as a warehouse: a folder of CSV or Parquet, a database, or FHIR resources by type."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from training.data.warehouse.rules import read_rules
from training.simulation.cohort import distribute
from training.simulation.patients.population import draw_patient
from training.simulation.warehouse.fhir import fhir_resources
from training.simulation.warehouse.omop import omop_tables
from training.simulation.warehouse.osiris import osiris_tables
from training.simulation.warehouse.story import stories_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sqlalchemy.types import TypeEngine

    from training.simulation.patients.centres import SimulatedCentre
    from training.simulation.warehouse.story import Story

    Tables = dict[str, list[dict[str, Any]]]

WarehouseForm = Literal["osiris", "omop", "fhir"]
FORMS: Final[tuple[WarehouseForm, ...]] = get_args(WarehouseForm)
_OBJECTING: Final = 10  # one more patient who objects for so many
_FURTHER: Final = 900_000  # numbers of patients who are in no table


def centre_stories(site: SimulatedCentre, patients: int, *, seed: int, signal: float) -> list[Story]:
    """The patients of a centre, and one more who objects for every ten of them."""
    drawn = [draw_patient(site, number, seed=seed) for number in range(patients)]
    further = range(_FURTHER, _FURTHER + max(1, patients // _OBJECTING))
    objecting = [draw_patient(site, number, seed=seed) for number in further]
    return stories_of(drawn, signal=signal, objecting=objecting)


def write_warehouses(
    form: WarehouseForm, *, patients: int, sites: int, seed: int, signal: float, out: Path, database: str = ""
) -> None:
    """Write the warehouse of each centre of a cohort: OUT/<site>/<form>/, or a database.

    Args:
        form: of the warehouse.
        patients: of the cohort, see `training.simulation.cohort.simulate_cohort`.
        sites: likewise.
        seed: likewise.
        signal: likewise.
        out: folder of the cohort.
        database: SQLAlchemy URL that the tables of the one site are written to, instead of files.

    Raises:
        SettingsError: a database for several sites, or for FHIR.
    """
    counts = distribute(patients, sites)
    if database and (form == "fhir" or len(counts) > 1):
        raise SettingsError(
            found=Message("A database for {sites} sites in the form {form}.", sites=len(counts), form=form),
            needed=Message("One site, as OSIRIS or OMOP."),
            advice=Message("Give --sites 1 and --as osiris or omop, or leave the database out."),
        )
    for site, count in counts:
        stories = centre_stories(site, count, seed=seed, signal=signal)
        if database and form != "fhir":
            write_database(stories, form, database)
        else:
            write_warehouse(stories, form, out / site.code / form)


def write_warehouse(stories: Sequence[Story], form: WarehouseForm, folder: Path) -> None:
    """Write CSV files of OSIRIS or OMOP, or FHIR resources (one .ndjson a type).

    Args:
        stories: of the patients.
        form: of the warehouse.
        folder: made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if form == "fhir":
        by_type: dict[str, list[str]] = defaultdict(list)
        for resource in fhir_resources(stories):
            by_type[resource["resourceType"]].append(json.dumps(resource, ensure_ascii=False))
        for kind, lines in by_type.items():
            (folder / f"{kind}.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    for name, rows in _tables(stories, form).items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _columns(name, rows, form), delimiter=";", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def write_parquet(stories: Sequence[Story], form: Literal["osiris", "omop"], folder: Path) -> None:
    """Write OSIRIS or OMOP as one Parquet file a table."""
    import pyarrow as pa  # noqa: PLC0415  of the extra "warehouse"
    from pyarrow import parquet  # noqa: PLC0415  likewise

    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in _tables(stories, form).items():
        columns = _columns(name, rows, form)
        table = (
            pa.Table.from_pylist(rows) if rows else pa.table({column: pa.array([], pa.string()) for column in columns})
        )
        parquet.write_table(table, folder / f"{name}.parquet")


def write_database(stories: Sequence[Story], form: Literal["osiris", "omop"], url: str) -> None:
    """Write OSIRIS or OMOP into new tables of a database.

    Args:
        stories: of the patients.
        form: of the warehouse.
        url: of SQLAlchemy.
    """
    import sqlalchemy as sql  # noqa: PLC0415  of the extra "warehouse"

    address = sql.make_url(url)
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = sql.create_engine(address)
    metadata = sql.MetaData()
    tables = _tables(stories, form)
    for name, rows in tables.items():
        named = _columns(name, rows, form)
        columns = [sql.Column(column, _type(row[column] for row in rows)) for column in named]
        sql.Table(name, metadata, *columns)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for name, rows in tables.items():
            if rows:
                connection.execute(metadata.tables[name].insert(), rows)
    engine.dispose()


def _type(values: Iterable[Any]) -> TypeEngine[Any]:
    import sqlalchemy as sql  # noqa: PLC0415  of the extra "warehouse"

    stated = [value for value in values if value is not None]
    for kind, column in ((int, sql.BigInteger), (float, sql.Float), (date, sql.Date)):
        if stated and all(isinstance(value, kind) for value in stated):
            return column()
    return sql.Text()


def _tables(stories: Sequence[Story], form: Literal["osiris", "omop"]) -> Tables:
    tables = osiris_tables(stories) if form == "osiris" else omop_tables(stories)
    for mapping in read_rules(None, form).tables:
        tables.setdefault(mapping.name, [])
    return tables


def _columns(table: str, rows: Sequence[dict[str, Any]], form: Literal["osiris", "omop"]) -> list[str]:
    """The columns of a table; of an empty one those that the shipped rules name."""
    if rows:
        return list(rows[0])
    mapped = [one for one in read_rules(None, form).tables if one.name == table]
    named = ((one.patient, *one.day, *one.codes, *one.value, one.unit, one.upper_limit, *one.where) for one in mapped)
    return list(dict.fromkeys(column for columns in named for column in columns if column))
