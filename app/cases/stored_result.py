"""The stored result and inspection of a case, typed: what `app.cases.result_json` wrote, as pages read it.

The names are the keys of the format "fedpet.result/1". Keys that no page needs are left out; keys that results of
version 0.1 did not have yet carry a default.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import StoredResultError, SuvError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.finer_places import place_in_words
from fedpet.imaging.study import PatientFacts
from inference.record_concordance import (
    Agreement,
    ComparedItem,
    ItemName,
    RecordConcordance,
    RecordConfirmation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "fedpet.result/1"

Point = tuple[float, float, float]  # x, y, z in LPS mm


def _message(data: object) -> Message:
    if not isinstance(data, dict) or not {"template", "values"} <= data.keys():
        raise ValueError("no message")
    return Message.from_json(data)


Sentence = Annotated[Message, BeforeValidator(_message)]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, protected_namespaces=())

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read the stored data.

        Args:
            data: as `app.cases.result_json` wrote it.

        Returns:
            The data, typed.

        Raises:
            StoredResultError: it does not have the form of this version or an earlier one.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])  # names of fields, no values
            raise StoredResultError(
                found=Message("The stored result of this case cannot be read: {where}.", where=where),
                needed=Message("A result in the format {format}, as this version of fedpet writes it.", format=FORMAT),
                advice=Message("Compute the case again, or open it with the version of fedpet that computed it."),
            ) from error


class StoredCheck(_Stored):
    """A quality check of the images."""

    name: str
    level: Literal["pass", "warn", "fail"]
    reason: Sentence


class StoredSeries(_Stored):
    """A series of the study. `id` is its number in the list, from 1."""

    id: int
    modality: str
    description: str
    instances: int
    chosen: bool
    reason: Sentence


class StoredSeriesList(_Stored):
    """The series of a study; what there is of the inspection of a refused one."""

    series: tuple[StoredSeries, ...] = ()


class StoredOverride(_Stored):
    """A value that a person put in the place of one in the headers; `old` is None where these gave none."""

    name: Literal["weight_kg", "height_m", "dose_mbq", "injection_time", "scan_start"]
    old: float | datetime | None
    new: float | datetime
    reason: str
    by: str = ""


class StoredPet(_Stored):
    """What the SUV rests on (`fedpet.imaging.study.PetFacts`). Times are on the clock of the scanner."""

    units: str
    suv_type: str = ""
    decay_correction: str
    corrected_image: tuple[str, ...]
    suv_factor_min: float | None
    suv_factor_max: float | None
    factor_rule: str = ""
    reference_time: datetime | None
    reference_time_source: str
    injection_time: datetime | None
    injection_source: str = ""
    uptake_min: float | None
    dose_bq: float | None
    dose_source: str = ""
    half_life_s: float | None
    half_life_source: str = ""
    weight_kg: float | None
    weight_source: str = ""
    height_m: float | None
    sex: str
    radiopharmaceutical: str
    radiopharmaceutical_code: str = ""
    manufacturer: str
    model: str

    @property
    def scanner(self) -> str:
        """Manufacturer and model; "" where both are missing."""
        return f"{self.manufacturer} {self.model}".strip()


class StoredRefusal(_Stored):
    """Why the SUV cannot be computed."""

    found: Sentence
    needed: Sentence
    advice: Sentence

    @property
    def sentences(self) -> tuple[Message, Message, Message]:
        """As those of the error (`fedpet.core.errors.FedpetError.sentences`)."""
        return SuvError(found=self.found, needed=self.needed, advice=self.advice).sentences


class StoredPatient(_Stored):
    """What the images state of the patient (`fedpet.imaging.study.PatientFacts`)."""

    identifier: str = ""
    sex: str = ""
    age_years: int | None = None
    age_source: Literal["birth_date", "patient_age", ""] = ""
    weight_kg: float | None = None
    height_m: float | None = None
    pet_dates: tuple[str, ...] = ()

    @property
    def facts(self) -> PatientFacts:
        """As the comparison with a record needs them."""
        return PatientFacts(**self.model_dump())


class StoredInspection(_Stored):
    """What the checks of the images found (`app.cases.result_json.inspection_json`)."""

    date: str = ""
    patient: StoredPatient = StoredPatient()
    pet: StoredPet
    series: tuple[StoredSeries, ...]
    checks: tuple[StoredCheck, ...]
    corrections: tuple[StoredOverride, ...] = ()
    refused: StoredRefusal | None = None


class StoredStudy(_Stored):
    """The study of an answered case. `date` is YYYY-MM-DD, "" where it is not known."""

    date: str
    pet: StoredPet
    series: tuple[StoredSeries, ...] = ()
    corrections: tuple[StoredOverride, ...] = ()


class StoredModel(_Stored):
    """The model that answered."""

    name: str
    version: str
    digest: str
    synthetic: bool
    provider: str


class StoredEndpoint(_Stored):
    """A probability with its interval, and the answer of the conformal set (None where the model gives none)."""

    name: Literal["early_failure_3m", "dcb_6m", "pfs_12m"]
    months: float
    probability: float
    lower: float
    upper: float
    base_rate: float
    verdict: Literal["free", "progression", "indeterminate"] | None = None


class StoredCurve(_Stored):
    """Progression-free survival: one value of each field for each month."""

    months: tuple[float, ...]
    probability: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


class StoredOverallSurvival(_Stored):
    """The probability of being alive at `months` with its interval, and the curve of overall survival."""

    months: float
    probability: float
    lower: float
    upper: float
    base_rate: float
    curve: StoredCurve


class StoredLesion(_Stored):
    """A lesion; `region` is a key of `fedpet.imaging.anatomy.regions.REGIONS`.

    `vertebra` and `station` are an estimate and a proposal (`fedpet.imaging.anatomy.finer_places.FinerPlace`).
    """

    id: int
    region: str
    centroid_mm: Point
    suv_max: float
    suv_mean: float
    suv_peak: float
    mtv_ml: float
    tlg: float
    vertebra: str | None = None
    station: str | None = None

    @property
    def place(self) -> Message:
        """Where it lies, in words."""
        return place_in_words(self.region, self.vertebra, self.station)


class StoredQuantities(_Stored):
    """The lesions and their totals: ml, g, SUVbw, mm."""

    method: str
    lesions: tuple[StoredLesion, ...]
    tmtv_ml: float
    tlg: float
    suv_max: float
    suv_peak: float
    dmax_mm: float

    def lesion(self, number: int | str) -> StoredLesion | None:
        """The lesion of this number; None where there is none, as for "all"."""
        return next((lesion for lesion in self.lesions if lesion.id == number), None)


class StoredComponent(_Stored):
    """A hot component, counted as a lesion or not, with the reason."""

    id: int
    included: bool
    place: str
    reason: Sentence
    suv_max: float
    volume_ml: float
    centroid_mm: Point
    switched: bool = False
    score: float | None = None
    to_confirm: bool = False


class StoredPrediction(_Stored):
    """The answer, or in `abstained` why there is none; lesions and quantities are there in either case."""

    model: StoredModel
    abstained: Sentence | None
    endpoints: tuple[StoredEndpoint, ...]
    survival: StoredCurve | None
    risk_group: Literal["low", "intermediate", "high"] | None
    interval_level: float
    missing: tuple[str, ...]
    contributions: dict[str, float]
    quantities: StoredQuantities
    components: tuple[StoredComponent, ...] = ()
    painted_out: tuple[int, ...] = ()
    centre: str | None = None
    overall_survival: StoredOverallSurvival | None = None

    def endpoint(self, name: str) -> StoredEndpoint | None:
        """The endpoint of this name, or None where the model abstained."""
        return next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)


class StoredSanityCheck(_Stored):
    """A test of the influence map."""

    name: str
    passed: bool
    reason: Sentence


class StoredTerm(_Stored):
    """A term of the score and its measured effect (`explain.explanation.ScoreTerm`)."""

    name: str
    label: Sentence
    score: float
    points: float | None = None
    error: float = 0.0


class StoredOrigin(_Stored):
    """What was predicted from, as SHA-256 of images and record."""

    images: str
    record: str


class StoredExplanation(_Stored):
    """The influence map without its image. `lesion_share` has a share for each lesion, 0 for the rest of the body."""

    method: str
    lesion_share: dict[int, float]
    variable_contributions: dict[str, float]
    completeness_error: float
    gates: tuple[StoredSanityCheck, ...]
    description: Sentence | None = None
    origin: StoredOrigin | None = None  # this and what follows not by version 0.1
    risk_score: float | None = None
    terms: tuple[StoredTerm, ...] = ()
    reference_score: float | None = None

    @property
    def failed(self) -> tuple[StoredSanityCheck, ...]:
        """The tests that failed; the map is shown only where there is none."""
        return tuple(gate for gate in self.gates if not gate.passed)


class StoredCounterfactual(_Stored):
    """The answer at 12 months without one lesion, or without all of them."""

    lesion: int | Literal["all"]
    probability: float
    change: float
    abstained: Sentence | None


class StoredReference(_Stored):
    """The uptake of a healthy organ, SUVbw; `centroid_mm` and `method` of where it was measured."""

    suv_mean: float
    suv_sd: float
    method: str = ""
    centroid_mm: Point | None = None


class StoredReferences(_Stored):
    """The organs that lesions are compared with; None where one could not be measured, with the reason by its name.

    `liver_remarks` are said of a sphere that a reader placed.
    """

    liver: StoredReference | None
    blood_pool: StoredReference | None
    spleen: StoredReference | None = None
    marrow: StoredReference | None = None
    reasons: dict[str, Sentence] = {}
    liver_remarks: tuple[Sentence, ...] = ()


class StoredComparedItem(_Stored):
    """An item of the record compared with the images; None where a side does not state it."""

    name: ItemName
    verdict: Agreement
    record: Sentence | None
    images: Sentence | None


class StoredConfirmation(_Stored):
    """A person's confirmation of a record that contradicts the images."""

    reason: str
    by: str = ""
    of: str = ""


