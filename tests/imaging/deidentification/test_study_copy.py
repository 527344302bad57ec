"""The de-identified copy: nothing that identifies is in its bytes, and its SUV is the original's bit for bit."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
from collections import Counter

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from fedpet.core.errors import FedpetError, OutputError, SeriesNotFoundError, UnreadableStudyError
from fedpet.core.pseudonyms import has_identifier, pseudonym
from fedpet.imaging.deidentification.profile import Action, IdentityTokens, action_for
from fedpet.imaging.deidentification.redaction import replaced_uid, shift_date
from fedpet.imaging.deidentification.study_copy import deidentify
from fedpet.imaging.dicom.files import InputLimits
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study

KEY = b"key of the centre"
SUV = np.random.default_rng(0).random((6, 8, 9)) * 9
PLACE = {"spacing": (4.0, 4.0, 4.0), "origin": (-16.0, -16.0, 0.0)}
# Marks put into a study by `marked`; none may be in the copy, in any case of its letters.
MARKS = (
    "DUPONT", "Jeanne", "HOSP-4711", "Quarré", "ACC778899", "Saint-Zygote", "19531224", "Machelin", "Wolfsberg",
    "PRIVATE-MARK", "NESTED-MARK", "OVERLAYMARK", "CURVEMARK", "PREAMBLEMARK", "METAMARK", "TRAILINGMARK", "SN-556677",
    "20240305", "Kreuzfeld", "WARD-12B", "TEXTMARK",
)  # fmt: skip


@pytest.fixture
def study(dicom, tmp_path):
    """A PET and a CT of one patient, as files."""
    dicom.save(dicom.pet(SUV, **PLACE), tmp_path / "source")
    return dicom.save(dicom.ct(np.full((6, 16, 18), 40), spacing=(2.0, 2.0, 4.0)), tmp_path / "source")


def copied(source, out, **more):
    report = deidentify(source, out, key=KEY, **more)
    return report, [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]


def marked(d):
    """The header of a real hospital: marks wherever identity is found, at every depth."""
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientAge = (
        "DUPONT^Jeanne=Quarré",
        "HOSP-4711",
        "19531224",
        "070Y",
    )
    d.SpecificCharacterSet = "ISO_IR 192"
    d.OtherPatientIDs, d.AccessionNumber, d.StudyID = ["HOSP-4711", "X"], "ACC778899", "WARD-12B"
    d.InstitutionName, d.InstitutionAddress = "Saint-Zygote", "12 rue Machelin"
    d.ReferringPhysicianName, d.OperatorsName, d.StationName = "Wolfsberg^A", "Kreuzfeld^B", "WARD-12B"
    d.DeviceSerialNumber, d.PatientComments = "SN-556677", "TEXTMARK"
    d.SeriesDescription, d.StudyDescription = "PET WB AC Dupont", "Saint-Zygote TEXTMARK thorax"
    d.ImageComments, d.DerivationDescription, d.PositionReferenceIndicator = "TEXTMARK", "TEXTMARK", "TEXTMARK"
    d.Manufacturer = "SYNTHETIC of Saint-Zygote"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "TEXTMARK", "Saint-Zygote", "TEXTMARK PET"
    d.ProcedureCodeSequence = [code]
    request = Dataset()
    request.RequestedProcedureDescription, request.ScheduledProcedureStepID = "NESTED-MARK", "ACC778899"
    d.RequestAttributesSequence = [request]
    equipment = Dataset()
    equipment.Manufacturer, equipment.InstitutionName, equipment.OperatorsName = "M", "Saint-Zygote", "Kreuzfeld^B"
    equipment.ContributionDateTime, equipment.PurposeOfReferenceCodeSequence = "20240305101112", [code]
    equipment.ReferencedImageSequence = [Dataset()]
    equipment.ReferencedImageSequence[0].ReferencedSOPInstanceUID = d.SOPInstanceUID
    equipment.ReferencedImageSequence[0].TextComments = "NESTED-MARK"
    nested = equipment.private_block(0x0011, "PRIVATE-MARK", create=True)
    nested.add_new(1, "LO", "NESTED-MARK")
    d.ContributingEquipmentSequence = [equipment]
    block = d.private_block(0x0011, "PRIVATE-MARK", create=True)
    block.add_new(1, "LO", "DUPONT")
    block.add_new(2, "SQ", [request])
    block.add_new(3, "UN", b"PRIVATE-MARK")
    d.add_new(Tag(0x5000, 0x0022), "LO", "CURVEMARK")
    d.add_new(Tag(0x5000, 0x3000), "OW", b"CURVEMARK ")
    d.add_new(Tag(0x6000, 0x0022), "LO", "OVERLAYMARK")
    d.add_new(Tag(0x6000, 0x3000), "OW", b"OVERLAYMARK ")
    d.add_new(Tag(0xFFFC, 0xFFFC), "OB", b"TRAILINGMARK")
    return d


def write_marked(dicom, slices, folder):
    """Files whose preamble and file meta information are marked too."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, d in enumerate(map(marked, slices)):
        dicom.to_bytes(d)
        d.file_meta.SourceApplicationEntityTitle = "METAMARK"
        d.file_meta.PrivateInformationCreatorUID = generate_uid()
        d.file_meta.PrivateInformation = b"METAMARK"
        d.preamble = b"PREAMBLEMARK".ljust(128, b"\0")
        d.save_as(folder / f"DUPONT-{d.Modality}-{number}.dcm", enforce_file_format=True)
    return folder


