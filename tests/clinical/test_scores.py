from dataclasses import replace

import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.clinical.scores import dnlr, grim, grim_group, lipi, nlr, pdl1_class

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
