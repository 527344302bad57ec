"""Histories from FHIR R4 resources: bundles (.json) or one resource a line (.ndjson), in a folder or one file.

Read are Patient, Consent, Condition (mCODE's primary and secondary cancer conditions), MedicationAdministration and
MedicationStatement, Observation, Encounter and ImagingStudy. A resource that was entered in error is not read.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from fedpet.core.errors import WarehouseError
from fedpet.core.messages import Message
from training.data.warehouse.events import Event, History, Origin, is_unreadable, read_day, read_number
from training.data.warehouse.relational import WarehousePatients, permission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from training.data.warehouse.events import EventKind
    from training.data.warehouse.relational import Permission
    from training.data.warehouse.rules import ObjectionRule, Rules

    Resource = Mapping[str, Any]

_ANSWERS: Final = ("refuses", "accepts", "unclear")
_REFUSING: Final = ("deny", "rejected")
_MISTAKEN: Final = "entered-in-error"
_VOID: Final = frozenset({_MISTAKEN, "not-done", "cancelled"})
_MORPHOLOGY: Final = "mcode-histology-morphology-behavior"
_SECONDARY: Final = "secondary-cancer-condition"
_DICOM_UID: Final = "urn:dicom:uid"


def read_fhir(source: Path, rules: Rules) -> WarehousePatients:
    """Read everybody who does not object: only an active Consent that fits `accepts` accepts.

    A Consent that is rejected, or denies anywhere in its provisions, refuses; one that is inactive, a draft or entered
    in error does not accept.

    Args:
        source: folder or file.
        rules: of the extraction.

    Raises:
        WarehouseError: there is no resource, a file is not JSON, or a resource is not as FHIR R4 has it.
    """
    listed: set[str] = set()
    stated: list[tuple[str, str]] = []
    aliases: dict[str, str] = {}
    medications: dict[str, Resource] = {}
    for url, resource in _resources(source):
        with _as_fhir(resource):
            kind, identifier = resource.get("resourceType"), _id(resource)
            if url:
                aliases[url] = identifier
            if kind == "Patient":
                listed.add(identifier)
            elif kind == "Consent":
                patient = _reference(resource.get("patient") or resource.get("subject"))
                stated.append((patient, _consented(resource, rules.objection)))
            elif kind == "Medication":
                medications[identifier] = resource
    may = _permission(listed, [(aliases.get(one, one), said) for one, said in stated], rules.objection)
    histories = {one: History(one) for one in sorted(may.allowed)}
    for _, resource in _resources(source):
        with _as_fhir(resource):
            history = histories.get(_subject(resource, aliases))
            if history is not None and resource.get("status") not in _VOID:
                history.events += _events(resource, medications)
                if resource.get("resourceType") == "Patient":
                    history.patient_id = _named(resource, rules.patient.name)
    return WarehousePatients(tuple(histories.values()), may.objecting, may.unstated, may.unclear, may.remarks)


def _permission(listed: set[str], stated: Sequence[tuple[str, str]], rule: ObjectionRule) -> Permission:
    """Who may be read, by what the Consents of each say."""
    said = {word: {one for one, what in stated if what == word} for word in _ANSWERS}
    unclear = said["unclear"] - said["accepts"]
    may = permission(listed, said["refuses"], said["accepts"], unclear, keep=rule.unstated == "keep")
    return may if stated else replace(may, remarks=(*may.remarks, Message("Objection: the source has no Consent.")))


def _resources(source: Path) -> Iterator[tuple[str, Resource]]:
    """Every resource with the address under which a bundle names it."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    found = False
    for path in files:
        if path.suffix.casefold() not in {".json", ".ndjson"}:
            continue
        for one in _parsed(path):
            if not isinstance(one, dict):
                raise _not_fhir("JSON")
            entries = [{"resource": one}] if one.get("resourceType") != "Bundle" else one.get("entry") or []
            with _as_fhir(one):
                stated = [
                    (str(entry.get("fullUrl") or ""), entry["resource"]) for entry in entries if "resource" in entry
                ]
            for url, resource in stated:
                if not isinstance(resource, dict):
                    raise _not_fhir("Bundle")
                found = True
                yield url, resource
    if not found:
        raise WarehouseError(
            found=Message("There is no FHIR resource."),
            needed=Message("Bundles in .json, or one resource a line in .ndjson."),
            advice=Message("Give the folder of the export."),
        )