def test_nothing_that_identifies_is_left_in_a_byte_or_a_name(dicom, tmp_path):
    slices = dicom.pet(SUV, **PLACE) + dicom.ct(np.full((6, 16, 18), 40), spacing=(2.0, 2.0, 4.0))
    uids = {slices[0].StudyInstanceUID, slices[0].FrameOfReferenceUID, *(d.SOPInstanceUID for d in slices)}
    source = write_marked(dicom, slices, tmp_path / "in")
    before = b"".join(path.read_bytes() for path in source.iterdir()).lower()
    assert [mark for mark in MARKS if mark.lower().encode() not in before] == []  # the marks are really there
    report, copies = copied(source, tmp_path / "out")
    after = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")).lower()
    assert [mark for mark in (*MARKS, *uids) if mark.lower().encode() in after] == []
    assert len(copies) == 12
    names = [str(path.relative_to(tmp_path / "out")) for path in sorted((tmp_path / "out").rglob("*.dcm"))]
    assert names[:2] == ["01-CT/000001.dcm", "01-CT/000002.dcm"]
    assert not re.search("dupont|hosp|zygote", json.dumps(report.to_json()), re.IGNORECASE)
    (name,) = {d.PatientID for d in copies} | {str(d.PatientName) for d in copies}
    assert has_identifier(name, pseudonym("HOSP-4711", KEY))


def test_an_attribute_that_nobody_foresaw_does_not_carry_text_out(dicom, tmp_path):
    """Every attribute of the DICOM dictionary that may hold text, at the top and in a sequence, holds a mark."""
    texts = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR", "CS", "OB", "UN", "OW")
    (d,), inner = dicom.pet(SUV[:1], **PLACE), Dataset()
    for number, (vr, _, _, retired, keyword) in DicomDictionary.items():
        tag = Tag(number)
        unfit = tag.group < 0x0008 or tag.group == 0xFFFC or tag in d or keyword == "SpecificCharacterSet"
        if vr in texts and not retired and keyword and not unfit:
            value = "ZYGOTE^Q" if vr == "PN" else "ZYGOTE"
            for dataset in (d, inner):
                dataset.add_new(tag, vr, value.encode() if vr in ("OB", "UN", "OW") else value)
    d.PatientName, d.Manufacturer = "ZYGOTE^Q", "Zygote & Co"
    inner.add_new(Tag("PixelData"), "OW", b"ZYGOTE")
    d.ContributingEquipmentSequence, d.SourceImageSequence = [inner], [inner]
    source = dicom.save([d], tmp_path / "in") / "00000"
    assert source.read_bytes().count(b"ZYGOTE") > 1000
    copied(source, tmp_path / "out")
    assert b"zygote" not in (tmp_path / "out" / "01-PT" / "000001.dcm").read_bytes().lower()


