from dataclasses import replace

import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.clinical.scores import (
    SCORES,
    ali,
    bmi,
    dnlr,
    epsilon,
    grim,
    grim_group,
    lipi,
    loris,
    loris_pan_cancer,
    loris_without_tmb,
    missing_inputs,
    nlr,
    pdl1_class,
    seban,
)

FULL = ClinicalRecord(leucocytes=8.0, neutrophils=6.0, lymphocytes=1.0, ldh=200.0, ldh_uln=248.0, albumin=40.0)


def test_published_check_values():
    assert dnlr(FULL) == 3.0
    assert lipi(FULL) == 0  # 3.0 is not above 3
    above = replace(FULL, neutrophils=6.2)
    assert dnlr(above) == pytest.approx(3.44, abs=0.005)
    assert lipi(above) == 1
    assert lipi(replace(above, ldh=249.0)) == 2
    assert lipi(replace(FULL, ldh=249.0)) == 1
    assert lipi(replace(FULL, ldh=248.0)) == 0  # at the limit is normal


def test_grim_counts_its_three_criteria():
    assert nlr(FULL) == 6.0
    assert grim(FULL) == 0
    assert grim(replace(FULL, lymphocytes=0.9)) == 1
    assert grim(replace(FULL, lymphocytes=0.9, ldh=300.0)) == 2
    assert grim(replace(FULL, lymphocytes=0.9, ldh=300.0, albumin=34.9)) == 3
    assert grim(replace(FULL, albumin=35.0)) == 0


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ("leucocytes", {dnlr, lipi}),
        ("neutrophils", {nlr, dnlr, lipi, grim}),
        ("lymphocytes", {nlr, grim}),
        ("ldh", {lipi, grim}),
        ("ldh_uln", {lipi, grim}),
        ("albumin", {grim}),
    ],
)
def test_a_missing_input_makes_a_score_not_computable(missing, lost):
    record = replace(FULL, **{missing: None})
    assert {score for score in (nlr, dnlr, lipi, grim) if score(record) is None} == lost


def test_dnlr_needs_more_leucocytes_than_neutrophils():
    assert dnlr(replace(FULL, leucocytes=6.0)) is None
    assert dnlr(replace(FULL, leucocytes=5.0)) is None


def test_a_grim_score_of_two_is_of_high_risk():
    assert [grim_group(points) for points in range(4)] == ["low", "low", "high", "high"]


@pytest.mark.parametrize(
    ("tps", "known"), [(0.0, "below_1"), (0.9, "below_1"), (1.0, "1_to_49"), (49.9, "1_to_49"), (50.0, "50_or_more")]
)
def test_pd_l1_is_classed_at_1_and_50_percent(tps, known):
    assert pdl1_class(tps) == known


# BMI 25 kg/m2, albumin 4 g/dL, NLR 6
WHOLE = replace(
    FULL, age=65, height_cm=200, weight_kg=100, ecog_ps=1, smoking="former", pack_years=43, liver_metastases=False,
    pdl1_tps=60, tmb=10, prior_systemic_lines=0, line=1,
)  # fmt: skip


def test_loris_by_the_authors_formula():
    """S by hand with the coefficients of the authors' README: 0.353 + 0.666 + 1.1696 - 0.0618 - 1.5593 = 0.5675."""
    assert loris(WHOLE) == pytest.approx(1 / (1 + 2.718281828**-0.5675))
    assert loris(replace(WHOLE, prior_systemic_lines=2)) == pytest.approx(1 / (1 + 2.718281828**-0.1925))
    assert loris(replace(WHOLE, line=2, prior_systemic_lines=None)) == loris(replace(WHOLE, prior_systemic_lines=1))
    assert loris(replace(WHOLE, tmb=80)) == loris(replace(WHOLE, tmb=50))
    assert loris(replace(WHOLE, neutrophils=30)) == loris(replace(WHOLE, neutrophils=25))  # lymphocytes 1
    assert loris(replace(WHOLE, line=1, prior_systemic_lines=None)) is None  # adjuvant treatment is not excluded


def test_loris_pan_cancer_and_without_tmb():
    """S by hand: 0.371 + 2.1528 - 0.198 + 0.3185 + 0.0008 - 2.0886 and 0.633 + 1.33 - 0.06492 - 1.3455."""
    assert loris_pan_cancer(WHOLE) == pytest.approx(1 / (1 + 2.718281828**-0.5565))
    assert loris_pan_cancer(replace(WHOLE, age=90)) == loris_pan_cancer(replace(WHOLE, age=85))
    assert loris_without_tmb(replace(WHOLE, tmb=None)) == pytest.approx(1 / (1 + 2.718281828**-0.55258))
    # of one data set: with the mean TMB of its patients both versions say nearly the same
    assert loris_without_tmb(WHOLE) == pytest.approx(loris(WHOLE), abs=0.03)


def test_ali_and_bmi():
    assert bmi(WHOLE) == 25.0
    assert ali(WHOLE) == pytest.approx(25 * 4 / 6)


def test_epsilon_counts_unfavourable_factors():
    assert epsilon(replace(WHOLE, lymphocytes=2)) == 0  # NLR 3, 43 pack-years, LDH 200
    assert epsilon(WHOLE) == 1
    assert epsilon(replace(WHOLE, pack_years=42.9)) == 2
    assert epsilon(replace(WHOLE, smoking="never", pack_years=None, ecog_ps=2, liver_metastases=True, ldh=400)) == 5


@pytest.mark.parametrize(
    ("tmtv_ml", "neutrophils", "factors"), [(75.0, 6.0, 0), (75.1, 6.0, 1), (75.0, 6.2, 1), (75.1, 6.2, 2)]
)
def test_seban_counts_volume_and_dnlr(tmtv_ml, neutrophils, factors):
    assert seban(replace(FULL, neutrophils=neutrophils), tmtv_ml) == factors


@pytest.mark.parametrize("name", SCORES)
def test_what_is_missing_is_named_and_makes_a_score_not_computable(name):
    score = SCORES[name]
    assert score.compute(WHOLE, 50.0) is not None
    assert missing_inputs(score, WHOLE, 50.0) == ()
    for one in score.inputs:
        record = WHOLE if one == "tmtv_ml" else replace(WHOLE, **{one: None})
        tmtv_ml = None if one == "tmtv_ml" else 50.0
        assert score.compute(record, tmtv_ml) is None
        assert missing_inputs(score, record, tmtv_ml) == (one,)


def test_no_input_that_a_score_does_not_name_matters_to_it():
    for name, score in SCORES.items():
        for one in set(WHOLE.__dataclass_fields__) - {*score.inputs, "smoking", "line"}:
            assert score.compute(replace(WHOLE, **{one: None}), 50.0) == score.compute(WHOLE, 50.0), (name, one)
