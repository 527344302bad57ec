from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pydicom
import pytest

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study
from training.simulation.acquisition.dicom_series import scanner_affine, write_study
from training.simulation.acquisition.dicom_writer import Encoding
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render

KEY = b"k" * 32
DIALECTS = {"S1": "Siemens BQML START", "S3": "Philips GML", "S5": "GE BQML ADMIN", "S8": "GE BQML START"}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """One coarse study a dialect: (patient, body, PET in SUV, CT, folder)."""
    made = {}
    for code in DIALECTS:
        site = next(site for site in SITES if site.code == code)
        patient = draw_patient(site, 1, seed=5)
        body = render(patient, (6.0, 6.0, 8.0))
        pet, ct = pet_image(body, patient), ct_image(body, patient)
        folder = tmp_path_factory.mktemp(code)
        encoding = Encoding(compressed=code in {"S1", "S5"})
        write_study(patient, pet, ct, folder, seed=5, encoding=encoding)
        made[code] = (patient, body, pet, ct, folder)
    return made


@pytest.mark.parametrize("code", DIALECTS)
def test_suv_and_hu_come_back_through_imaging(studies, code):
    patient, body, pet, ct, folder = studies[code]
    study = load_study(folder, pseudonym_key=KEY)
    assert study.ct is not None
    np.testing.assert_allclose(study.pet.affine, scanner_affine(pet.affine), atol=1e-3)
    np.testing.assert_array_equal(study.ct.array, ct.array)
    for region in (body.organs == 1, body.organs == 2, body.lesions > 0, pet.array > 0.5):
        assert study.pet.array[region].mean() == pytest.approx(pet.array[region].mean(), rel=2e-3)
    assert study.pet_facts.uptake_min == pytest.approx(patient.acquisition.uptake_min)
    assert not StudyAnalysis(study).failed_checks


def test_uptake_is_right_when_the_injection_was_before_midnight(studies, tmp_path):
    patient, _, pet, ct, _ = studies["S8"]
    late = patient.acquisition.injection.replace(hour=23, minute=40)
    moved = replace(patient, acquisition=replace(patient.acquisition, injection=late))
    write_study(moved, pet, ct, tmp_path, seed=5, encoding=Encoding(compressed=False))
    study = load_study(tmp_path, pseudonym_key=KEY)
    assert study.pet.array[pet.array > 0.5].mean() == pytest.approx(pet.array[pet.array > 0.5].mean(), rel=2e-3)


@pytest.mark.parametrize("code", DIALECTS)
@pytest.mark.parametrize("kind", ["PT", "CT"])
def test_dciodvfy_finds_nothing(studies, code, kind):
    if shutil.which("dciodvfy") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dciodvfy is missing: apt-get install dicom3tools")
        pytest.skip("dciodvfy is missing: apt-get install dicom3tools")
    files = sorted((studies[code][4] / kind).glob("*.dcm"))
    for path in (files[0], files[len(files) // 2], files[-1]):
        told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        said = (told.stdout + told.stderr).splitlines()
        assert not [line for line in said if line.startswith(("Error", "Warning"))]


def test_headers_say_synthetic_and_vary_by_slice(studies):
    patient, _, pet, _, folder = studies["S1"]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((folder / "PT").glob("*.dcm"))]
    assert len(headers) == pet.shape[0]
    assert {str(h.PatientName) for h in headers} == {f"SYNTHETIC^{patient.id}"}
    assert {h.PatientIdentityRemoved for h in headers} == {"YES"}
    assert len({h.SOPInstanceUID for h in headers}) == len(headers)
    assert len({float(h.RescaleSlope) for h in headers}) > len(headers) / 2
    assert [int(h.InstanceNumber) for h in headers] == list(range(len(headers), 0, -1))
    assert all(h.file_meta.MediaStorageSOPInstanceUID == h.SOPInstanceUID for h in headers)


def test_beds_follow_each_other_from_the_thighs(studies):
    patient, _, pet, _, folder = studies["S3"]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((folder / "PT").glob("*.dcm"))]
    times = [h.AcquisitionTime for h in headers]
    assert times == sorted(times)
    beds = sorted(set(times))
    assert len(beds) == np.ceil(pet.shape[0] * 8 / 150)
    second = patient.acquisition.start + timedelta(seconds=patient.site.pet.bed_s)
    assert beds[1].startswith(second.strftime("%H%M%S"))
    assert headers[0].SeriesTime == beds[0]
    reference = float(headers[-1].FrameReferenceTime) / 1000 - (len(beds) - 1) * patient.site.pet.bed_s
    assert abs(reference - patient.site.pet.bed_s / 2) < 1  # mean activity comes just before the middle


def test_uids_derive_from_the_seed(studies, tmp_path):
    patient, _, pet, ct, folder = studies["S1"]
    for seed in (5, 6):
        write_study(patient, pet, ct, tmp_path / str(seed), seed=seed, encoding=Encoding(compressed=True))
    first = (folder / "PT" / "0003.dcm").read_bytes()
    assert (tmp_path / "5" / "PT" / "0003.dcm").read_bytes() == first
    other = pydicom.dcmread(tmp_path / "6" / "PT" / "0003.dcm", stop_before_pixels=True)
    assert other.StudyInstanceUID != pydicom.dcmread(folder / "PT" / "0003.dcm").StudyInstanceUID
