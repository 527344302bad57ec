"""A de-identified copy has the same SUV, or is refused as its source is: over whatever headers may hold."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from fedpet.core.errors import SeriesNotFoundError, StudyError
from fedpet.imaging.deidentification.study_copy import deidentify
from fedpet.imaging.loading import load_study

KEY = b"key of a centre"
PLAIN = {"PatientName": "DUPONT^Jeanne", "PatientID": "HOSP-4711"}
SUV = np.random.default_rng(5).uniform(0.2, 6.0, (5, 4, 4))
START = dt.timedelta(hours=10)
TIMES = ("%H%M%S", "%H%M%S.%f", "%H%M", "%H:%M:%S", "T%H%M%S", "%H:%M:%S.%f", "%H%M%S%f", "%H%M%S.%f7")
STAMPS = (
    "%Y%m%d%H%M%S", "%Y%m%d%H%M%S.%f", "%Y%m%dT%H%M%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y%m%d %H%M%S",
    "%Y%m%d%H%M%S%f", "%Y-%m-%dT%H:%M:%S.%f1",
)  # fmt: skip
ODD = st.sampled_from(
    ["", "0", "000000", "9h30", "DUPONT", "20240305", "nan", "-1", "24:00", "1e6", "70,5", "99999999"]
)


def code(value, scheme):
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, "code"
    if scheme:
        item.CodingSchemeDesignator = scheme
    return item


@st.composite
def headers(draw):
    """What is written into the PET's headers: (tags, tags of the tracer, private elements, padding, odd slice)."""
    years = st.sampled_from([1900, 1901, 1909, 1960, 1999, 2000, 2024, 2100])
    day = dt.datetime(draw(years), draw(st.integers(1, 12)), draw(st.integers(1, 28)))  # noqa: DTZ001
    start = day + dt.timedelta(minutes=draw(st.integers(0, 1439)))
    injected = start - dt.timedelta(minutes=draw(st.integers(-5, 200)))
    pad = draw(st.sampled_from(["", " ", "\0"]))
    zone = draw(st.sampled_from(["", "", "+0100", "-0330"]))
    kind = draw(st.sampled_from(["BQML", "BQML", "BQML", "CNTS", "GML", "CM2ML"]))
    correction = draw(st.sampled_from(["START", "START", "ADMIN", "NONE"]))
    date = draw(st.sampled_from(["%Y%m%d", "%Y.%m.%d", "%Y-%m-%d"]))
    tags = {
        "PatientName": draw(st.sampled_from(["DUPONT^Jeanne", "START^Anna", "BQML^Decy", "FDG^Static"])),
        "PatientID": draw(st.sampled_from(["HOSP-4711", "+0100", "77004003"])),
        "StudyDate": day.strftime(date), "SeriesDate": start.strftime(date) + pad,
        "AcquisitionDate": start.strftime(date),
        "SeriesTime": start.strftime(draw(st.sampled_from(TIMES))) + pad,
        "AcquisitionTime": start.strftime(draw(st.sampled_from(TIMES))),
        "TimezoneOffsetFromUTC": draw(st.sampled_from(["", "", zone, "+0100", "0100"])),
        "Units": kind, "DecayCorrection": correction,
        "CorrectedImage": ["NORM", "ATTN"] + ["DECY"] * (correction != "NONE"),
        "PatientWeight": draw(st.sampled_from(["70", "70.0", "70000", "64.25", " 81", "70,5"])),
        "PatientSize": draw(st.sampled_from(["1.7", "170", ""])),
        "SUVType": draw(st.sampled_from(["", "BW", "LBM"])) if kind == "GML" else "",
        "DecayFactor": draw(st.sampled_from(["", "1.006", "1.3"])),
        "FrameReferenceTime": draw(st.sampled_from(["", "0", "60000.5"])),
    }  # fmt: skip
    tracer = {
        "RadionuclideTotalDose": draw(st.sampled_from(["280000000", "2.8E+08", "280", "+310e6", "7.6"])),
        "RadionuclideHalfLife": draw(st.sampled_from(["6586.2", "6588", "6586.2001953125", None, None, "109.8"])),
        "RadionuclideCodeSequence": [code("C-111A1", draw(st.sampled_from(["SRT", "", "Clinique Dupont"])))],
        "RadiopharmaceuticalStartTime": draw(st.sampled_from([injected.strftime(form) for form in TIMES] + [None])),
        "RadiopharmaceuticalStartDateTime": draw(
            st.sampled_from([injected.strftime(form) + zone + pad for form in STAMPS] + [None])
        ),
    }
    private = {}
    if draw(st.booleans()):
        private["GE"] = [
            (0x0D, start.strftime(draw(st.sampled_from(STAMPS)))),
            (0x3B, injected.strftime("%Y%m%d%H%M%S")),
        ]
    if kind == "CNTS" or draw(st.booleans()):
        private["Philips"] = draw(st.sampled_from(["DS", "FD", "FL", "UN text", "UN double", "UN float"]))
    padding = draw(st.sampled_from([b"", b"\0\0", b"\0" * 30]))
    named = [
        name for name in (*tags, *tracer) if not name.endswith("Sequence") and name not in ("PatientName", "PatientID")
    ]
    odd = draw(st.none() | st.none() | st.none() | st.tuples(st.sampled_from([0, 2, 4]), st.sampled_from(named), ODD))
    return tags, tracer, private, padding, odd


