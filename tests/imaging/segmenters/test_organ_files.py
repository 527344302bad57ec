"""Organs read from the forms in which other programs write them."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from types import ModuleType

import highdicom as hd
import numpy as np
import pytest
from highdicom.sr.coding import CodedConcept
from pydicom.uid import generate_uid

from fedpet.core.errors import SettingsError, SliceGeometryError, UnreadableStudyError
from fedpet.imaging.anatomy.organ_segmentation import GivenOrgans, OrganSource
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.nifti import write_nifti
from fedpet.imaging.segmenters.organ_files import read_organs
from fedpet.imaging.segmenters.totalsegmentator import TotalSegmentatorOrgans
from fedpet.imaging.volume import Volume

SHAPE = (20, 30, 30)
PLACES = {
    "liver": np.s_[2:8, 5:15, 3:12],
    "urinary_bladder": np.s_[10:14, 8:14, 20:26],
    "vertebrae_L5": np.s_[15:18, 20:26, 4:10],
}
ANATOMY = CodedConcept("123037004", "SCT", "Anatomical Structure")


@pytest.fixture
def ct():
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-60.0, -50.0, 200.0)
    return Volume(np.zeros(SHAPE, np.int16), affine, "HU")


def drawn(ct, number=None):
    """All places as labels 1, 2, 3; or one of them as a mask."""
    array = np.zeros(SHAPE, np.uint8)
    for label, place in enumerate(PLACES.values(), start=1):
        if number in (None, label):
            array[place] = label if number is None else 1
    return ct.like(array, "label")


def expect(read, source):
    organs = read.segmentation
    assert organs.source is source
    assert organs.present == {"liver", "bladder", "vertebra_L5"}
    for name, place in zip(("liver", "bladder", "vertebra_L5"), PLACES.values(), strict=True):
        mask = np.zeros(SHAPE, bool)
        mask[place] = True
        np.testing.assert_array_equal(organs.mask(name), mask)


def with_label_table(file, names):
    """The header extension that TotalSegmentator writes: code 0, a Caret label table as XML."""
    rows = "\n".join(
        f'<Label Key="{key}" Red="1.0" Alpha="1"><![CDATA[{name}]]></Label>' for key, name in names.items()
    )
    xml = f'<?xml version="1.0"?> <CaretExtension><LabelTable>\n{rows}</LabelTable></CaretExtension>'.encode()
    xml += b"\0" * (-(len(xml) + 8) % 16)
    content = gzip.decompress(file.read_bytes())
    head = bytearray(content[:348])
    struct.pack_into("<f", head, 108, 352.0 + 8 + len(xml))
    file.write_bytes(
        gzip.compress(bytes(head) + b"\1\0\0\0" + struct.pack("<ii", 8 + len(xml), 0) + xml + content[352:])
    )


def test_a_folder_of_one_mask_a_class_as_totalsegmentator_writes_it(ct, tmp_path):
    for number, name in enumerate(PLACES, start=1):
        write_nifti(drawn(ct, number), tmp_path / f"{name}.nii.gz")
    for empty in ("spleen", "costal_cartilages"):
        write_nifti(drawn(ct, 9), tmp_path / f"{empty}.nii.gz")
    read = read_organs(tmp_path, ct)
    expect(read, OrganSource.TOTALSEGMENTATOR)
    assert "spleen" in read.segmentation.known  # it was looked for, and is not there
    assert read.left_out == ("costal_cartilages",)


def test_the_label_image_of_totalsegmentator_names_its_labels_in_the_header(ct, tmp_path):
    file = tmp_path / "organs.nii.gz"
    write_nifti(drawn(ct), file)
    with_label_table(file, dict(enumerate(PLACES, start=1)))
    expect(read_organs(file, ct), OrganSource.TOTALSEGMENTATOR)


@pytest.mark.parametrize(
    "names",
    [
        {"1": "liver", "2": "bladder", "3": "vertebra_L5", "9": "tumour"},
        {"background": 0, "liver": 1, "bladder": 2, "vertebra_L5": 3, "tumour": 9},
        {
            "labels": {"background": 0, "liver": 1, "bladder": 2, "vertebra_L5": 3, "tumour": 9},
            "file_ending": ".nii.gz",
        },
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_label_image_with_its_names_in_json(ct, tmp_path, names, beside):
    write_nifti(drawn(ct), tmp_path / "organs.nii.gz")
    table = tmp_path / ("organs.json" if beside else "dataset.json")
    table.write_text(json.dumps(names), encoding="utf-8")
    read = read_organs(tmp_path / "organs.nii.gz", ct, names=None if beside else table)
    expect(read, OrganSource.GIVEN)
    assert read.left_out == ("tumour",)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_dicom_seg_by_the_labels_or_the_codes_of_its_segments(ct, tmp_path, dicom, labelled):
    slices = dicom.ct(np.zeros(SHAPE), spacing=ct.spacing, origin=tuple(ct.affine[:3, 3]))
    for one in slices:
        dicom.to_bytes(one)
        one.PatientBirthDate = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
    codes = {"liver": "10200004", "urinary_bladder": "89837001", "vertebrae_L5": "49668003"}
    descriptions = [
        hd.seg.SegmentDescription(
            number,
            name if labelled else f"Segment {number}",
            segmented_property_category=ANATOMY,
            segmented_property_type=CodedConcept(codes[name], "SCT", name),
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(PLACES, start=1)
    ]
    hd.seg.Segmentation(
        slices,
        np.stack([drawn(ct, number).array for number in (1, 2, 3)], axis=-1),
        "BINARY",
        descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
    ).save_as(tmp_path / "organs.dcm")
    expect(read_organs(tmp_path / "organs.dcm", ct), OrganSource.TOTALSEGMENTATOR if labelled else OrganSource.GIVEN)


def test_what_cannot_be_used_is_refused_with_what_to_do(ct, tmp_path):
    file = tmp_path / "organs.nii.gz"
    write_nifti(drawn(ct), file)
    with pytest.raises(UnreadableStudyError, match="--organ-names"):
        read_organs(file, ct)
    table = tmp_path / "names.json"
    table.write_text('{"1": "lesion", "2": "something"}', encoding="utf-8")
    with pytest.raises(UnreadableStudyError, match="None of the 2 names"):
        read_organs(file, ct, names=table)
    table.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(UnreadableStudyError, match="cannot be read"):
        read_organs(file, ct, names=table)
    table.write_text('{"1": "liver"}', encoding="utf-8")
    elsewhere = Volume(ct.array, ct.affine + np.array([[0, 0, 0, 900.0]] + [[0] * 4] * 3), "HU")
    with pytest.raises(SliceGeometryError, match="No organ"):
        read_organs(file, elsewhere, names=table)


def test_a_given_segmentation_is_completed_by_rules_on_a_patient(scanned, tmp_path):
    case = scanned["slim"]
    by_rules = case.anatomy.organs
    liver = by_rules.labels.like(by_rules.mask("liver").astype(np.uint8), "label")
    write_nifti(liver, tmp_path / "organs.nii.gz")
    (tmp_path / "organs.json").write_text('{"1": "liver"}', encoding="utf-8")
    given = read_organs(tmp_path / "organs.nii.gz", case.ct).segmentation
    organs = PatientAnatomy(case.pet, case.ct, GivenOrgans(given)).organs
    assert organs.source is OrganSource.GIVEN
    assert {"ureter_right", "bladder", "bone"} <= organs.filled_in
    assert "liver" not in organs.filled_in
    np.testing.assert_array_equal(organs.labels.array, by_rules.labels.array)


def test_totalsegmentator_is_run_only_where_it_is_installed(ct):
    if "totalsegmentator" in sys.modules:
        pytest.skip("installed here")
    with pytest.raises(SettingsError, match="not installed"):
        TotalSegmentatorOrgans().segment(ct, ct)


def test_what_totalsegmentator_writes_is_what_is_read(ct, monkeypatch):
    """Its documented Python entry, in place of the program: the same call, the same file."""
    calls = []

    def totalsegmentator(image, output, **options):
        assert image.is_file()
        calls.append(options)
        write_nifti(drawn(ct), output)
        with_label_table(output, dict(enumerate(PLACES, start=1)))

    package, entry = ModuleType("totalsegmentator"), ModuleType("totalsegmentator.python_api")
    package.__spec__ = entry.__spec__ = object()
    entry.totalsegmentator = totalsegmentator
    monkeypatch.setitem(sys.modules, "totalsegmentator", package)
    monkeypatch.setitem(sys.modules, "totalsegmentator.python_api", entry)
    organs = TotalSegmentatorOrgans().segment(ct, ct)
    assert organs.present == {"liver", "bladder", "vertebra_L5"}
    assert organs.source is OrganSource.TOTALSEGMENTATOR
    assert calls == [{"task": "total", "ml": True, "fast": True, "quiet": True}]