def test_suv_and_hu_of_the_copy_are_those_of_the_original_bit_for_bit(study, tmp_path):
    copied(study, tmp_path / "out")
    before, after = load_study(study, pseudonym_key=KEY), load_study(tmp_path / "out", pseudonym_key=KEY)
    np.testing.assert_array_equal(after.pet.array, before.pet.array)
    np.testing.assert_array_equal(after.ct.array, before.ct.array)
    np.testing.assert_array_equal(after.pet.affine, before.pet.affine)
    for name in ("suv_factor_min", "suv_factor_max", "uptake_min", "reference_time_source", "factor_rule", "dose_bq",
                 "weight_kg", "height_m", "sex", "radiopharmaceutical", "manufacturer", "model"):  # fmt: skip
        assert getattr(after.pet_facts, name) == getattr(before.pet_facts, name), name
    described = [
        Counter((one.modality, one.chosen, one.description) for one in study.series) for study in (before, after)
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize("kind", ["enhanced", "legacy_converted"])
def test_multi_frame_objects_survive_too(dicom, tmp_path, kind):
    """Weight, tracer, times and units in functional groups, real world values and unassigned attributes."""
    whole = getattr(dicom, kind)(dicom.pet(SUV, **PLACE))
    source = dicom.save([whole], tmp_path / "in")
    _, (copy,) = copied(source, tmp_path / "out")
    before, after = (load_study(folder, pseudonym_key=KEY) for folder in (source, tmp_path / "out"))
    np.testing.assert_array_equal(after.pet.array, before.pet.array)
    assert after.pet_facts.uptake_min == before.pet_facts.uptake_min == 60
    content = (tmp_path / "out" / "01-PT" / "000001.dcm").read_bytes()
    assert not any(mark in content for mark in (b"DUPONT", b"HOSP-4711", b"20240305"))
    assert copy.NumberOfFrames == len(SUV)


@pytest.mark.reference_data
@pytest.mark.parametrize(
    "name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_4", "DRO_3_0", "DRO_3_1", "DRO_4_1", "DRO_5_0"]
)
def test_every_unit_vendor_and_decay_correction_survives(reference_data, tmp_path, name):
    """Private factors of Philips, private times of GE, multi-slope and gram-weighted objects of the IBSI."""
    source = reference_data / "dro" / name
    report, _ = copied(source, tmp_path / "out")
    before, after = (load_study(folder, pseudonym_key=KEY, require="images") for folder in (source, tmp_path / "out"))
    np.testing.assert_array_equal(after.pet.array, before.pet.array)
    assert after.pet_facts.reference_time_source == before.pet_facts.reference_time_source
    assert report.series == (("PT", 20), ("RTSTRUCT", 1))
    contours = [
        read_mask(folder, s.pet, study=s).labels.array
        for folder, s in ((source / "RS", before), (tmp_path / "out", after))
    ]
    np.testing.assert_array_equal(*contours)


@pytest.mark.reference_data
@pytest.mark.parametrize("name", ["STS_002", "STS_008", "STS_042"])
def test_real_scans_survive(reference_data, tmp_path, name):
    source = reference_data / "sts" / name
    copied(source, tmp_path / "out")
    before, after = load_study(source, pseudonym_key=KEY), load_study(tmp_path / "out", pseudonym_key=KEY)
    np.testing.assert_array_equal(after.pet.array, before.pet.array)
    np.testing.assert_array_equal(after.ct.array, before.ct.array)
    assert after.pet_facts.uptake_min == before.pet_facts.uptake_min


@pytest.mark.reference_data
def test_a_real_scanners_header_loses_its_hospital(reference_data, tmp_path):
    """JPEG 2000, private blocks, request attributes, and codes of the hospital's own with its name as their scheme."""
    copied(reference_data / "small" / "ct_mct_j2klossless_20slices", tmp_path / "out")
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm"))
    for mark in (b"Basel", b"Petersgraben", b"USB.PROCEDURES", b"NPONKINF", b"30543134", b"PETCT2", b"60064", b"2022"):
        assert mark not in content, mark