def philips(one, kind):
    one.add_new((0x7053, 0x10), "LO", "Philips PET Private Group")
    for element, value in ((0x1000, 0.00055123456789), (0x1009, 1.602563)):
        binary = {"UN double": np.float64(value).tobytes(), "UN float": np.float32(value).tobytes()}
        written = {"DS": f"{value:.10g}", "UN text": f"{value:.10g}".encode(), "FD": value, "FL": value} | binary
        one.add_new((0x7053, element), kind.split()[0], written[kind])


def as_written(target, keyword, value):
    """An attribute with a text that need not fit its representation."""
    if value is None:
        target.pop(keyword, None)
        return
    content = value.encode() + b" " * (len(value) % 2)
    target[Tag(keyword)] = RawDataElement(
        Tag(keyword), dictionary_VR(keyword), len(content), content, 0, is_implicit_VR=False, is_little_endian=True
    )


def write(dicom, folder, case):
    tags, tracer, private, padding, odd = case
    texts, others = (
        {key: value for key, value in tags.items() if isinstance(value, str) is textual} for textual in (True, False)
    )
    slices = dicom.pet(SUV, **others)
    for place, one in enumerate(slices):
        drug = dicom.tracer(RadionuclideCodeSequence=tracer.get("RadionuclideCodeSequence"))
        one.RadiopharmaceuticalInformationSequence = [drug]
        for target, values in ((one, texts), (drug, tracer)):
            for keyword, value in values.items():
                if not keyword.endswith("Sequence"):
                    as_written(target, keyword, value)
        for element, value in private.get("GE", ()):
            one.add_new((0x0009, 0x10), "LO", "GEMS_PETD_01")
            one.add_new((0x0009, 0x1000 + element), "DT", value)
        if "Philips" in private:
            philips(one, private["Philips"])
        one.PixelData += padding
        if odd and place == odd[0]:
            as_written(drug if odd[1].startswith("Radio") else one, odd[1], odd[2])
    dicom.save(slices, folder)


def outcome(folder):
    """The PET in SUV, or None where it is refused."""
    try:
        return load_study(folder, pseudonym_key=KEY, require="suv").pet.array
    except StudyError:
        return None


ISO = {"RadiopharmaceuticalStartDateTime": "20240305T090000", "RadiopharmaceuticalStartTime": None}


@pytest.mark.filterwarnings("ignore")  # of pydicom, about what is planted here
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(case=(PLAIN, ISO, {}, b"", None))
@example(case=(PLAIN | {"SeriesTime": "10:00:00", "AcquisitionTime": "T100000"}, {}, {}, b"", None))
@example(
    case=(PLAIN | {"StudyDate": "19000101", "SeriesDate": "19000101", "AcquisitionDate": "19000101"}, {}, {}, b"", None)
)
@example(case=(PLAIN, {}, {}, b"\0" * 20, None))
@example(case=(PLAIN, {}, {}, b"", (2, "PatientWeight", "DUPONT")))
@example(case=(PLAIN, {}, {}, b"", (0, "RadiopharmaceuticalStartTime", "9h30")))
@given(case=headers())
def test_the_copy_has_the_suv_of_its_source_or_is_refused_as_it_is(dicom, case):
    with tempfile.TemporaryDirectory() as scratch:
        source, copy = Path(scratch, "source"), Path(scratch, "copy")
        write(dicom, source, case)
        expected = outcome(source)
        try:
            deidentify(source, copy, key=KEY)
        except SeriesNotFoundError:
            assert expected is None
            return
        after = outcome(copy)
        content = b"".join(path.read_bytes() for path in copy.rglob("*.dcm"))
    assert (after is None) is (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(after, expected)
    assert b"HOSP-4711" not in content
    assert b"DUPONT" not in content
    assert b"Clinique" not in content
