import hashlib
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import SuvError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.reference_uptake import OrganReferences
from fedpet.imaging.lesions.delineation import HotComponent
from fedpet.imaging.lesions.lesion import Quantities
from fedpet.imaging.study import AppliedOverride, CheckStatus, PetCtStudy, PetFacts, QualityCheck, SeriesFacts
from fedpet.imaging.volume import Volume
from inference.prediction import ModelReference, Prediction, PredictionOrigin
from reports.content import ReaderDecision, ReportContent
from reports.content_hash import canonical_json, content_hash


@pytest.fixture
def content():
    pet = Volume(np.ones((2, 3, 4), np.float32), np.eye(4), "g/ml")
    facts = PetFacts(
        "BQML", "START", 1.0, 1.0, "series_time", datetime(2026, 1, 2, 3, 4), None,  # noqa: DTZ001 - DICOM times are local
        60.0, 2.5e8, 6586.2, 70.0, None, "F", "FDG", ("ATTN",), "Maker", "Model",
    )  # fmt: skip
    check = QualityCheck("slices", CheckStatus.PASS, Message("Slices are complete: {n}.", n=2))
    study = PetCtStudy("P-1", pet, None, facts, (), (), "2026-01-02", {"PT": ("1.2", "1.3")})
    prediction = Prediction(
        model=ModelReference("m", "1", "d", "f", synthetic=True, provider="p"),
        origin=PredictionOrigin("12" * 32, "34" * 32),
        abstained=Message("No CT."), endpoints=(), survival=None, risk_group=None, risk_score=None, interval_level=0.8,
        missing=("age",), contributions={}, quantities=Quantities("suv4", (), 12.34567, 0.0, 0.0, 0.0, 0.0),
        lesion_labels=pet.like(np.zeros((2, 3, 4), np.uint16), "label"),
    )  # fmt: skip
    return ReportContent(
        "2.25.1", "2026-01-03T10:00:00", "", study, (check,), ClinicalRecord(age=60.0), prediction, None, {"name": "m"}
    )


def test_the_hash_is_sha256_of_sorted_ascii_json(content):
    text = canonical_json(content)
    data = json.loads(text)
    assert text.isascii()
    assert text == json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert content_hash(content) == hashlib.sha256(text.encode("ascii")).hexdigest()
    assert data["format"] == "fedpet.report/2"
    assert data["study"]["checks"][0]["level"] == "pass"
    assert data["study"]["pet_facts"]["reference_time"] == "2026-01-02T03:04:00"
    assert data["prediction"]["quantities"]["tmtv_ml"] == 12.3457
    expected = hashlib.sha256(b"1.2\n1.3").hexdigest()
    assert data["study"]["source_uids"] == {"PT": {"count": 2, "sha256": expected}}


LEFT_OUT = HotComponent(1, False, "bladder", Message("Below the bladder."), False, 9.0, 3.0, (0.0, 0.0, 0.0))


def with_tmtv(content, tmtv):
    quantities = replace(content.prediction.quantities, tmtv_ml=tmtv)
    return replace(content, prediction=replace(content.prediction, quantities=quantities))


def test_last_bits_do_not_matter_but_values_do(content):
    assert content_hash(with_tmtv(content, 12.34567 * (1 + 1e-12))) == content_hash(content)
    assert content_hash(with_tmtv(content, 12.35)) != content_hash(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, report_uid="2.25.2"),
        lambda c: replace(c, record=replace(c.record, age=61.0)),
        lambda c: replace(c, card={"name": "n"}),
        lambda c: replace(c, study=replace(c.study, source_uids={"PT": ("1.2", "1.4")})),
        lambda c: replace(c, prediction=replace(c.prediction, abstained=Message("No PET."))),
        lambda c: replace(c, verdict=ReaderDecision("accept", "", "Dr A", "2026-01-04T10:00:00")),
        lambda c: replace(c, version=2),
        lambda c: replace(c, prediction=replace(c.prediction, components=(LEFT_OUT,))),
        lambda c: replace(c, references=OrganReferences(None, None, None, None, {})),
        lambda c: replace(
            c, study=replace(c.study, corrections=(AppliedOverride("weight_kg", 70.0, 75.0, "typed wrong"),))
        ),
    ],
)
def test_every_part_of_the_case_enters(content, change):
    assert content_hash(change(content)) != content_hash(content)


def test_voxels_do_not_enter(content):
    pet = content.study.pet.like(np.zeros((2, 3, 4), np.float32), "g/ml")
    assert content_hash(replace(content, study=replace(content.study, pet=pet))) == content_hash(content)


def test_numbers_that_json_cannot_hold_are_words(content):
    card = {"loss": float("nan"), "largest": float("inf")}
    assert json.loads(canonical_json(replace(content, card=card)))["card"] == {"loss": "nan", "largest": "inf"}


def test_nothing_in_the_json_leads_to_other_files_of_the_patient(content):
    """It travels with the report: no identifier of an image, and no free text of the scanner."""
    series = SeriesFacts("PT", "DUPONT JEAN WB", 2, (2, 3, 4), (1.0, 1.0, 1.0), True, Message("Chosen."), 1)
    study = replace(content.study, series=(series,), frame_of_reference="1.2.999", source_uids={"PT": ("1.2.840.7",)})
    text = canonical_json(replace(content, study=study))
    for identifying in ("DUPONT", "1.2.999", "1.2.840.7"):
        assert identifying not in text
    assert json.loads(text)["study"]["series"][0]["id"] == 1


def test_the_order_of_the_images_does_not_matter_but_their_set_does(content):
    def hashed(*uids):
        return content_hash(replace(content, study=replace(content.study, source_uids={"PT": uids})))

    assert hashed("1.3", "1.2") == hashed("1.2", "1.3") != hashed("1.2")


def test_a_refused_suv_and_numpy_numbers_are_plain(content):
    sentences = {"found": Message("Found."), "needed": Message("Needed."), "advice": Message("Do it.")}
    facts = replace(content.study.pet_facts, weight_kg=np.float32(70.5))
    study = replace(content.study, suv_refusal=SuvError(**sentences), pet_facts=facts)
    data = json.loads(canonical_json(replace(content, study=study)))["study"]
    assert [one["template"] for one in data["suv_refusal"]] == ["Found.", "Needed.", "Do it."]
    assert data["pet_facts"]["weight_kg"] == 70.5