class StoredConcordance(_Stored):
    """The comparison of the record with the images (`inference.record_concordance.RecordConcordance`)."""

    items: tuple[StoredComparedItem, ...]
    confirmation: StoredConfirmation | None = None

    @property
    def concordance(self) -> RecordConcordance:
        """As the program compares them."""
        items = tuple(ComparedItem(item.name, item.verdict, item.record, item.images) for item in self.items)
        return RecordConcordance(
            items, RecordConfirmation(**self.confirmation.model_dump()) if self.confirmation else None
        )


class StoredResult(_Stored):
    """The answer to a case.

    Attributes:
        record: the clinical variables that were given, by field name of `ClinicalRecord`.
        concordance: what of record and images was compared; None in results of version 0.1.
        what_if: the answer without each of the largest lesions.
        references: uptake of healthy organs; None without a CT.
        landmarks_mm: points of the spine by name, LPS mm.
        pending: whether a reader corrected the lesions since the map and the reports were made.
    """

    format: Literal["fedpet.result/1"]
    software: str
    study: StoredStudy
    checks: tuple[StoredCheck, ...]
    record: dict[str, Any]
    concordance: StoredConcordance | None = None
    prediction: StoredPrediction
    explanation: StoredExplanation | None
    what_if: tuple[StoredCounterfactual, ...] = ()
    references: StoredReferences | None = None
    landmarks_mm: dict[str, Point] = {}
    pending: bool = False

    @property
    def clinical_record(self) -> ClinicalRecord:
        """The clinical record as it was given."""
        return ClinicalRecord(**self.record)

    def lesion_share(self, number: int) -> float | None:
        """The share of a lesion in the influence map, 0 to 1; None where it is not known."""
        return None if self.explanation is None else self.explanation.lesion_share.get(number)