def _parsed(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.casefold() == ".ndjson":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        return [json.loads(text)]
    except (OSError, ValueError, RecursionError) as error:
        raise WarehouseError(
            found=Message("A file of FHIR resources cannot be read ({why}).", why=type(error).__name__),
            needed=Message("Bundles in .json, or one resource a line in .ndjson."),
            advice=Message("Export it again."),
        ) from error


@contextmanager
def _as_fhir(resource: Resource) -> Iterator[None]:
    """Refuse a resource whose elements are of another form than FHIR R4 has them."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _not_fhir(str(resource.get("resourceType"))[:40]) from error


def _not_fhir(kind: str) -> WarehouseError:
    return WarehouseError(
        found=Message("A resource is not as FHIR R4 has it ({kind}).", kind=kind),
        needed=Message("Bundles in .json, or one resource a line in .ndjson."),
        advice=Message("Export it again."),
    )


def _id(resource: Resource) -> str:
    return str(resource.get("id", "")).strip()


def _reference(written: Resource | None) -> str:
    """The identifier that a reference names: Patient/12, a whole address, or urn:uuid."""
    text = str((written or {}).get("reference", "")).strip().partition("/_history/")[0]
    return text if text.startswith("urn:") else text.rpartition("/")[2]


def _subject(resource: Resource, aliases: Mapping[str, str]) -> str:
    if resource.get("resourceType") == "Patient":
        return _id(resource)
    reference = _reference(resource.get("subject") or resource.get("patient"))
    return aliases.get(reference, reference)


def _consented(consent: Resource, rule: ObjectionRule) -> str:
    """What a Consent says: refuses, accepts, or neither."""
    status = str(consent.get("status") or "").strip().casefold()
    if status == _MISTAKEN:
        return "unclear"
    said = [status, *_provisions(consent.get("provision")), str(consent.get("decision") or "")]  # decision: FHIR R5
    if any(_fits(one, (*_REFUSING, *rule.refuses)) for one in said):
        return "refuses"
    return "accepts" if status == "active" and any(_fits(one, rule.accepts) for one in said) else "unclear"


def _provisions(written: Any) -> Iterator[str]:  # noqa: ANN401  one in FHIR R4, a list within it
    """The types of a provision and of all within it."""
    for one in written if isinstance(written, list) else [written] if written else []:
        yield str(one.get("type") or "").strip()
        yield from _provisions(one.get("provision"))


def _named(patient: Resource, name: str) -> str:
    """The patient's identifier of a system, else the resource's."""
    for one in patient.get("identifier", ()):
        if name and one.get("system") == name:
            return str(one.get("value", ""))
    return str(patient.get("id", ""))


def _events(resource: Resource, medications: Mapping[str, Resource]) -> Iterator[Event]:
    kind = str(resource.get("resourceType"))
    origin = Origin(kind, str(resource.get("id", "")))
    if kind in {"MedicationAdministration", "MedicationStatement"}:
        yield _drug(resource, origin, medications)
    elif (reader := _READERS.get(kind)) is not None:
        yield from reader(resource, origin)


def _patient(resource: Resource, origin: Origin) -> Iterator[Event]:
    for kind, written in (("birth", resource.get("birthDate")), ("death", resource.get("deceasedDateTime"))):
        if written:
            yield _dated("birth" if kind == "birth" else "death", origin, written)
    if resource.get("deceasedBoolean") is True and not resource.get("deceasedDateTime"):
        yield Event("death", origin)
    if resource.get("gender"):
        yield Event("sex", origin, value=str(resource["gender"]))


def _drug(resource: Resource, origin: Origin, medications: Mapping[str, Resource]) -> Event:
    concept = resource.get("medicationCodeableConcept")
    if concept is None:
        reference = _reference(resource.get("medicationReference"))
        contained = {f"#{one.get('id')}": one for one in resource.get("contained", ())}
        concept = (contained.get(reference) or medications.get(reference) or {}).get("code")
    day = _first(resource, "effectiveDateTime", ("effectivePeriod", "start"))
    return _dated("drug", origin, day, tuple(_codes(concept)))


def _observation(resource: Resource, origin: Origin) -> Iterator[Event]:
    day = _first(resource, "effectiveDateTime", ("effectivePeriod", "start"), "effectiveInstant")
    quantity = resource.get("valueQuantity") or {}
    limits = [one.get("high", {}).get("value") for one in resource.get("referenceRange", ())]
    yield replace(
        _dated("measure", origin, day, tuple(_codes(resource.get("code"))), value=_observed(resource)),
        unit=str(quantity.get("unit") or quantity.get("code") or ""),
        upper_limit=next(filter(None, map(read_number, limits)), None),
    )


def _observed(resource: Resource) -> str | float | None:
    quantity = resource.get("valueQuantity") or {}
    if quantity.get("value") is not None:
        return float(quantity["value"])
    if resource.get("valueInteger") is not None:
        return float(resource["valueInteger"])
    if resource.get("valueBoolean") is not None:
        return str(resource["valueBoolean"]).lower()
    concept = next(_codes(resource.get("valueCodeableConcept")), None)
    return concept or resource.get("valueString")


def _condition(resource: Resource, origin: Origin) -> Iterator[Event]:
    profiles = " ".join((resource.get("meta") or {}).get("profile", ()))
    codes = [*_codes(resource.get("code")), *(code for site in resource.get("bodySite", ()) for code in _codes(site))]
    morphology = [
        code
        for one in resource.get("extension", ())
        if _MORPHOLOGY in str(one.get("url"))
        for code in _codes(one.get("valueCodeableConcept"))
    ]
    yield _dated(
        "metastasis" if _SECONDARY in profiles else "primary",
        origin,
        _first(resource, "onsetDateTime", "recordedDate"),
        (*codes, *morphology),
        value=next(iter(morphology), None),
    )


def _encounter(resource: Resource, origin: Origin) -> Iterator[Event]:
    yield _dated("news", origin, _first(resource, ("period", "end"), ("period", "start")))


def _imaging(resource: Resource, origin: Origin) -> Iterator[Event]:
    modalities = [str(one.get("code", "")) for one in resource.get("modality", ())]
    modalities += [str((one.get("modality") or {}).get("code", "")) for one in resource.get("series", ())]
    studies = (one.get("value") for one in resource.get("identifier", ()) if one.get("system") != _DICOM_UID)
    codes = tuple(dict.fromkeys(filter(None, modalities)))
    yield _dated("imaging", origin, resource.get("started"), codes, value=next(studies, None))


def _dated(
    kind: EventKind, origin: Origin, written: object, codes: tuple[str, ...] = (), value: str | float | None = None
) -> Event:
    """An event of a day as it is written."""
    day, estimated = read_day(written)
    unreadable = written is not None and is_unreadable(day, written)
    return Event(kind, origin, day, codes, value, estimated=estimated, unreadable=unreadable)


_READERS: Final[Mapping[str, Callable[[Resource, Origin], Iterator[Event]]]] = {
    "Patient": _patient,
    "Observation": _observation,
    "Condition": _condition,
    "Encounter": _encounter,
    "ImagingStudy": _imaging,
}


def _first(resource: Resource, *paths: str | tuple[str, str]) -> object:
    for path in paths:
        found = (resource.get(path[0]) or {}).get(path[1]) if isinstance(path, tuple) else resource.get(path)
        if found:
            return found
    return None


def _codes(concept: Resource | None) -> Iterator[str]:
    """The codes of a CodeableConcept, then its text."""
    stated: Resource = concept or {}
    for coding in stated.get("coding", ()):
        if coding.get("code"):
            yield str(coding["code"])
    if stated.get("text"):
        yield str(stated["text"])


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value.casefold(), one.casefold()) for one in patterns)