def test_dates_move_together_and_times_and_uptake_stay(dicom, tmp_path):
    drug = dicom.tracer(RadiopharmaceuticalStartDateTime="20240305090000.25+0100")
    slices = dicom.pet(
        SUV, **PLACE, drug=drug, TimezoneOffsetFromUTC="+0100", StudyDate="20240229", ContentDate="20240306"
    )
    for d in slices:
        block = d.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", "20240305100000.5")
    _, copies = copied(dicom.save(slices, tmp_path / "in"), tmp_path / "out")
    d = copies[0]
    day = dt.datetime.strptime(d.SeriesDate, "%Y%m%d").date()  # noqa: DTZ007  a date
    moved = dt.date(2024, 3, 5) - day
    assert 365 <= moved.days <= 3650
    assert d.StudyDate == (dt.date(2024, 2, 29) - moved).strftime("%Y%m%d")
    assert d.ContentDate == (dt.date(2024, 3, 6) - moved).strftime("%Y%m%d")
    injected = d.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime
    assert injected == f"{day:%Y%m%d}090000.25+0100"
    assert d.private_block(0x0009, "GEMS_PETD_01")[0x0D].value == f"{day:%Y%m%d}100000.5"
    assert (d.SeriesTime, d.AcquisitionTime, d.TimezoneOffsetFromUTC) == ("100000", "100000", "+0100")
    before, after = (load_study(tmp_path / name, pseudonym_key=KEY).pet_facts for name in ("in", "out"))
    assert after.uptake_min == before.uptake_min == pytest.approx(60, abs=0.01)
    assert d.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20240301", "20240229"), ("2024.03.01", "20240229"),
        ("20240301101112.345678-0500", "20240229101112.345678-0500"),
        ("20240301 ", "20240229"), ("20240101", "20231231"), ("202403", ""), ("DUPONT", ""), ("20241301", ""), ("", ""),
        ("20240301DUPONT", ""), ("20240301-20240302", ""), ("00010101", ""), ("19000101", "18991231"),
        ("2024-03-01", "20240229"), ("20240301T101112", "20240229101112.000000"), ("20240301\0", "20240229"),
        ("2024-03-01T10:11:12.5+01:00", "20240229101112.500000+0100"), ("20240301 10:11", "20240229101100.000000"),
        ("20240301101112.1234567", "20240229101112.123456"), ("01/03/2024", ""), ("2024-03-01T25:00:00", ""),
    ],
)  # fmt: skip
def test_a_date_is_moved_or_lost(value, moved):
    assert shift_date(value, 1) == moved


def test_one_key_gives_one_copy_and_another_key_another(study, tmp_path):
    for name, key in (("one", KEY), ("two", KEY), ("three", b"other")):
        deidentify(study, tmp_path / name, key=key)
    one, two, three = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.dcm")}
        for name in ("one", "two", "three")
    )
    assert one == two
    assert one.keys() == three.keys()
    for name in one:
        a, b = (pydicom.dcmread(tmp_path / folder / name) for folder in ("one", "three"))
        assert a.PatientID != b.PatientID
        assert a.SOPInstanceUID != b.SOPInstanceUID
        assert a.SeriesDate != b.SeriesDate


def test_uids_are_replaced_consistently_and_those_of_the_standard_stay(study, tmp_path):
    _, copies = copied(study, tmp_path / "out")
    assert len({d.SOPInstanceUID for d in copies}) == 12
    assert len({d.StudyInstanceUID for d in copies}) == len({d.FrameOfReferenceUID for d in copies}) == 1
    assert len({d.SeriesInstanceUID for d in copies}) == 2
    assert all(d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID for d in copies)
    assert CTImageStorage in {d.SOPClassUID for d in copies}
    new = UID(replaced_uid("1.2.3", KEY))
    assert new.is_valid
    assert new.startswith("2.25.")
    assert replaced_uid("1.2.3", KEY) == new != replaced_uid("1.2.3", b"other")
    assert replaced_uid(CTImageStorage, KEY) == CTImageStorage


