"""The rules of an extraction: TOML that a data manager reads and changes, every rule with its explanation in French.

Three files come with fedpet (`training/data/warehouse/rules/`); docs/warehouse.md describes their keys.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from training.data.warehouse.events import KINDS, EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SourceForm = Literal["osiris", "omop", "fhir"]
FORMS: Final[tuple[SourceForm, ...]] = get_args(SourceForm)
FORMAT: Final = "fedpet-rules-1"
FRENCH: Final[Mapping[str, str]] = {variable.french: name for name, variable in VARIABLES.items()}
_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True)
class TableMapping:
    """How the rows of a table become events.

    Attributes:
        name: of the table.
        kind: of the events.
        patient: column of the patient.
        day: column of the date, or its beginning before Year, Month and Day, or the three columns.
        codes: columns of codes; a column that ends in `concept_id` is looked up in OMOP's table concept.
        code: a code that all rows get.
        value: columns of the value, the first one that states something.
        unit, upper_limit: columns.
        where: patterns that columns must fit.
    """

    name: str
    kind: EventKind
    patient: str
    day: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    code: str = ""
    value: tuple[str, ...] = ()
    unit: str = ""
    upper_limit: str = ""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ObjectionRule:
    """Whose data is never read.

    Attributes:
        explication: in French.
        table, patient, column: where the objection stands; of FHIR, Consent says it.
        refuses: values of an objection.
        accepts: values without one.
        unstated: what happens to patients of whom nothing is stated.
        where: patterns that columns must fit.
    """

    explication: str
    table: str = ""
    patient: str = ""
    column: str = ""
    refuses: tuple[str, ...] = ()
    accepts: tuple[str, ...] = ()
    unstated: Literal["leave_out", "keep"] = "leave_out"
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PatientRule:
    """Where patients are listed, and the name that stands for them in the table of the study."""

    explication: str
    table: str = ""
    patient: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class DiagnosisRule:
    """Patients of the study: topography of their primary tumour."""

    explication: str
    codes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FirstDoseRule:
    """Time zero: the first administration of a drug; `drugs` gives its name by pattern of the code."""

    explication: str
    drugs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LineRule:
    """Line of treatment: one more than the regimens before the first dose.

    Attributes:
        explication: in French.
        codes: of drugs that count.
        same_regimen_days: another drug within these days of a regimen's first dose belongs to it.
        before_days: regimens that ended longer ago (adjuvant treatment) do not count.
    """

    explication: str
    codes: tuple[str, ...]
    same_regimen_days: int = 28
    before_days: int = 730


@dataclass(frozen=True, kw_only=True)
class ChemotherapyRule:
    """Chemotherapy beside immunotherapy: a cytotoxic drug within some days of the first dose."""

    explication: str
    codes: tuple[str, ...]
    within_days: int = 21
    patients: Literal["keep", "leave_out"] = "keep"


@dataclass(frozen=True, kw_only=True)
class PetRule:
    """The last PET before the first dose."""

    explication: str
    codes: tuple[str, ...]
    before_days: int = 92


@dataclass(frozen=True, kw_only=True)
class MetastasesRule:
    """Sites of metastases before the first dose.

    Attributes:
        explication: in French.
        organs: patterns by organ; a code of none counts as an organ of its own.
        flags: organ by column (`meta_hepatiques`).
        after_days: sites found up to so many days after the first dose were there before.
    """

    explication: str
    organs: Mapping[str, tuple[str, ...]]
    flags: Mapping[str, str]
    after_days: int = 0


@dataclass(frozen=True, kw_only=True)
class HistologyRule:
    """Histology: the record's value by pattern of the morphology, the first that fits."""

    explication: str
    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class DriverRule:
    """EGFR, ALK or ROS1: yes where one is altered, no where all that were tested are not, unknown where none was."""

    explication: str
    codes: tuple[str, ...]
    altered: tuple[str, ...]
    wild: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProgressionRule:
    """The first progression after the first dose."""

    explication: str
    codes: tuple[str, ...]
    values: tuple[str, ...] = ("*",)


@dataclass(frozen=True, kw_only=True)
class EndpointRule:
    """Death or last news."""

    explication: str


