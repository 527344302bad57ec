"""What is usual at a centre is learned from its good studies, brings its limits, and no wrong scale is learned."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp

import numpy as np
import pytest

from fedpet.core.errors import SettingsError
from fedpet.core.settings import Settings
from fedpet.imaging.quality.centre_uptake import (
    CentreUptake,
    MeasuredUptake,
    learn_centre_uptake,
    own_uptake,
    read_centre_uptake,
)
from fedpet.imaging.quality.uptake_ranges import REFERENCE_MIN, USUAL, UptakeRanges

PUBLISHED = UptakeRanges(**{name: mean for name, (mean, _) in USUAL.items()}, heart=3.0)
SCANNER = "PHILIPS GEMINI TF"


def patients(number, *, factor=1.0, late=0.0, seed=1, **tissues):
    """Good studies of a scanner that measures `factor` times what is published, `late` minutes after the usual time."""
    rng = np.random.default_rng(seed)
    decline = {"blood_pool": exp(-0.003 * late), "liver": exp(-0.001 * late), "spleen": exp(-0.001 * late)}
    for _ in range(number):
        body = rng.normal(0, 0.06)
        values = {
            name: mean * factor * decline.get(name, 1.0) * tissues.get(name, 1.0) * exp(body + rng.normal(0, 0.08))
            for name, (mean, _) in USUAL.items()
        }
        yield MeasuredUptake(SCANNER, REFERENCE_MIN + late, UptakeRanges(**values))


def levels(one, usual=None):
    return {check.name: check.level.value for check in one.ranges.checks(usual, one.uptake_min)}


def failures(studies, usual=None, name="suv_scale"):
    return sum(levels(one, usual)[name] == "fail" for one in studies)


def test_a_scanner_that_reads_low_is_judged_by_its_own_studies():
    usual = learn_centre_uptake(patients(20, factor=0.82)).scanners[0]
    later = list(patients(100, factor=0.82, seed=2))
    assert failures(later) >= 30
    assert failures(later, usual) <= 3
    wrong = [replace(one, ranges=one.ranges.scaled(factor)) for one in later for factor in (0.37, 0.6, 1.43, 2.2)]
    assert failures(wrong, usual) >= 0.99 * len(wrong)
    assert failures([replace(one, ranges=one.ranges.scaled(1.43)) for one in later]) < 60  # what the published miss


def test_a_late_scan_is_compared_with_what_is_usual_so_late():
    assert levels(MeasuredUptake(SCANNER, 65.0, PUBLISHED))["suv_scale"] == "pass"
    early, late = (next(patients(1, late=minutes)).ranges for minutes in (0.0, 60.0))
    assert late.blood_pool == pytest.approx(early.blood_pool * exp(-0.18))
    assert late.compared(uptake_min=125.0).log_scale == pytest.approx(early.log_scale)
    assert late.log_scale < early.log_scale - 0.04


def test_what_is_learned_is_shrunk_towards_what_is_published():
    for number in (10, 40, 160):
        studies = list(patients(number, factor=0.85))
        median = np.median([one.ranges.compared(uptake_min=one.uptake_min).log_scale for one in studies])
        found = learn_centre_uptake(studies).scanners[0]
        assert found.scale == pytest.approx(median * number / (number + 2))
        good, fail = found.scale_limits
        assert 0.12 < good < fail < 0.24


def test_a_few_odd_studies_move_little():
    odd = list(patients(4, factor=2.2, seed=3))
    clean, soiled = (learn_centre_uptake([*patients(20), *more]).scanners[0] for more in ([], odd))
    assert soiled.scale == pytest.approx(clean.scale, abs=0.03)
    assert soiled.scale_limits[1] < 1.35 * clean.scale_limits[1]


@pytest.mark.parametrize(
    ("studies", "why"),
    [
        (patients(9), "9 good studies, 10 are needed"),
        (patients(20, factor=0.7), "which no calibration explains"),
        (patients(20, factor=1.43), "which no calibration explains"),
        (patients(20, muscle=1.7), "muscle takes up"),
    ],
)
def test_a_wrong_scale_is_not_learned_as_usual(studies, why):
    found = learn_centre_uptake(studies)
    assert found.scanners == ()
    assert [why in str(reason) for _, reason in found.refused] == [True]


def test_the_file_holds_figures_alone_and_is_read_as_written(tmp_path):
    learned = learn_centre_uptake(patients(12, factor=0.9))
    path = tmp_path / "centre-uptake.json"
    path.write_text(learned.to_json(), encoding="utf-8")
    assert read_centre_uptake(path) == learned
    assert read_centre_uptake(path).digest == learned.digest
    data = json.loads(learned.to_json())
    assert data["scanners"][SCANNER].keys() == {"studies", "scale", "scale_spread", "tissues"}
    assert own_uptake(Settings(home=tmp_path)) == learned
    assert own_uptake(Settings(home=tmp_path / "other")) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(format="centre-uptake-0"),
        lambda data: data["scanners"][SCANNER].update(scale=-1.0),
        lambda data: data["scanners"][SCANNER].update(studies=2),
        lambda data: data["scanners"][SCANNER]["tissues"]["liver"].pop("spread"),
        lambda data: data["scanners"][SCANNER]["tissues"].update(hair={"deviation": 0, "spread": 1, "studies": 12}),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path, spoil):
    data = json.loads(learn_centre_uptake(patients(12)).to_json())
    spoil(data)
    path = tmp_path / "uptake.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SettingsError, match="usual uptake"):
        own_uptake(Settings(home=tmp_path, centre_uptake=path))
    with pytest.raises(SettingsError):
        own_uptake(Settings(home=tmp_path, centre_uptake=tmp_path / "missing.json"))


def test_another_scanner_of_the_centre_is_judged_by_what_is_published():
    class Facts:
        manufacturer, model = "Philips", " Gemini  TF"

    learned = learn_centre_uptake(patients(12))
    assert learned.of(Facts()) == learned.scanners[0]
    Facts.model = "Vereos"
    assert learned.of(Facts()) is None
    assert CentreUptake().of(Facts()) is None
