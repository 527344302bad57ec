"""Collections laid out exactly as autoPET is, in both its forms, with synthetic patients; and masks from elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import generate_uid

from fedpet.core.errors import IncompatibleBundleError, NodeDataError, UnreadableStudyError
from fedpet.imaging.nifti import write_nifti
from fedpet.imaging.study import PetCtStudy
from fedpet.imaging.volume import Volume
from inference.input_contract import default_contract
from inference.lesion_network import LesionNetwork
from training.data.annotated_scans import find_studies, read_scan
from training.data.lesion_cases import UNKNOWN_FACTS, import_scans, score_scans
from training.organs.lesions import train_lesions
from training.organs.training_run import OrganTraining

KEY = b"a centre's secret"
STEP = (4.0, 4.0, 4.0)
STUDIES = {
    "PETCT_0011f3deaf": "03-23-2003-NA-PET-CT Ganzkoerper  primaer mit KM-54651",
    "PETCT_01140d52d8": "08-13-2005-NA-PET-CT Ganzkoerper  primaer mit KM-56839",
}
LESION = np.s_[30:34, 40:45, 30:35]


def grid(array, unit, origin):
    affine = np.diag([*STEP, 1.0])
    affine[:3, 3] = origin
    return Volume(array, affine, unit)


@pytest.fixture(scope="module")
def patient(dicom):
    """SUV, HU and lesions of a crude thorax."""
    suv, hu, origin = dicom.thorax()
    drawn = np.zeros(suv.shape, np.uint8)
    drawn[suv > 8] = 1
    return suv.astype(np.float32), hu, drawn, origin


@pytest.fixture(scope="module")
def converted(patient, tmp_path_factory):
    """`FDG-PET-CT-Lesions` as the collection's own script converts it; the second patient has no lesion."""
    root = tmp_path_factory.mktemp("nifti") / "FDG-PET-CT-Lesions"
    suv, hu, drawn, origin = patient
    for number, (name, study) in enumerate(STUDIES.items()):
        folder = root / name / study
        folder.mkdir(parents=True)
        lesions = drawn * (number == 0)
        cold = np.where(drawn > 0, 1.0, suv).astype(np.float32) if number else suv
        for file, array, unit in (
            ("SUV", cold, "g/ml"), ("PET", cold * 5000, "stored"), ("CTres", hu.astype(np.float32), "HU"),
            ("CT", hu.astype(np.float32), "HU"), ("SEG", lesions, "label"),
        ):  # fmt: skip
            write_nifti(grid(array, unit, origin), folder / f"{file}.nii.gz")
    return root