@dataclass(frozen=True, kw_only=True)
class ValueRule:
    """A variable: the value nearest before a day.

    Attributes:
        explication: in French.
        codes: patterns of the measurement or observation.
        around: the day: first dose or PET.
        before_days, after_days: the window.
        units: factor to the record's unit, by unit; {} where the value has none.
        values: the record's value, by pattern of the written one; {} for numbers.
        limit: the upper limit of normal is taken, not the value.
        same_day: which of several values of one day.
    """

    explication: str
    codes: tuple[str, ...]
    around: Literal["first_dose", "pet"] = "first_dose"
    before_days: int = 30
    after_days: int = 0
    units: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    limit: bool = False
    same_day: Literal["first", "largest"] = "first"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """All rules of an extraction, see the parts; `variables` by French column name."""

    source: SourceForm
    schema: str = ""
    tables: tuple[TableMapping, ...] = ()
    objection: ObjectionRule
    patient: PatientRule
    age: EndpointRule
    sex: ValueRule
    diagnosis: DiagnosisRule
    first_dose: FirstDoseRule
    line: LineRule
    chemotherapy: ChemotherapyRule
    pet: PetRule
    metastases: MetastasesRule
    histology: HistologyRule
    driver: DriverRule
    progression: ProgressionRule
    death: EndpointRule
    last_news: EndpointRule
    variables: Mapping[str, ValueRule]

    def explanation(self, rule: str) -> str:
        """The explanation of a rule by its name in the file (`variables.ldh`)."""
        head, _, rest = rule.partition(".")
        part = self.variables[rest] if head == "variables" else getattr(self, head)
        return str(part.explication)


_PARTS: Final[Mapping[str, type]] = {
    "objection": ObjectionRule, "patient": PatientRule, "age": EndpointRule, "sex": ValueRule,
    "diagnosis": DiagnosisRule, "first_dose": FirstDoseRule, "line": LineRule, "chemotherapy": ChemotherapyRule,
    "pet": PetRule, "metastases": MetastasesRule, "histology": HistologyRule, "driver": DriverRule,
    "progression": ProgressionRule, "death": EndpointRule, "last_news": EndpointRule,
}  # fmt: skip


def shipped_rules(form: SourceForm) -> str:
    """The text of the rules that come with fedpet."""
    file = resources.files("training.data.warehouse") / "rules" / f"{form}.toml"
    return file.read_text(encoding="utf-8")


def read_rules(path: Path | None, form: SourceForm) -> Rules:
    """Read rules, or those that come with fedpet.

    Args:
        path: of the TOML file; None for the shipped ones.
        form: of the source that the rules must be for.

    Raises:
        SettingsError: not TOML, a key that is unknown or missing, or a rule without explanation.
    """
    try:
        text = shipped_rules(form) if path is None else path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise _refused(Message("The rules cannot be read ({why}).", why=str(error)[:120])) from error
    if data.pop("format", None) != FORMAT or data.get("source") != form:
        raise _refused(Message("The rules are not of the format “{format}” for {form}.", format=FORMAT, form=form))
    parts: dict[str, Any] = {name: _part(kind, data.pop(name, None), name) for name, kind in _PARTS.items()}
    written = data.pop("variables", {})
    unknown = sorted(set(written) - set(FRENCH))
    if unknown:
        raise _refused(Message("No variable is called “{name}”.", name=unknown[0]))
    parts["variables"] = {name: _part(ValueRule, value, f"variables.{name}") for name, value in written.items()}
    parts["tables"] = tuple(_part(TableMapping, one, "tables") for one in data.pop("tables", ()))
    if kinds := [one.kind for one in parts["tables"] if one.kind not in KINDS]:
        raise _refused(Message("A table has the kind “{kind}”.", kind=kinds[0]))
    rest = {key: data.pop(key) for key in ("source", "schema") if key in data}
    if data:
        raise _refused(Message("The key “{key}” is not known.", key=min(data)))
    return Rules(**rest, **parts)


def _part(kind: type[_Part], written: object, name: str) -> _Part:
    if not isinstance(written, dict):
        raise _refused(Message("The rule [{name}] is missing.", name=name))
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]  # all of them are dataclasses
    unknown = sorted(set(written) - known)
    if unknown:
        raise _refused(Message("The key “{key}” of [{name}] is not known.", key=unknown[0], name=name))
    if "explication" in known and not str(written.get("explication", "")).strip():
        raise _refused(Message("The rule [{name}] has no “explication”.", name=name))
    try:
        return kind(**{key: _frozen(value) for key, value in written.items()})
    except TypeError as error:
        raise _refused(Message("The rule [{name}] lacks a key ({why}).", name=name, why=str(error)[:120])) from error


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return {key: _frozen(one) for key, one in value.items()} if isinstance(value, dict) else value


def _refused(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("Rules in TOML as those that come with fedpet, each with its explanation."),
        advice=Message("Begin with “fedpet cohort rules” and change what your warehouse writes otherwise."),
    )