def test_safe_private_values_stay_and_all_others_go(dicom, tmp_path):
    slices = dicom.pet(SUV, **PLACE)
    for d in slices:
        block = d.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.00012345")
        block.add_new(0x09, "DS", "1.25")
        block.add_new(0x03, "ST", "DUPONT")
        other = d.private_block(0x0071, "SIEMENS MED PT", create=True)
        other.add_new(0x22, "DT", "20240305100000")
        other.add_new(0x23, "LO", "DUPONT")
    report, copies = copied(dicom.save(slices, tmp_path / "in"), tmp_path / "out")
    for d in copies:
        private = [element for element in d if element.tag.is_private and not element.tag.is_private_creator]
        assert [(e.tag, str(e.value)) for e in private][1:] == [(0x70531000, "0.00012345"), (0x70531009, "1.25")]
        assert private[0].tag == 0x00711022
        assert private[0].value.startswith(d.SeriesDate)
    assert report.attributes["removed"]["private"] == 6 * 7


def test_a_private_value_that_is_no_number_or_time_is_not_safe(dicom, tmp_path):
    slices = dicom.pet(SUV, **PLACE)
    for d in slices:
        d.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "LO", "DUPONT")
        d.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "LO", "20240305DUPONT")
    _, copies = copied(dicom.save(slices, tmp_path / "in"), tmp_path / "out")
    assert not any(element.tag.is_private for d in copies for element in d)


@pytest.mark.parametrize(
    ("description", "cleaned"),
    [
        ("PET WB AC", "PET WB AC"),
        ("PET_WB-AC 3.27mm", "PET_WB-AC 3.27mm"),
        ("Tête-Cou TEP", "Tête-Cou TEP"),
        ("PET Dupont 1953 AC", "PET AC"),
        ("CT thorax 05/03/24", "CT thorax"),
        ("[18F]FDG thorax Dupont", "18F FDG thorax"),
        ("PETdupont", ""),
        ("CT\nwith contrast", "CT with contrast"),
    ],
)
def test_descriptions_keep_the_words_of_a_vocabulary(description, cleaned):
    d = Dataset()
    d.PatientName = "Durand^Anne"
    assert IdentityTokens(d).cleaned(description) == cleaned


def test_a_name_that_is_a_word_of_the_vocabulary_goes_all_the_same():
    d = Dataset()
    d.PatientName, d.OperatorsName = "Cap^Rein", "PET^CT"  # an operator called PET must not take the word away
    assert IdentityTokens(d).cleaned("PET CT Rein AC") == "PET CT AC"


def test_numbers_are_never_rewritten_and_texts_in_their_place_are_lost(dicom, tmp_path):
    slices = dicom.pet(SUV, **PLACE)
    content = dicom.to_bytes(slices[0])
    weight = content.replace(b"70.0", b"70.1")  # kept as written
    assert weight != content
    bad = re.sub(rb"(\x10\x00\x20\x10DS\x04\x00)1.7 ", rb"\1EVE!", weight)
    assert bad != weight
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(bad)
    _, (d,) = copied(tmp_path / "in", tmp_path / "out")
    assert d.PatientWeight.original_string == "70.1"
    assert d.get("PatientSize") is None


def test_the_method_is_stated(study, tmp_path):
    _, copies = copied(study, tmp_path / "out")
    for d in copies:
        assert d.PatientIdentityRemoved == "YES"
        assert [item.CodeValue for item in d.DeidentificationMethodCodeSequence] == [
            "113100", "113103", "113105", "113107", "113108", "113111",
        ]  # fmt: skip
        assert all(len(text) <= 64 for text in d.DeidentificationMethod)
        assert (d.PatientSex, d.PatientWeight, d.PatientSize) == ("F", 70, 1.7)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
def test_every_encoding_becomes_plain_with_the_same_pixels(dicom, tmp_path, syntax):
    plain = dicom.save(dicom.pet(np.random.default_rng(1).random((5, 64, 64)), **PLACE), tmp_path / "plain")
    (tmp_path / "in").mkdir()
    for path in plain.iterdir():
        d = pydicom.dcmread(path)
        if syntax.is_encapsulated:
            d.compress(syntax, generate_instance_uid=False)
        elif not syntax.is_little_endian:
            d.PixelData = np.frombuffer(d.PixelData, "<u2").byteswap().tobytes()
            for element in d.iterall():  # what was read becomes values, which pydicom writes in any order of bytes
                assert element.VR
            d.set_original_encoding(False, False)
        d.file_meta.TransferSyntaxUID = syntax
        d.save_as(tmp_path / "in" / path.name, enforce_file_format=True)
    _, copies = copied(tmp_path / "in", tmp_path / "out")
    assert {d.file_meta.TransferSyntaxUID for d in copies} == {"1.2.840.10008.1.2.1"}
    before, after = (load_study(folder, pseudonym_key=KEY) for folder in (plain, tmp_path / "out"))
    np.testing.assert_array_equal(after.pet.array, before.pet.array)