def seg_of(slices, mask):
    import highdicom as hd

    code = hd.sr.CodedConcept
    description = hd.seg.SegmentDescription(
        1, "Lesion", code("49755003", "SCT", "Morphologically Altered Structure"), code("52988006", "SCT", "Lesion"),
        "MANUAL",
    )  # fmt: skip
    return hd.seg.Segmentation(
        slices, mask, "BINARY", [description], series_instance_uid=generate_uid(), series_number=9,
        sop_instance_uid=generate_uid(), instance_number=1, manufacturer="M", manufacturer_model_name="M",
        software_versions="1", device_serial_number="1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(patient, dicom, tmp_path_factory):
    """The collection as The Cancer Imaging Archive hands it out: series of PET, CT and SEG below each study."""
    root = tmp_path_factory.mktemp("dicom") / "FDG-PET-CT-Lesions"
    suv, hu, drawn, origin = patient
    name, study = next(iter(STUDIES.items()))
    folder = root / name / study
    pet, ct = dicom.pet(suv, origin=origin), dicom.ct(hu, spacing=STEP, origin=origin)
    dicom.save(pet, folder / "1.000000-PET corr.-29790")
    dicom.save(ct, folder / "2.000000-CT GK p.v.3-30577")
    for one in pet:
        dicom.to_bytes(one)
        one.PatientBirthDate = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
    (folder / "9.000000-Segmentation-05414").mkdir()
    seg_of(pet, drawn).save_as(folder / "9.000000-Segmentation-05414" / "1-1.dcm")
    return root


def test_both_forms_give_the_same_scan(converted, archive, patient):
    _, _, drawn, _ = patient
    scans = [read_scan(find_studies(root)[0], root, KEY) for root in (converted, archive)]
    for scan in scans:
        np.testing.assert_array_equal(scan.lesions.array, drawn)
        assert scan.case.startswith("P-")
        assert "PETCT" not in scan.case
    np.testing.assert_allclose(scans[0].pet.array, scans[1].pet.array, atol=0.02)
    np.testing.assert_allclose(scans[0].ct.array, scans[1].ct.array, atol=1)
    assert scans[0].case == scans[1].case
    study = find_studies(archive)[0]
    (study / "lesions.nii.gz").touch()  # of a hospital's own layouts: the mask above the series, one or two levels
    assert find_studies(archive) == [study]
    assert find_studies(study.parents[1].parent) == [study]
    (study / "lesions.nii.gz").unlink()


def test_cases_for_the_networks_hold_image_and_lesions_and_no_name(converted, patient, tmp_path):
    _, _, drawn, _ = patient
    dataset = import_scans("autopet", converted, tmp_path, contract=default_contract(), pseudonym_key=KEY)
    assert len(dataset["cases"]) == 2
    volumes = sorted(one["lesions_ml"] for one in dataset["cases"])
    assert volumes == pytest.approx([0.0, drawn.sum() * 0.064])
    held = [np.load(tmp_path / f"{one['case']}.npz") for one in dataset["cases"]]
    assert {one["image"].shape for one in held} == {(2, 144, 48, 64)}
    shares = sorted(float(one["lesion"].sum()) / 255 * 0.512 for one in held)
    assert shares == pytest.approx(volumes, rel=0.05)
    written = (tmp_path / "dataset.json").read_text(encoding="utf-8")
    assert "PETCT" not in written
    assert json.loads(written) == dataset
    assert "Gatidis" in dataset["licence"]


def test_a_network_is_trained_measured_on_what_was_kept_back_and_used(converted, tmp_path):
    """Hot is lesion here: some steps learn it. The second patient has none, so that what it finds there is false."""
    cases, out = tmp_path / "cases", tmp_path / "network"
    contract = default_contract()
    import_scans("autopet", converted, cases, contract=contract, pseudonym_key=KEY)
    plan = OrganTraining(seed=3, steps=120, crop=(16, 16, 16), rate=8e-3)
    card = train_lesions(cases, out, plan, contract)
    assert card == json.loads((out / "lesions.json").read_text("utf-8"))
    assert "Gatidis" in card["licence_of_the_data"]
    assert (card["data"], card["training_cases"], card["held_out"]["n"]) == ("autopet", 1, 1)
    assert card["held_out"]["false_positive_ml"] < 20.0
    scan = read_scan(find_studies(converted)[0], converted, KEY)
    found = LesionNetwork.load(out).find(PetCtStudy(scan.case, scan.pet, scan.ct, UNKNOWN_FACTS, (), ()))
    assert 0.05 * scan.lesions.array.sum() < (found.array > 0).sum() < 3 * scan.lesions.array.sum()
    assert scan.pet.array[found.array > 0].mean() > 5  # of a body at 1
    with pytest.raises(NodeDataError, match="another input contract"):
        train_lesions(cases, out, plan, replace(contract, spacing_mm=6.0))
    (out / "lesions.onnx").write_bytes(b"")
    with pytest.raises(IncompatibleBundleError, match="not the one"):
        LesionNetwork.load(out)


def test_a_study_that_cannot_be_used_is_left_out_with_its_reason(converted, tmp_path):
    from shutil import copytree

    root = copytree(converted, tmp_path / "copy")
    next(root.rglob("SEG.nii.gz")).unlink()
    dataset = import_scans("autopet", root, tmp_path / "out", contract=default_contract(), pseudonym_key=KEY)
    assert len(dataset["cases"]) == 1
    assert "SEG" in dataset["left_out"][0]["reason"]
    with pytest.raises(UnreadableStudyError, match="no study"):
        find_studies(tmp_path / "out" / "nothing")


def test_the_scores_are_those_of_the_challenge(converted):
    scores = score_scans(converted, pseudonym_key=KEY).to_json()
    assert (scores["n"], scores["with_lesions"]) == (2, 1)
    assert scores["dice"] > 0.8
    assert scores["false_negative_ml"] == 0.0
    assert scores["false_positive_ml"] < 5.0
    assert scores["left_out"] == []


@pytest.mark.parametrize("flat", [False, True])
def test_masks_of_another_program_are_scored(converted, patient, tmp_path, flat):
    """One file a study, named as its folders or as nnU-Net names cases: half of the lesion, and one focus beside it."""
    _, _, drawn, origin = patient
    half = drawn.copy()
    half[:, :, : int(np.median(np.nonzero(drawn)[2]))] = 0
    half[5:7, 50:52, 50:52] = 1
    for number, (name, study) in enumerate(STUDIES.items()):
        file = tmp_path / (f"{name}_{study}.nii.gz" if flat else f"{name}/{study}.nii.gz")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(grid(half * (number == 0), "label", origin), file)
    scores = score_scans(converted, pseudonym_key=KEY, predictions=tmp_path).to_json()
    inside = (half > 0) & (drawn > 0)
    assert scores["dice"] == pytest.approx(2 * inside.sum() / (half.sum() + drawn.sum()))
    assert scores["false_positive_ml"] == pytest.approx(8 * 0.064 / 2)
    file.unlink()
    assert len(score_scans(converted, pseudonym_key=KEY, predictions=tmp_path).left_out) == 1
