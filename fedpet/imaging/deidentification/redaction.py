"""De-identify one DICOM object: every element at every depth, by `profile` (PS3.15 Annex E)."""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes

from fedpet import __version__
from fedpet.imaging.deidentification.profile import (
    EDITION,
    REMOVED,
    Action,
    IdentityTokens,
    action_for,
    is_defined_term,
    is_private_code,
    is_valid,
    otherwise,
)
from fedpet.imaging.dicom.headers.attributes import PRIVATE, private_text, text
from fedpet.imaging.dicom.headers.patient_module import PatientModule, examination_uid
from fedpet.imaging.dicom.headers.temporal_values import UnreadableValueError, read_date, read_date_time

if TYPE_CHECKING:
    from collections import Counter

    from pydicom.dataelem import DataElement
    from pydicom.tag import BaseTag

METHODS: Final = (
    codes.DCM.BasicApplicationConfidentialityProfile,
    codes.DCM.CleanGraphicsOption,
    codes.DCM.CleanDescriptorsOption,
    codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption,
    codes.DCM.RetainPatientCharacteristicsOption,
    codes.DCM.RetainSafePrivateOption,
)  # PS3.16 CID 7050
_STANDARD_UIDS = ("1.2.840.10008.", "2.16.840.1.113883.6.")  # classes and syntaxes of DICOM; coding schemes of HL7
_PALETTE = tuple(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
_TEXTS = frozenset(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"))
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)(?P<time>(?:\d{1,6}(?:\.\d{1,6})?)?(?:[+-]\d{4})?)")
_PADDING = " \0"
_LONGEST_DS = 16  # characters (PS3.5 6.2)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_SHIFT_DAYS = 365, 3650  # at least, at most
# What pydicom raises on damaged elements.
_DAMAGED = (ValueError, KeyError, AttributeError, TypeError, NotImplementedError, OverflowError, EOFError, struct.error)


def deidentify_dataset(
    dataset: Dataset, key: bytes, done: Counter[tuple[Action, str]], *, patient: PatientModule | None = None
) -> str:
    """De-identify an object in place, but for its own pixels and its file meta information.

    Args:
        dataset: all elements of the object.
        key: secret of the centre: gives the pseudonym, the UIDs and the shift of the dates.
        done: counts what was done, by action and keyword.
        patient: whom all images of the examination name; None: whom this object names.

    Returns:
        the pseudonym, which `load_study` of the source has too.
    """
    patient = patient or PatientModule.from_header(dataset)
    examination = examination_uid(dataset)
    name = patient.pseudonym(examination, key)
    # Dates move by patient, so that two examinations keep their distance; without an identifier, by examination.
    redaction = _Redaction(key, patient.patient_id or examination, IdentityTokens(dataset), done)
    for keyword in ("PatientName", "PatientID"):
        dataset.pop(keyword, None)
        done[Action.REPLACE, keyword] += 1
    coloured = text(dataset, "PhotometricInterpretation") == "PALETTE COLOR"  # of a label map
    own = [dataset.pop(keyword) for keyword in ("PixelData", *_PALETTE * coloured) if keyword in dataset]
    redaction.clean(dataset)
    for element in own:
        dataset[element.tag] = element
    dataset.PatientName = dataset.PatientID = name
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.DeidentificationMethod = [f"fedpet {__version__}", f"DICOM PS3.15 {EDITION} Basic Profile with options"]
    dataset.DeidentificationMethodCodeSequence = [_item(code.value, code.meaning) for code in METHODS]
    return name


def replaced_uid(uid: str, key: bytes) -> str:
    """Another UID for each UID, the same for the same key; UIDs that a standard defines stay."""
    if not uid or uid.startswith(_STANDARD_UIDS):
        return uid
    return f"2.25.{uuid.UUID(bytes=_digest(key, 'uid', uid)[:16], version=4).int}"


def shift_date(value: str, days: int) -> str:
    """A DA or DT some days earlier, its time of day unchanged; "" if it is neither.

    One in the form of the standard keeps its form; another that is understood (ISO 8601 and the like, see
    `fedpet.imaging.dicom.headers.temporal_values`) becomes one of the standard, to the microsecond.
    """
    found = _DATE.fullmatch(value.strip(_PADDING))
    try:
        if found:
            day = read_date(f"{found[1]}{found[2]}{found[3]}") - timedelta(days=days)
            return f"{day.year:04d}{day:%m%d}{found['time']}"
        return _standard_form(value, timedelta(days=days))
    except (UnreadableValueError, OverflowError):
        return ""


def _standard_form(value: str, earlier: timedelta) -> str:
    """A DA or DT in a form that exporters write, some days earlier, as PS3.5 6.2 has it."""
    try:
        day = read_date(value) - earlier
    except UnreadableValueError:
        stamp = read_date_time(value) - earlier
        return f"{stamp.year:04d}{stamp:%m%d%H%M%S.%f%z}"
    return f"{day.year:04d}{day:%m%d}"


def _digest(key: bytes, purpose: str, value: str) -> bytes:
    return hmac.new(key, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()


class _Redaction:
    """What is done to the objects of one patient."""

    def __init__(self, key: bytes, patient: str, identity: IdentityTokens, done: Counter[tuple[Action, str]]) -> None:
        self._key = key
        least, most = _SHIFT_DAYS
        self._days = least + int.from_bytes(_digest(key, "dates", patient)[:4]) % (most - least + 1)
        self._identity = identity
        self._done = done

    def clean(self, dataset: Dataset) -> None:
        """All elements of a data set and of the items in it."""
        tags = list(dataset.keys())
        safe = self._safe_private(dataset) if any(tag.is_private for tag in tags) else []
        for tag in tags:
            if tag.is_private:
                del dataset[tag]
                self._done[Action.REMOVE, "private"] += 1
            else:
                self._element(dataset, tag)
        for group, creator, element, vr, value in safe:
            dataset.private_block(group, creator, create=True).add_new(element, vr, value)

    def _safe_private(self, dataset: Dataset) -> list[tuple[int, str, int, str, str | float]]:
        """Vendors' values that SUV may rest on: (group, creator, element, representation, value)."""
        found = []
        for name, place in PRIVATE.items():
            value = private_text(dataset, name)
            moved = shift_date(value, self._days)
            if _NUMBER.fullmatch(value) and not moved:
                exact: tuple[str, str | float] = ("DS", value) if len(value) <= _LONGEST_DS else ("FD", float(value))
                found.append((*place, *exact))
            elif moved:
                found.append((*place, "DT", moved))
        return found

    def _element(self, dataset: Dataset, tag: BaseTag) -> None:
        try:
            element = dataset[tag]
            values = _strings(element)
        except _DAMAGED:
            self._apply(dataset, tag, Action.REMOVE)
            return
        action = action_for(tag, _vr(element))
        if action is Action.KEEP:
            action = self._kept(dataset, element, values)
        if action is Action.CLEAN and any(values):
            cleaned = [self._identity.cleaned(value) for value in values]
            action = self._rewrite(element, values, cleaned, Action.CLEAN) if any(cleaned) else otherwise(tag)
        elif action is Action.CLEAN:
            action = Action.KEEP
        elif action is Action.SHIFT:
            action = self._rewrite(element, values, [shift_date(value, self._days) for value in values], action)
        elif action is Action.UID:
            action = self._rewrite(element, values, [replaced_uid(value, self._key) for value in values], action)
        self._apply(dataset, tag, action)

    def _kept(self, dataset: Dataset, element: DataElement, values: list[str]) -> Action:
        """KEEP, or what to do instead where something else hides in the element."""
        vr = _vr(element)
        if vr == "SQ":
            for item in element.value:
                self.clean(item)
            return Action.KEEP
        if is_private_code(dataset, element.tag):
            return Action.CLEAN
        if not is_valid(vr, values):
            return Action.EMPTY
        if is_defined_term(element.tag, values):  # whatever the patient is called
            return Action.KEEP
        return Action.REPLACE if vr in _TEXTS and any(map(self._identity.in_text, values)) else Action.KEEP

    def _rewrite(self, element: DataElement, old: list[str], new: list[str], action: Action) -> Action:
        """New values into an element; returns KEEP, for nothing more is to be done."""
        if new != old:
            element.value = [value for value in new if value] if len(new) > 1 else "".join(new)
            self._done[action, element.keyword] += 1
        return Action.KEEP

    def _apply(self, dataset: Dataset, tag: BaseTag, action: Action) -> None:
        if action is Action.KEEP:
            return
        if action is Action.REPLACE and (vr := _vr(dataset[tag])) not in _TEXTS:
            action = Action.EMPTY if vr == "PN" else Action.REMOVE
        if action is Action.REMOVE:
            del dataset[tag]
        elif action is Action.EMPTY:
            dataset[tag].clear()
        else:
            dataset[tag].value = REMOVED
        self._done[action, keyword_for_tag(tag) or "unknown"] += 1


def _vr(element: DataElement) -> str:
    return str(element.VR).split(" or ", maxsplit=1)[0]


def _strings(element: DataElement) -> list[str]:
    """The values of an element in text; none of a sequence or of bytes."""
    value: Any = element.value
    if isinstance(value, bytes) or element.VR == "SQ" or value is None:
        return []
    return [str(one).strip("\0") for one in (value if isinstance(value, (list, MultiValue)) else [value])]


def _item(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
