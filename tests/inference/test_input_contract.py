import json
from dataclasses import replace

import numpy as np
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import ArgumentError
from fedpet.core.messages import translate_message
from fedpet.imaging.lesions.lesion_table import QUANTITIES, LesionTable, TableLesion
from inference.encoding import encode, term_label
from inference.input_contract import BIOMARKERS, InputContract, QuantityTerm, default_contract, table_contract

CONTRACT = default_contract()
TABLE_CONTRACT = table_contract()


def test_contract_survives_json_with_its_fingerprint():
    again = InputContract.from_json(json.loads(json.dumps(CONTRACT.to_json())))
    assert again == CONTRACT
    assert again.fingerprint == CONTRACT.fingerprint


def test_any_change_changes_the_fingerprint():
    assert replace(CONTRACT, spacing_mm=7.9).fingerprint != CONTRACT.fingerprint
    terms = (replace(CONTRACT.terms[0], mean=64.0), *CONTRACT.terms[1:])
    assert replace(CONTRACT, terms=terms).fingerprint != CONTRACT.fingerprint


def test_another_format_is_refused():
    with pytest.raises(ValueError, match=r"fedpet\.contract/1"):
        InputContract.from_json({**CONTRACT.to_json(), "format": "other"})


def test_every_variable_is_a_field_of_the_record_and_has_its_ranges():
    for name in CONTRACT.variables:
        assert name in ClinicalRecord.__dataclass_fields__
        assert name in VARIABLES


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_input_and_biomarker_has_a_label(language):
    labels = [
        translate_message(language)(term_label(n))
        for n in (*TABLE_CONTRACT.inputs, *(f"image:{b}" for b in BIOMARKERS))
    ]
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


def test_a_contract_without_quantities_has_the_json_and_fingerprint_it_always_had():
    assert not {"quantities", "table_version", "delineation"} & set(CONTRACT.to_json())
    assert CONTRACT.fingerprint == "95c3470d7747709c7c14f30bfa9a081eec2cf8ccc60d4b5b1cf319e5fa4a39de"


def test_the_table_contract_survives_json_and_reads_no_image():
    again = InputContract.from_json(json.loads(json.dumps(TABLE_CONTRACT.to_json())))
    assert again == TABLE_CONTRACT
    assert (CONTRACT.reads_images, again.reads_images) == (True, False)
    assert replace(TABLE_CONTRACT, table_version="0").fingerprint != TABLE_CONTRACT.fingerprint


def test_lesion_inputs_follow_the_clinical_ones_and_their_flags():
    clinical, lesions = CONTRACT.inputs, TABLE_CONTRACT.inputs[len(CONTRACT.inputs) :]
    assert TABLE_CONTRACT.inputs[: len(clinical)] == clinical
    assert lesions[: len(TABLE_CONTRACT.quantities)] == tuple(f"lesion:{q.name}" for q in TABLE_CONTRACT.quantities)
    assert lesions[-2:] == ("missing:lesion:marrow_to_liver", "missing:lesion:spleen_to_liver")


def test_an_unknown_quantity_is_refused():
    data = TABLE_CONTRACT.to_json()
    data["quantities"][0]["name"] = "radiomics"
    with pytest.raises(ValueError, match="radiomics"):
        InputContract.from_json(data)


def lesion(number, region, ml, x=0.0):
    return TableLesion(number, region, ml, 6 * ml, 9.0, 8.0, (x, 0.0, 0.0), 1.0, ml + 1.0)


