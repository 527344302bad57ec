"""Two dates of one patient: alignment, matching of lesions and PERCIST, with figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.response.assessment import assess_response
from fedpet.imaging.response.comparison import (
    Examination,
    LesionSummary,
    align,
    landmarks_mm,
    match_lesions,
    relative_change,
)
from fedpet.imaging.response.percist import percist_caveats, percist_response
from fedpet.imaging.volume import Volume

BODY = ((-200.0, -150.0, 0.0), (200.0, 150.0, 900.0))


def site(number, point, *, region="lung_right", mtv=5.0, peak=8.0):
    return LesionSummary(number, region, tuple(float(x) for x in point), peak + 1.0, peak, mtv)


def exam(*sites, peak=None, **facts):
    hottest = max((one.suv_peak for one in sites), default=0.0) if peak is None else peak
    known = {
        "date": "2026-01-05",
        "method": "suv4",
        "scanner": "Maker Scanner",
        "uptake_min": 60.0,
        "tmtv_ml": sum(one.mtv_ml for one in sites),
        "tlg": 100.0,
        "suv_max": hottest + 1.0,
        "suv_peak": hottest,
        "lesions": sites,
        "sul_per_suv": 0.75,
        "liver": (2.0, 0.2),
        "blood_pool": (1.5, 0.15),
        "landmarks": {},
        "body": BODY,
    }
    return Examination(**(known | facts))


def kinds(before, after):
    found = match_lesions(before, after, align(before, after))
    return {(match.kind, match.before and match.before.id, match.after and match.after.id) for match in found}


HERE = (50.0, 0.0, 400.0)


def response(before, after):
    return percist_response(before, after, match_lesions(before, after, align(before, after)))


def test_the_shift_is_the_mean_over_the_landmarks_of_both_dates():
    before = exam(landmarks={"apex": (0.0, 50.0, 700.0), "diaphragm": (2.0, 52.0, 500.0), "carina": (0.0, 0.0, 0.0)})
    after = exam(landmarks={"apex": (10.0, 40.0, 650.0), "diaphragm": (8.0, 42.0, 452.0)})
    found = align(before, after)
    assert found.shift == pytest.approx((-8.0, 10.0, 49.0))
    assert found.by == "landmarks"


def test_without_landmarks_the_bodies_are_put_together_by_their_middle_and_top():
    after = exam(body=((-180.0, -150.0, 100.0), (240.0, 130.0, 860.0)))
    found = align(exam(), after)
    assert found.shift == pytest.approx((-30.0, 10.0, 40.0))
    assert found.by == "bounds"


def test_lesions_of_one_place_are_the_same_whatever_their_numbers():
    before = exam(site(1, HERE), site(2, (-60, 0, 500), region="liver"))
    after = exam(site(1, (-62, 3, 505), region="liver"), site(2, (52, 2, 392)))
    assert kinds(before, after) == {("persisting", 1, 2), ("persisting", 2, 1)}


def test_beyond_three_centimetres_a_lesion_is_gone_and_another_new():
    before, near, far = exam(site(1, HERE)), exam(site(1, (50, 0, 429))), exam(site(1, (50, 0, 431)))
    assert kinds(before, near) == {("persisting", 1, 1)}
    assert kinds(before, far) == {("gone", 1, None), ("new", None, 1)}


def test_a_neighbouring_region_must_be_nearer():
    before = exam(site(1, HERE, region="lung_right"))
    assert kinds(before, exam(site(1, (50, 0, 414), region="hilum_right"))) == {("persisting", 1, 1)}
    assert kinds(before, exam(site(1, (50, 0, 416), region="hilum_right"))) == {("gone", 1, None), ("new", None, 1)}
    assert kinds(before, exam(site(1, (50, 0, 416), region="unknown"))) == {("persisting", 1, 1)}


def test_the_parts_of_a_split_lesion_are_not_new():
    before = exam(site(1, HERE, mtv=40.0))
    after = exam(site(1, (50, 0, 405)), site(2, (50, 0, 380)))
    assert kinds(before, after) == {("persisting", 1, 1), ("part", None, 2)}
    assert kinds(after, before) == {("persisting", 1, 1), ("part", 2, None)}
    assert response(before, after).category == "SMD"


def test_a_large_lesion_reaches_as_far_as_its_radius():
    volume = 4.0 / 3.0 * np.pi * 5.0**3  # ml of a sphere of 5 cm
    before = exam(site(1, HERE, mtv=volume))
    assert kinds(before, exam(site(1, (50, 0, 449)))) == {("persisting", 1, 1)}


def test_what_the_other_date_did_not_show_is_neither_new_nor_gone():
    short = ((-200.0, -150.0, 300.0), (200.0, 150.0, 900.0))
    below = exam(site(1, HERE), site(2, (0, 0, 100)), body=BODY)
    chest = exam(site(1, HERE), body=short)
    assert kinds(chest, below) == {("persisting", 1, 1), ("unseen", None, 2)}
    assert kinds(below, chest) == {("persisting", 1, 1), ("unseen", 2, None)}


def test_no_lesion_at_either_date_gives_no_line():
    assert kinds(exam(), exam()) == set()


@pytest.mark.parametrize(
    ("before", "after", "category"),
    [
        (8.0, 5.6, "PMR"),  # SUL 6.0 to 4.2: -30 %, -1.8
        (8.0, 5.7, "SMD"),
        (8.0, 10.4, "PMD"),
        (8.0, 10.3, "SMD"),
        (5.0, 3.4, "PMR"),  # SUL 3.75 to 2.55: -32 %, -1.2
    ],
)
def test_the_response_follows_30_percent_of_the_hottest_lesion(before, after, category):
    found = response(exam(site(1, HERE, peak=before)), exam(site(1, HERE, peak=after)))
    assert found.category == category
    assert found.quantity == "SULpeak"
    assert (found.before, found.after) == pytest.approx((before * 0.75, after * 0.75))


def test_a_fall_of_less_than_0_8_is_no_response_even_beyond_30_percent():
    weak = {"liver": (1.0, 0.05)}  # measurable from SUV 1.6, SUL 1.2
    before, after = exam(site(1, HERE, peak=3.0), **weak), exam(site(1, HERE, peak=2.0), **weak)
    assert percist_response(before, after, ()).category == "SMD"  # SUL 2.25 to 1.5: -33 %, -0.75
    lower = exam(site(1, HERE, peak=1.9), **weak)
    assert percist_response(before, lower, ()).category == "PMR"  # to 1.425: -37 %, -0.825


def test_a_new_lesion_is_progression_whatever_the_peak_does():
    found = response(exam(site(1, HERE)), exam(site(1, HERE, peak=4.0), site(2, (0, 0, 700))))
    assert found.category == "PMD"
    assert "2" in str(found.criterion)


def test_lesions_that_all_went_are_a_complete_response_to_be_confirmed():
    found = response(exam(site(1, HERE)), exam())
    assert found.category == "CMR"
    assert "confirmed" in str(found.criterion)


def test_tlg_that_grew_by_three_quarters_is_progression_unless_the_peak_fell():
    before = exam(site(1, HERE, peak=8.0), tlg=100.0)
    assert response(before, exam(site(1, HERE, peak=8.0), tlg=175.0)).category == "PMD"
    assert response(before, exam(site(1, HERE, peak=7.9), tlg=175.0)).category == "SMD"
    assert response(before, exam(site(1, HERE, peak=8.0), tlg=175.0, method="percist_liver")).category == "SMD"


def test_a_lesion_below_1_5_livers_plus_2_sd_cannot_be_followed():
    faint = exam(site(1, HERE, peak=3.39))  # 1.5 x 2.0 + 2 x 0.2 = 3.4 in SUV, 2.55 in SUL
    found = response(faint, exam(site(1, HERE, peak=1.0)))
    assert found.category == "NE"
    assert found.measurable_from == pytest.approx(2.55)
    assert response(exam(site(1, HERE, peak=3.41)), exam(site(1, HERE, peak=1.0))).category == "PMR"


def test_a_diseased_liver_is_replaced_by_the_blood_pool():
    assert exam(liver=None).measurable_from == pytest.approx(2 * 1.5 + 2 * 0.15)
    assert exam(liver=None, blood_pool=None).measurable_from is None


def test_without_lean_body_mass_suv_peak_is_followed_and_named():
    found = response(exam(site(1, HERE, peak=8.0)), exam(site(1, HERE, peak=5.0), sul_per_suv=None))
    assert (found.quantity, found.before, found.after) == ("SUVpeak", 8.0, 5.0)
    assert found.measurable_from == pytest.approx(3.4)


def test_what_makes_the_dates_less_comparable_is_said():
    assert percist_caveats(exam(), exam()) == ()
    told = " ".join(
        str(one) for one in percist_caveats(exam(), exam(uptake_min=76.0, scanner="Other", method="suv41pct"))
    )
    assert all(words in told for words in ("scanners", "60 and 76", "methods"))
    assert percist_caveats(exam(), exam(liver=(2.5, 0.2)))  # SUL 1.5 to 1.875: 0.375
    assert not percist_caveats(exam(), exam(liver=(2.35, 0.2)))  # to 1.76: 18 %
    assert "not a reference" in str(percist_caveats(exam(), exam(liver=None))[0])


def test_landmarks_are_where_the_lungs_end_and_follow_a_moved_table(dicom):
    spacing = (4.0, 4.0, 4.0)
    suv, hu, origin = dicom.thorax((200, 100, 100), spacing=spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    pet, ct = Volume(suv.astype(np.float32), affine, "g/ml"), Volume(hu.astype(np.int16), affine, "HU")
    found = landmarks_mm(PatientAnatomy(pet, ct))
    lung = np.flatnonzero(((hu > -900) & (hu < -600)).sum(axis=(1, 2)) * 0.16 >= 4.0)  # 4 cm2
    assert found["apex"][2] == pytest.approx(origin[2] + 4.0 * lung[-1], abs=8.0)
    shifted = affine.copy()
    shifted[:3, 3] += (12.0, -8.0, 40.0)
    moved = landmarks_mm(PatientAnatomy(replace(pet, affine=shifted), replace(ct, affine=shifted)))
    assert found.keys() == moved.keys() >= {"apex", "diaphragm"}
    for name, point in found.items():
        assert np.subtract(moved[name], point) == pytest.approx((12.0, -8.0, 40.0), abs=0.1)


def test_without_a_ct_there_are_no_landmarks():
    assert landmarks_mm(None) == {}


def test_an_assessment_holds_everything_of_one_comparison():
    before, after = exam(site(1, HERE, peak=8.0)), exam(site(3, HERE, peak=6.0), scanner="Other")
    found = assess_response(before, after)
    assert found.alignment == align(before, after)
    assert found.matches == match_lesions(before, after, found.alignment)
    assert found.response == percist_response(before, after, found.matches)
    assert found.caveats == percist_caveats(before, after) != ()
    assert found.matches[0].suv_peak_change == pytest.approx(-0.25)


def test_a_change_is_relative_to_the_earlier_value():
    assert relative_change(2.0, 3.0) == pytest.approx(0.5)
    assert relative_change(0.0, 3.0) is None
    (alone,) = assess_response(exam(), exam(site(1, HERE))).matches
    assert alone.suv_peak_change is None
