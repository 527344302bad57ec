import json

import numpy as np
import pytest

from inference.calibration import Calibration

EDGES = (0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0)
RATES = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}


def calibration(a=0.0, b=1.0, covariance=((0.0, 0.0), (0.0, 0.0))):
    return Calibration(a, b, covariance, 0.80, RATES, (-0.3, 0.4))


def test_json_round_trip():
    full = calibration(0.1, 0.9, ((0.01, 0.002), (0.002, 0.03)))
    assert Calibration.from_json(json.loads(json.dumps(full.to_json()))) == full


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


def test_interval_is_the_normal_interval_of_the_calibrated_score():
    known = calibration(covariance=((0.04, 0.01), (0.01, 0.09)))
    value, lower, upper = known.score(2.0)
    assert upper - value == pytest.approx(1.2815515655 * np.sqrt(0.04 + 2 * 2.0 * 0.01 + 4.0 * 0.09))
    assert value - lower == pytest.approx(upper - value)
    curve = known.survival(np.full(8, -1.0), 2.0, EDGES)
    assert np.all(np.array(curve.lower[1:]) < curve.probability[1:])
    assert np.all(np.array(curve.upper[1:]) > curve.probability[1:])


def test_endpoints_read_the_curve():
    curve = calibration(covariance=((0.04, 0.0), (0.0, 0.0))).survival(np.full(8, -1.5), 0.0, EDGES)
    endpoints = {endpoint.name: endpoint for endpoint in calibration().endpoints(curve)}
    assert endpoints["pfs_12m"].probability == curve.probability[6]
    assert endpoints["dcb_6m"].probability == curve.probability[4]
    early = endpoints["early_failure_3m"]
    assert early.probability == pytest.approx(1 - curve.probability[2])
    assert early.lower < early.probability < early.upper
    assert endpoints["pfs_12m"].base_rate == 0.4


@pytest.mark.parametrize(
    ("raw", "group"), [(-0.31, "low"), (-0.3, "intermediate"), (0.39, "intermediate"), (0.4, "high")]
)
def test_risk_group(raw, group):
    assert calibration().risk_group(raw) == group
