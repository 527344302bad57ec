import json
from dataclasses import replace

import numpy as np
import pytest

from inference.calibration import CentreCalibration, RiskCalibration, SetLimits, design, in_conformal_set

EDGES = (0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0)
NONE = np.zeros((6, 6))
RATES = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}


def calibration(a=0.0, b=1.0, shifts=(0.0,) * 4, covariance=NONE, thresholds=None):
    limits = {name: SetLimits.of(value) for name, value in (thresholds or {}).items()}
    return RiskCalibration(a, b, shifts, tuple(map(tuple, covariance.tolist())), 0.80, RATES, (-0.3, 0.4), limits)


def test_json_round_trip():
    full = calibration(0.1, 0.9, (0.1, 0.0, -0.2, 0.3), 0.01 * np.eye(6) + 0.002, {"dcb_6m": 0.7})
    assert RiskCalibration.from_json(json.loads(json.dumps(full.to_json()))) == full


def test_survival_is_the_product_of_the_complements_of_the_hazards():
    hazards = np.array([0.1, 0.2, 0.05, 0.1, 0.2, 0.1, 0.3, 0.2])
    raw = 0.7
    logits = np.log(hazards / (1 - hazards))
    curve = calibration().survival(logits, raw, EDGES)
    assert curve.months == EDGES
    assert curve.probability == pytest.approx(np.concatenate([[1.0], np.cumprod(1 - hazards)]))
    assert curve.lower == pytest.approx(curve.probability)


def test_slope_and_intercept_move_the_score():
    logits = np.full(8, -2.0) + 0.5
    curve = calibration(a=0.2, b=2.0).survival(logits, 0.5, EDGES)
    expected = 1.0 / (1.0 + np.exp(-2.0 + 0.2 + 2.0 * 0.5))
    assert curve.probability[1] == pytest.approx(expected)


def test_a_shift_moves_its_own_segment_of_time():
    still = calibration().survival(np.full(8, -1.0), 0.0, EDGES).probability
    moved = calibration(shifts=(0.0, 0.7, 0.0, 0.0)).survival(np.full(8, -1.0), 0.0, EDGES).probability
    hazards = [1 - np.array(curve[1:]) / curve[:-1] for curve in (still, moved)]
    assert np.flatnonzero(np.abs(hazards[1] - hazards[0]) > 1e-9).tolist() == [2, 3]  # 3 to 6 months
    assert hazards[1][2] == pytest.approx(1 / (1 + np.exp(1 - 0.7)))


def test_patients_together_are_each_alone():
    known, generator = calibration(0.2, 0.8, (0.1, -0.2, 0.3, 0.0)), np.random.default_rng(0)
    raw = generator.normal(size=5)
    logits = generator.normal(-1, 0.5, 8) + raw[:, None]
    together = known.free(logits, raw, EDGES)
    for row, one, score in zip(together, logits, raw, strict=True):
        np.testing.assert_allclose(row, known.survival(one, score, EDGES).probability)


def test_interval_covers_what_the_covariance_says():
    covariance = 0.02 * np.eye(6) + 0.01
    raw, logits = 0.8, np.full(8, -1.2)
    curve = calibration(covariance=covariance).survival(logits, raw, EDGES)
    draws = np.random.default_rng(0).multivariate_normal([0, 1, 0, 0, 0, 0], covariance, 20_000)
    drawn = np.exp(-np.logaddexp(0.0, logits - raw + draws @ design(np.array([raw]), EDGES)[0].T).cumsum(1))
    low, high = np.quantile(drawn, [0.1, 0.9], axis=0)
    np.testing.assert_allclose(curve.lower[1:], low, atol=0.01)
    np.testing.assert_allclose(curve.upper[1:], high, atol=0.01)