def test_a_comment_in_a_compressed_stream_does_not_travel(dicom, tmp_path):
    d = pydicom.dcmread(dicom.save(dicom.ct(np.full((1, 64, 64), 40)), tmp_path / "plain") / "00000")
    d.compress(JPEG2000Lossless, generate_instance_uid=False)
    stream = pydicom.encaps.get_frame(d.PixelData, 0, number_of_frames=1)
    comment = b"\xff\x64" + (4 + 6).to_bytes(2, "big") + b"\0\1DUPONT"
    place = stream.index(b"\xff\x90")  # before the first tile
    d.PixelData = pydicom.encaps.encapsulate([stream[:place] + comment + stream[place:]])
    (tmp_path / "in").mkdir()
    d.save_as(tmp_path / "in" / "a")
    assert b"DUPONT" in pydicom.dcmread(tmp_path / "in" / "a").PixelData
    _, (copy,) = copied(tmp_path / "in", tmp_path / "out")
    assert b"DUPONT" not in (tmp_path / "out" / "01-CT" / "000001.dcm").read_bytes()
    assert (copy.pixel_array == 1064).all()


def test_an_overlay_in_unused_bits_and_bytes_after_the_pixels_do_not_travel(dicom, tmp_path):
    slices = dicom.ct(np.full((6, 16, 16), 40), BitsStored=12, HighBit=11, PixelRepresentation=0)
    for d in slices:
        pixels = np.frombuffer(d.PixelData, "<u2").copy()
        pixels[::3] |= 0x8000  # an overlay drawn into bit 15 (PS3.5 8.1.2, retired)
        d.PixelData = pixels.tobytes() + b"TRAILINGMARK"
    _, copies = copied(dicom.save(slices, tmp_path / "in"), tmp_path / "out")
    for d in copies:
        assert (np.frombuffer(d.PixelData, "<u2") == 1064).all()


def other_object(dicom, **tags):
    d = dicom.ct(np.full((1, 16, 16), 40))[0]
    for keyword, value in tags.items():
        setattr(d, keyword, value)
    return d