def test_encoding_of_a_lesion_table():
    table = LesionTable((lesion(1, "lung_left", 20.0), lesion(2, "bone_rib", 9.0, x=120.0)), None, 0.75)
    encoded = encode(ClinicalRecord(age=65.0), TABLE_CONTRACT, table)
    values = dict(zip(TABLE_CONTRACT.inputs, encoded.values, strict=True))
    terms = {term.name: term for term in TABLE_CONTRACT.quantities}
    assert list(encoded.values[: len(CONTRACT.inputs)]) == list(encode(ClinicalRecord(age=65.0), CONTRACT).values)
    tmtv, dmax = terms["tmtv_ml"], terms["dmax_mm"]
    assert values["lesion:tmtv_ml"] == pytest.approx((np.log(30) - tmtv.mean) / tmtv.sd)
    assert values["lesion:dmax_mm"] == pytest.approx((120 - dmax.mean) / dmax.sd)
    assert values["lesion:necrotic_share"] == pytest.approx((2 / 31 - 0.12) / 0.12)
    assert values["lesion:bone_ml"] == pytest.approx(np.log(10) / 1.5)
    assert (values["lesion:marrow_to_liver"], values["missing:lesion:marrow_to_liver"]) == (0.0, 1.0)
    assert values["missing:lesion:spleen_to_liver"] == 0.0
    assert values["lesion:spleen_to_liver"] == pytest.approx((0.75 - 0.9) / 0.15)


def test_no_liver_and_no_bone_term_without_such_a_lesion_on_fifty_tables():
    generator = np.random.default_rng(3)
    regions = ["lung_left", "mediastinum", "adrenal_right", "liver", "bone_spine_lumbar", "brain"]
    organs = {"lesion:liver_lesion": "liver", "lesion:bone_ml": "bone"}
    seen = {(name, present): 0 for name in organs for present in (True, False)}
    for _ in range(50):
        drawn = generator.choice(regions, generator.integers(0, 6))
        rows = tuple(lesion(n, str(r), float(generator.gamma(1, 20))) for n, r in enumerate(drawn))
        table = LesionTable(rows, float(generator.normal(0.7, 0.1)), None)
        values = dict(zip(TABLE_CONTRACT.inputs, encode(ClinicalRecord(), TABLE_CONTRACT, table).values, strict=True))
        for name, organ in organs.items():
            present = any(one.organ == organ for one in table.lesions)
            assert (values[name] != 0.0) == present
            seen[name, present] += 1
    assert min(seen.values()) >= 10


def test_a_contract_with_quantities_needs_a_table_of_its_rules():
    with pytest.raises(ArgumentError, match="missing"):
        encode(ClinicalRecord(), TABLE_CONTRACT)
    with pytest.raises(ArgumentError, match="rules"):
        encode(ClinicalRecord(), TABLE_CONTRACT, LesionTable((), None, None, version="0"))


def test_the_bounds_of_an_input_hold_every_value_of_its_quantity():
    for term in TABLE_CONTRACT.quantities:
        low, high = term.bounds
        assert (low, high) == (term.scaled(0.0), term.scaled(QUANTITIES[term.name].highest))
        assert low < high
    assert QuantityTerm("liver_lesion", "flag").bounds == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", (144, 48)), ("shape", (144, 48, 0)), ("shape", (1024, 1024, 1024)), ("shape", (1e9, 1, 1)),
        ("spacing_mm", 0.0), ("spacing_mm", float("nan")), ("spacing_mm", -8.0),
        ("suv_range", (30.0, 0.0)), ("hu_range", (600.0, 600.0)), ("outside_hu", float("inf")),
        ("month_edges", (0.0, 3.0, 2.0)), ("month_edges", (1.0, 2.0)), ("month_edges", (0.0, 1e9)), ("month_edges", ()),
        ("terms", (replace(CONTRACT.terms[0], sd=0.0),)), ("terms", (replace(CONTRACT.terms[0], mean=float("nan")),)),
        ("terms", (replace(CONTRACT.terms[0], kind="eval"),)), ("terms", (CONTRACT.terms[0], CONTRACT.terms[0])),
        ("concepts", ("lesion", "lesion")), ("concepts", tuple(f"c{n}" for n in range(1000))),
    ],
)  # fmt: skip
def test_values_that_cannot_be_meant_are_refused(name, value):
    with pytest.raises((ValueError, TypeError), match=None if name == "terms" else name):
        InputContract.from_json(replace(CONTRACT, **{name: value}).to_json())