@pytest.mark.parametrize("raw", [-6.0, 0.0, 6.0])
def test_no_curve_rises_and_limits_enclose_it(raw):
    spread = np.diag([0.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    spread[2:4, 2:4] = [[4.0, -3.9], [-3.9, 4.0]]  # the first segments make up for each other
    curve = calibration(shifts=(-2.0, 2.0, 0.0, 0.0), covariance=spread).survival(np.full(8, -2.0) + raw, raw, EDGES)
    for line in (curve.probability, curve.lower, curve.upper):
        assert line[0] == 1.0
        assert np.all(np.diff(line) <= 0)
        assert 0.0 <= line[-1] <= 1.0
    assert np.all(np.array(curve.lower) <= curve.probability)
    assert np.all(np.array(curve.upper) >= curve.probability)


def test_endpoints_read_the_curve():
    known = calibration(covariance=np.diag([0.04, 0, 0, 0, 0, 0]), thresholds={"early_failure_3m": 0.7, "pfs_12m": 0.9})
    curve = known.survival(np.full(8, -1.5), 0.0, EDGES)
    endpoints = {endpoint.name: endpoint for endpoint in known.endpoints(curve)}
    assert endpoints["pfs_12m"].probability == curve.probability[6]
    assert endpoints["dcb_6m"].probability == curve.probability[4]
    early = endpoints["early_failure_3m"]
    assert early.probability == pytest.approx(1 - curve.probability[2])
    assert early.lower < early.probability < early.upper
    assert endpoints["pfs_12m"].base_rate == 0.4
    assert curve.probability[6] == pytest.approx(0.3, abs=0.02)
    told = {name: endpoint.verdict for name, endpoint in endpoints.items()}
    assert told == {"pfs_12m": "indeterminate", "dcb_6m": None, "early_failure_3m": "indeterminate"}


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0.0, "progression"), (0.29, "progression"), (0.31, "indeterminate"), (0.69, "indeterminate"), (0.71, "free")],
)
def test_verdict_is_the_set_of_outcomes_that_are_likely_enough(probability, verdict):
    assert calibration(thresholds={"dcb_6m": 0.7}).verdict("dcb_6m", probability) == verdict
    assert calibration().verdict("dcb_6m", probability) is None


def test_a_set_is_never_empty():
    probability = np.linspace(0, 1, 1001)
    assert np.any(in_conformal_set(probability, SetLimits(0.3, 0.7)), axis=0).all()
    assert not np.any(
        in_conformal_set(probability, SetLimits(0.3, 0.69)), axis=0
    ).all()  # which is why limits sum to 1 at least


def test_another_format_is_refused():
    told = calibration().to_json()
    for change in ({"format": "fedpet.calibration/1"}, {"shifts": [0.0]}, {"covariance": [[0.0, 0.0], [0.0, 0.0]]}):
        with pytest.raises(ValueError, match="expected"):
            RiskCalibration.from_json(told | change)


@pytest.mark.parametrize(
    ("raw", "group"), [(-0.31, "low"), (-0.3, "intermediate"), (0.39, "intermediate"), (0.4, "high")]
)
def test_risk_group(raw, group):
    assert calibration().risk_group(raw) == group


def test_what_is_missing_and_how_far_centres_differ_widen_the_interval():
    known = calibration(b=2.0, covariance=np.diag([0.04, 0, 0, 0, 0, 0]))
    at = (np.full(8, -1.5), 0.0, EDGES)
    missing, elsewhere = known.survival(*at, unknown=0.1), replace(known, between_centres=0.4).survival(*at)
    wide = calibration(b=2.0, covariance=np.diag([0.44, 0, 0, 0, 0, 0])).survival(*at)
    assert missing == elsewhere == wide
    assert known.survival(*at).probability == wide.probability
    assert np.all(np.array(wide.lower[1:]) < known.survival(*at).lower[1:])


def test_a_centre_of_the_federation_has_its_own_intercept_and_limits():
    own = CentreCalibration(0.3, 0.01, {"dcb_6m": SetLimits(0.5, 0.9)})
    told = replace(calibration(thresholds={"dcb_6m": 0.7}), between_centres=0.09, centres={"Lyon": own})
    assert RiskCalibration.from_json(json.loads(json.dumps(told.to_json()))) == told
    there = told.at("Lyon")
    assert (there.a, there.covariance[0][0], there.between_centres) == (0.3, 0.01, 0.0)
    assert (told.verdict("dcb_6m", 0.6), there.verdict("dcb_6m", 0.6)) == ("indeterminate", "indeterminate")
    assert (told.verdict("dcb_6m", 0.75), there.verdict("dcb_6m", 0.75)) == ("free", "indeterminate")
    assert there.at("Lyon") == there
    assert told.at("Paris") == told


def test_a_bundle_of_an_earlier_version_has_one_limit_and_says_nothing_of_centres():
    told = calibration(thresholds={"dcb_6m": 0.7}).to_json()
    before = {key: value for key, value in told.items() if key not in {"between_centres", "centres", "centre"}}
    read = RiskCalibration.from_json(before | {"format": "fedpet.calibration/2", "thresholds": {"dcb_6m": 0.7}})
    assert read.thresholds == {"dcb_6m": SetLimits(0.7, 0.7)}
    assert (read.between_centres, read.centres) == (None, {})