@pytest.mark.parametrize(
    ("reason", "tags"),
    [
        ("burned_in_annotation", {"BurnedInAnnotation": "YES"}),
        ("screenshot", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        ("screenshot", {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}),
        ("screenshot", {"PhotometricInterpretation": "RGB"}),
        ("secondary_capture", {"SOPClassUID": SecondaryCaptureImageStorage}),
        ("structured_report", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"}),
        ("encapsulated_document", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1", "Modality": "DOC"}),
        ("presentation_state", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1", "Modality": "PR"}),
        ("other_kind", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}),
        ("damaged", {"Rows": 4000}),
    ],
)
def test_what_may_show_the_patient_is_left_out_with_the_reason(dicom, study, tmp_path, reason, tags):
    dicom.save([other_object(dicom, **tags)], study)
    report, copies = copied(study, tmp_path / "out")
    assert report.left_out == {reason: 1}
    assert len(copies) == 12


def test_a_pet_whose_values_lie_in_bits_not_in_use_is_left_out_and_not_changed(dicom, tmp_path):
    """Without these bits its SUV would be another."""
    source = dicom.save(dicom.pet(np.full((6, 8, 8), 9.0), BitsStored=12, HighBit=11), tmp_path / "in")
    dicom.save(dicom.ct(np.zeros((6, 8, 8))), source)
    report, _ = copied(source, tmp_path / "out")
    assert report.left_out == {"bits_outside_header": 6}


def test_what_is_not_dicom_is_counted(study, tmp_path):
    (study / "readme.txt").write_text("DUPONT")
    report, _ = copied(study, tmp_path / "out")
    assert report.to_json()["skipped"] == 1
    assert report.to_json()["written"] == 12
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".dcm"}


def test_a_copy_of_nothing_is_refused_and_leaves_nothing(dicom, tmp_path):
    source = dicom.save([other_object(dicom, BurnedInAnnotation="YES")], tmp_path / "in")
    with pytest.raises(SeriesNotFoundError, match=r"None of 1 DICOM files can be copied \(burned in annotation: 1\)"):
        deidentify(source, tmp_path / "out", key=KEY)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_folder_that_holds_something_is_refused(study, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        deidentify(study, tmp_path / "out", key=KEY)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_empty_folder_is_taken(study, tmp_path):
    (tmp_path / "out").mkdir()
    assert len(copied(study, tmp_path / "out")[1]) == 12


def test_nothing_half_written_is_left_on_failure(study, tmp_path):
    seen = []

    def stop(fraction, _):
        seen.append([path.name for path in tmp_path.iterdir()])
        if fraction > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deidentify(study, tmp_path / "out", key=KEY, progress=stop)
    assert any(len(names) == 2 for names in seen)  # it was under way, beside the source
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_cannot_be_written_is_refused(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        deidentify(study, tmp_path / "file" / "out", key=KEY)


def test_limits_hold(study, tmp_path):
    with pytest.raises(UnreadableStudyError):
        deidentify(study, tmp_path / "out", key=KEY, limits=InputLimits(max_files=3))
    assert not (tmp_path / "out").exists()


def test_an_archive_is_copied_like_its_folder(dicom, study, tmp_path):
    members = [(f"DUPONT/{path.name}", path.read_bytes()) for path in sorted(study.iterdir())]
    archive = dicom.zipped(members, tmp_path / "DUPONT.zip")
    copied(study, tmp_path / "a")
    copied(archive, tmp_path / "b")
    for path in (tmp_path / "a").rglob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_contours_still_fit_the_images_of_the_copy(dicom, study, tmp_path):
    d, contour, roi, drawn, kind = (Dataset() for _ in range(5))
    image = pydicom.dcmread(study / "00002")
    d.SOPClassUID, d.SOPInstanceUID, d.Modality = RTStructureSetStorage, generate_uid(), "RTSTRUCT"
    d.PatientName, d.PatientID, d.StudyInstanceUID = image.PatientName, image.PatientID, image.StudyInstanceUID
    d.SeriesInstanceUID, d.StructureSetLabel, d.StructureSetDate = generate_uid(), "Dupont GTV", "20240306"
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "GTV Dupont", image.FrameOfReferenceUID
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [-10, -10, 8, 10, -10, 8, 10, 10, 8, -10, 10, 8]
    contour.ContourImageSequence = [Dataset()]
    contour.ContourImageSequence[0].ReferencedSOPClassUID = image.SOPClassUID
    contour.ContourImageSequence[0].ReferencedSOPInstanceUID = image.SOPInstanceUID
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, [contour]
    kind.ObservationNumber, kind.ReferencedROINumber, kind.RTROIInterpretedType, kind.ROIInterpreter = (
        1,
        1,
        "GTV",
        "Wolf^B",
    )
    d.StructureSetROISequence, d.ROIContourSequence, d.RTROIObservationsSequence = [roi], [drawn], [kind]
    (study / "RS").write_bytes(dicom.to_bytes(d))
    before = load_study(study, pseudonym_key=KEY)
    expected = read_mask(study, before.pet, study=before).labels.array
    copied(study, tmp_path / "out")
    after = load_study(tmp_path / "out", pseudonym_key=KEY)
    np.testing.assert_array_equal(read_mask(tmp_path / "out", after.pet, study=after).labels.array, expected)
    copy = pydicom.dcmread(next((tmp_path / "out").glob("*-RTSTRUCT/*")))
    reference = copy.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID
    assert reference in after.source_uids["PT"]
    assert (copy.StructureSetLabel, copy.StructureSetROISequence[0].ROIName) == ("GTV", "GTV")


def test_two_patients_get_two_pseudonyms_and_two_shifts(dicom, tmp_path):
    dicom.save(dicom.pet(SUV, **PLACE), tmp_path / "in")
    dicom.save(
        dicom.pet(SUV, **PLACE, series="b", PatientID="OTHER-1", StudyInstanceUID=generate_uid()), tmp_path / "in"
    )
    report, copies = copied(tmp_path / "in", tmp_path / "out")
    for name, identifier in zip(report.pseudonyms, ("HOSP-4711", "OTHER-1"), strict=True):
        assert has_identifier(name, pseudonym(identifier, KEY))
    assert len({(d.PatientID, d.SeriesDate) for d in copies}) == 2
    assert len({d.SeriesDate for d in copies}) == 2


@pytest.mark.parametrize(
    ("keyword", "vr", "action"),
    [
        ("PatientBirthDate", "DA", Action.EMPTY), ("PatientBirthTime", "TM", Action.REMOVE),
        ("PatientSex", "CS", Action.KEEP), ("EthnicGroup", "SH", Action.REMOVE), ("SmokingStatus", "CS", Action.REMOVE),
        ("SeriesDate", "DA", Action.SHIFT), ("SeriesTime", "TM", Action.KEEP),
        ("FrameAcquisitionDateTime", "DT", Action.SHIFT),
        ("ScheduledProcedureStepStartDate", "DA", Action.REMOVE), ("InstitutionName", "LO", Action.EMPTY),
        ("ReferringPhysicianName", "PN", Action.EMPTY), ("OriginalAttributesSequence", "SQ", Action.REMOVE),
        ("ReferencedImageSequence", "SQ", Action.KEEP), ("FrameOfReferenceUID", "UI", Action.UID),
        ("PixelData", "OW", Action.REMOVE), ("EncapsulatedDocument", "OB", Action.REPLACE),
        ("IconImageSequence", "SQ", Action.REMOVE),
    ],
)  # fmt: skip
def test_the_profile_and_its_options_decide(keyword, vr, action):
    assert action_for(Tag(keyword), vr) is action


def test_the_table_of_the_library_is_the_one_relied_on():
    """An upgrade of dicom-anonymizer that renames or empties a list must fail here, not leak."""
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile

    counts = Counter({name: len(getattr(profile, name)) for name in dir(profile) if name.endswith("_TAGS")})
    assert counts["ALL_TAGS"] >= 631
    named = sum(count for name, count in counts.items() if name != "ALL_TAGS")
    assert named == counts["ALL_TAGS"]


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools is not installed")
def test_the_copy_conforms_where_the_original_does(dicom, tmp_path):
    slices = dicom.ct(np.full((6, 16, 18), 40))
    source = write_marked(dicom, slices, tmp_path / "in")
    copied(source, tmp_path / "out")
    before, after = (
        {re.sub(r"<[^>]*>|\d{2,}", "", line) for path in folder.rglob("*.dcm") for line in complaints(path)}
        for folder in (source, tmp_path / "out")
    )
    assert after <= before


def complaints(path):
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in run.stderr.splitlines() if line.startswith("Error")]


def test_errors_name_no_patient(dicom, tmp_path):
    source = write_marked(dicom, [other_object(dicom, BurnedInAnnotation="YES")], tmp_path / "DUPONT")
    with pytest.raises(FedpetError) as refusal:
        deidentify(source, tmp_path / "out", key=KEY)
    assert not any(mark in str(refusal.value) for mark in MARKS)


def test_the_command_writes_the_copy_and_json_alone(study, tmp_path, monkeypatch):
    import typer
    from typer.testing import CliRunner

    from app.cli.deidentify import deidentify as command

    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    main = typer.Typer()
    main.command()(command)
    run = CliRunner().invoke(main, [str(study), str(tmp_path / "out"), "--json"])
    assert run.exit_code == 0
    report = json.loads(run.stdout)
    assert report["written"] == 12
    assert report["series"] == [{"modality": "PT", "files": 6}, {"modality": "CT", "files": 6}]
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 12
    again = CliRunner().invoke(main, [str(study), str(tmp_path / "out"), "--json"])
    assert again.exit_code == 2
    assert json.loads(again.stdout)["error"]["kind"] == "OutputError"
