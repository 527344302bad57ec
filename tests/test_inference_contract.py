import json
from dataclasses import replace

import numpy as np
import pytest

from clinical.record import ClinicalRecord
from clinical.variables import VARIABLES
from fedpet.messages import say
from inference.contract import BIOMARKERS, Contract, default_contract
from inference.encoding import encode, term_label

CONTRACT = default_contract()


def test_contract_survives_json_with_its_fingerprint():
    again = Contract.from_json(json.loads(json.dumps(CONTRACT.to_json())))
    assert again == CONTRACT
    assert again.fingerprint == CONTRACT.fingerprint


def test_any_change_changes_the_fingerprint():
    assert replace(CONTRACT, spacing_mm=7.9).fingerprint != CONTRACT.fingerprint
    terms = (replace(CONTRACT.terms[0], mean=64.0), *CONTRACT.terms[1:])
    assert replace(CONTRACT, terms=terms).fingerprint != CONTRACT.fingerprint


def test_another_format_is_refused():
    with pytest.raises(ValueError, match=r"fedpet\.contract/1"):
        Contract.from_json({**CONTRACT.to_json(), "format": "other"})


def test_every_variable_is_a_field_of_the_record_and_has_its_ranges():
    for name in CONTRACT.variables:
        assert name in ClinicalRecord.__dataclass_fields__
        assert name in VARIABLES


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_input_and_biomarker_has_a_label(language):
    labels = [say(language)(term_label(n)) for n in (*CONTRACT.inputs, *(f"image:{b}" for b in BIOMARKERS))]
    assert len(set(labels)) == len(labels)


def test_encoding_of_a_full_record():
    record = ClinicalRecord(
        age=74.5, sex="F", ecog_ps=1, smoking="former", histology="squamous", pdl1_tps=60.0, line=2,
        ldh=300.0, ldh_uln=250.0, neutrophils=8.0, lymphocytes=2.0, leucocytes=11.5, albumin=34.0, steroids=True,
        brain_metastases=False, liver_metastases=True, bone_metastases=False,
    )  # fmt: skip
    values = dict(zip(CONTRACT.inputs, encode(record, CONTRACT).values, strict=True))
    assert encode(record, CONTRACT).missing == ()
    assert values["age"] == pytest.approx((74.5 - 65.0) / 9.5)
    assert values["male"] == pytest.approx(0.0 - 0.68)
    assert values["ecog_1"] == pytest.approx(1.0 - 0.64)
    assert values["ecog_2"] == pytest.approx(0.0 - 0.22)
    assert values["pdl1_50"] == pytest.approx(1.0 - 0.4)
    assert values["ldh_above_uln"] == pytest.approx(1.0 - 0.35)
    assert values["nlr"] == pytest.approx((np.log(4.0) - 1.386) / 0.53, abs=1e-6)
    assert values["missing:nlr"] == 0.0


def test_missing_is_the_reference_with_its_flag():
    encoded = encode(ClinicalRecord(age=65.0), CONTRACT)
    values = dict(zip(CONTRACT.inputs, encoded.values, strict=True))
    assert all(values[term.name] == 0.0 for term in CONTRACT.terms)
    assert {name for name, value in values.items() if value} == {
        f"missing:{term.name}" for term in CONTRACT.terms if term.flag
    }
    assert "age" not in encoded.missing
    assert {"ldh", "ldh_uln", "albumin"} <= set(encoded.missing)


def test_a_ratio_with_one_half_missing_is_missing():
    encoded = encode(ClinicalRecord(ldh=300.0), CONTRACT)
    values = dict(zip(CONTRACT.inputs, encoded.values, strict=True))
    assert values["ldh_above_uln"] == 0.0
    assert values["missing:ldh_above_uln"] == 1.0
