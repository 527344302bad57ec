import hashlib
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from clinical.record import ClinicalRecord
from fedpet.messages import Message
from imaging.lesions import Quantities
from imaging.study import Level, PetFacts, QualityCheck, Study
from imaging.volume import Volume
from inference.prediction import ModelReference, Prediction
from reports.content import ReportContent
from reports.digest import canonical_json, content_hash


@pytest.fixture
def content():
    pet = Volume(np.ones((2, 3, 4), np.float32), np.eye(4), "g/ml")
    facts = PetFacts(
        "BQML", "START", 1.0, 1.0, "series_time", datetime(2026, 1, 2, 3, 4), None,  # noqa: DTZ001 - DICOM times are local
        60.0, 2.5e8, 6586.2, 70.0, None, "F", "FDG", ("ATTN",), "Maker", "Model",
    )  # fmt: skip
    check = QualityCheck("slices", Level.PASS, Message("Slices are complete: {n}.", n=2))
    study = Study("P-1", pet, None, facts, (), (check,), "2026-01-02", {"PT": ("1.2", "1.3")})
    prediction = Prediction(
        model=ModelReference("m", "1", "d", "f", synthetic=True, provider="p"),
        abstained=Message("No CT."), endpoints=(), survival=None, risk_group=None, risk_score=None, interval_level=0.8,
        missing=("age",), contributions={}, quantities=Quantities("suv4", (), 12.34567, 0.0, 0.0, 0.0, 0.0),
        lesion_labels=pet.like(np.zeros((2, 3, 4), np.uint16), "label"),
    )  # fmt: skip
    return ReportContent(
        "2.25.1", "2026-01-03T10:00:00", "", study, ClinicalRecord(age=60.0), prediction, None, {"name": "m"}
    )


def test_the_hash_is_sha256_of_sorted_ascii_json(content):
    text = canonical_json(content)
    data = json.loads(text)
    assert text.isascii()
    assert text == json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert content_hash(content) == hashlib.sha256(text.encode("ascii")).hexdigest()
    assert data["format"] == "fedpet.report/1"
    assert data["study"]["checks"][0]["level"] == "pass"
    assert data["study"]["pet_facts"]["reference_time"] == "2026-01-02T03:04:00"
    assert data["prediction"]["quantities"]["tmtv_ml"] == 12.3457
    assert data["study"]["source_uids"] == {"PT": ["1.2", "1.3"]}


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
