from __future__ import annotations

import csv
import json
import shutil
import stat
from dataclasses import asdict
from datetime import date, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.main import main
from fedpet.clinical.reading import read_table
from fedpet.core.errors import NodeDataError, UnreadableStudyError
from fedpet.core.messages import LANGUAGES, Message
from fedpet.core.pseudonyms import pseudonym
from fedpet.core.settings import Settings
from fedpet.imaging.lesions.lesion_table import QUANTITIES
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import read_nifti, write_nifti
from fedpet.imaging.quality import centre_uptake
from inference.encoding import encode, encode_quantities
from inference.input_contract import crop_contract, default_contract, table_contract
from inference.lesion_crops import lesion_crops
from inference.predict import predict
from inference.preprocessing import model_image
from tests.support.table_bundle import table_bundle
from training.data.centre_uptake import LearnedUptake
from training.data.eligibility import ExcludedPatient
from training.data.node_data import PreparationReport, read_node, read_rows, require_cases
from training.data.plausibility import require_plausible
from training.data.preparation_files import PrivateFiles
from training.data.prepare import prepare_node_data
from training.simulation.cohort import simulate_cohort

KEY = b"a secret of the centre"
CONTRACT = default_contract()
TABLE_CONTRACT, CROP_CONTRACT = table_contract(), crop_contract()


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """Three synthetic patients of one centre, as they arrive."""
    out = tmp_path_factory.mktemp("raw")
    simulate_cohort(patients=3, sites=1, seed=4, out=out, fidelity="coarse")
    return out / "S1"


@pytest.fixture(scope="module")
def node(centre, tmp_path_factory):
    out = tmp_path_factory.mktemp("nodes") / "north"
    report = prepare(centre, out, masks=centre / "truth")
    return out, report


def prepare(centre, out, contract=CONTRACT, **options):
    return prepare_node_data(
        centre / "dicom", centre / "clinical.csv", out, contract=contract, pseudonym_key=KEY, **options
    )


def names(centre):
    return sorted(path.name for path in (centre / "dicom").iterdir())


def test_every_patient_is_prepared_under_a_pseudonym(centre, node):
    out, report = node
    assert report.cases == tuple(sorted(pseudonym(name, KEY) for name in names(centre)))
    assert (report.left_out, report.delineated, report.site) == ((), 3, "north")
    header = json.loads((out / "node.json").read_text())
    assert header["contract_fingerprint"] == CONTRACT.fingerprint
    assert (header["cases"], header["synthetic"], header["site"]) == (3, True, "north")
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.suffix in {".json", ".csv"})
    assert not any(name.encode() in written for name in names(centre))


def test_arrays_are_those_of_the_one_preprocessing_path(centre, node):
    out, _ = node
    name = names(centre)[0]
    study = load_study(centre / "dicom" / name, pseudonym_key=KEY)
    row = next(row for row in read_table(centre / "clinical.csv") if row.patient_id == name)
    with np.load(out / "cases" / f"{pseudonym(name, KEY)}.npz", allow_pickle=False) as case:
        np.testing.assert_array_equal(case["image"], model_image(study, CONTRACT).astype(np.float16))
        np.testing.assert_array_equal(case["clinical"], encode(row.record, CONTRACT).values)
        assert float(case["months"]) == pytest.approx(row.outcome.months)
        assert bool(case["event"]) == row.outcome.event
        assert case["concepts"].shape == (len(CONTRACT.concepts), *CONTRACT.shape)
        assert case["supervised"].all()


def test_concepts_keep_the_volumes(centre, node):
    out, _ = node
    voxel_ml = CONTRACT.spacing_mm**3 / 1000
    truth = json.loads((centre / "truth" / "truth.json").read_text())["patients"]
    for name, told in truth.items():
        with np.load(out / "cases" / f"{pseudonym(name, KEY)}.npz", allow_pickle=False) as case:
            ml = dict(zip(CONTRACT.concepts, case["concepts"].sum(axis=(1, 2, 3)) / 255 * voxel_ml, strict=True))
            suv = case["image"][0].astype(float)
            lesion = case["concepts"][CONTRACT.concepts.index("lesion")] > 127
        seen = [lesion for lesion in told["lesions"] if lesion["kind"] != "brain"]
        active = sum(lesion["volume_ml"] - lesion["necrosis_ml"] for lesion in seen)
        assert ml["lesion"] == pytest.approx(active, rel=0.05, abs=0.5)
        assert ml["necrosis"] == pytest.approx(sum(lesion["necrosis_ml"] for lesion in seen), rel=0.05, abs=0.5)
        organs = read_nifti(centre / "truth" / name / "organs.nii.gz", "label")
        assert ml["liver"] == pytest.approx((organs.array == 1).sum() * organs.voxel_ml, rel=0.02)
        if lesion.any():
            assert suv[lesion].mean() > 2.5  # the mask lies where the uptake is


def test_true_probabilities_go_beside_the_outcome(centre, node):
    out, _ = node
    truth = json.loads((centre / "truth" / "truth.json").read_text())["patients"]
    with (out / "cases.csv").open(encoding="utf-8") as file:
        rows = {row["case_id"]: row for row in csv.DictReader(file)}
    for name, told in truth.items():
        assert float(rows[pseudonym(name, KEY)]["true_pfs_12m"]) == pytest.approx(told["risk"]["pfs_12m"])


def test_without_masks_nothing_is_supervised(centre, tmp_path):
    report = prepare(centre, tmp_path / "n")
    assert (len(report.cases), report.delineated) == (3, 0)
    with np.load(tmp_path / "n" / "cases" / f"{report.cases[0]}.npz", allow_pickle=False) as case:
        assert not case["supervised"].any()
        assert not case["concepts"].any()
    assert "true_pfs_12m" not in (tmp_path / "n" / "cases.csv").read_text()


def test_workers_change_nothing(centre, node, tmp_path):
    out, report = node
    again = prepare(centre, tmp_path / "north", masks=centre / "truth", workers=2)
    assert asdict(again) == asdict(report)
    for path in out.rglob("*"):
        if path.is_file():
            assert (tmp_path / "north" / path.relative_to(out)).read_bytes() == path.read_bytes()


def test_a_patient_whose_masks_lie_elsewhere_is_left_out(centre, tmp_path):
    """Mirrored from left to right, as with a wrong header."""
    first = names(centre)[0]
    shutil.copytree(centre / "dicom" / first, tmp_path / "dicom" / first)
    shutil.copytree(centre / "truth" / first, tmp_path / "truth" / first)
    path = tmp_path / "truth" / first / "lesions.nii.gz"
    lesions = read_nifti(path, "label")
    write_nifti(lesions.like(lesions.array[:, :, ::-1].copy(), "label"), path)
    report = prepare_node_data(
        tmp_path / "dicom", centre / "clinical.csv", tmp_path / "n", contract=CONTRACT, pseudonym_key=KEY,
        masks=tmp_path / "truth",
    )  # fmt: skip
    (excluded,) = (one for one in report.left_out if one.code == "failed_check")
    assert "mirrored from left to right" in str(excluded.reasons[0])
    assert report.cases == ()


def test_who_is_left_out_and_why(centre, tmp_path):
    """A CT that is missing, a PET of the thighs only, a study without a row, rows without a study, an outcome or a
    PET before treatment."""
    first, second, third = names(centre)
    raw = tmp_path / "raw"
    shutil.copytree(centre / "dicom" / first, raw / "dicom" / first, ignore=shutil.ignore_patterns("CT"))
    shutil.copytree(centre / "dicom" / second, raw / "dicom" / second)
    for kind in ("PT", "CT"):
        for path in sorted((raw / "dicom" / second / kind).glob("*.dcm"))[40:]:
            path.unlink()
    shutil.copytree(centre / "dicom" / third, raw / "dicom" / "not-in-the-table")
    with (centre / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    base = {row["patient_id"]: row for row in rows}
    no_outcome = {**base[first], "patient_id": "no-outcome", "date_debut_ici": ""}
    start = date.fromisoformat(base[first]["date_debut_ici"])
    late = (start + timedelta(days=5)).isoformat()
    after = {**base[first], "patient_id": "after", "delai_tep_ici": "", "date_tep": late}
    for extra in (no_outcome, after):
        shutil.copytree(centre / "dicom" / third / "PT", raw / "dicom" / extra["patient_id"])
    kept = [base[first], base[second], no_outcome, after, {**base[first], "patient_id": "no-study"}]
    with (raw / "clinical.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(kept)

    report = prepare(raw, tmp_path / "node")
    assert report.cases == ()
    told = json.loads((tmp_path / "node" / "report.json").read_text())["left_out"]
    suffix = load_study(centre / "dicom" / third, pseudonym_key=KEY).pseudonym.rpartition("-")[2]
    codes = {one["pseudonym"].removesuffix(f"-{suffix}"): one["code"] for one in told}
    assert codes == {
        pseudonym(first, KEY): "failed_check",
        pseudonym(second, KEY): "failed_check",
        pseudonym(third, KEY): "no_row",
        pseudonym("no-study", KEY): "no_study",
        pseudonym("no-outcome", KEY): "no_outcome",
        pseudonym("after", KEY): "pet_after_treatment",
    }
    assert all(one["reason"][language] for one in told for language in LANGUAGES)
    text = (tmp_path / "node" / "report.json").read_text()
    assert not any(name in text for name in (first, second, third, "no-study", "not-in-the-table"))


def test_folders_may_bear_another_name_than_the_patient(centre, tmp_path):
    first = names(centre)[0]
    shutil.copytree(centre / "dicom" / first, tmp_path / "raw" / "dicom" / "exam-1")
    shutil.copytree(centre / "dicom" / first, tmp_path / "raw" / "dicom" / "exam-2")
    shutil.copy(centre / "clinical.csv", tmp_path / "raw" / "clinical.csv")
    report = prepare(tmp_path / "raw", tmp_path / "node")
    assert report.cases == (pseudonym(first, KEY),)
    assert sorted(one.code for one in report.left_out) == ["duplicate_study", "no_study", "no_study"]


@pytest.fixture
def studies_prepared(monkeypatch):
    """Names of the folders whose study is loaded."""
    loaded = []

    def counted(folder, **options):
        loaded.append(folder.name)
        return load_study(folder, **options)

    monkeypatch.setattr("training.data.prepare.load_study", counted)
    return loaded


def test_an_interrupted_run_goes_on_and_a_changed_row_is_prepared_again(centre, node, tmp_path, studies_prepared):
    """The same bytes as at once; whom a pseudonym is of stands in a private file."""
    out, private = tmp_path / "north", PrivateFiles(tmp_path / "private")

    def stopped(fraction, _):
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(centre, out, masks=centre / "truth", private=private, progress=stopped)
    (out / "cases" / "P-stale.npz").touch()
    assert len(studies_prepared) == 2
    prepare(centre, out, masks=centre / "truth", private=private)
    assert sorted(studies_prepared) == names(centre)
    for path in node[0].rglob("*"):
        if path.is_file():
            assert (out / path.relative_to(node[0])).read_bytes() == path.read_bytes()
    key = private.key(out)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with key.open(encoding="utf-8") as file:
        told = {row["pseudonym"]: row["patient_id"] for row in csv.DictReader(file, delimiter=";")}
    assert told == {pseudonym(name, KEY): name for name in names(centre)}
    (tmp_path / "clinical.csv").write_text((centre / "clinical.csv").read_text().replace(";M;", ";;", 1))
    prepare_node_data(
        centre / "dicom", tmp_path / "clinical.csv", out, contract=CONTRACT, pseudonym_key=KEY,
        masks=centre / "truth", private=private,
    )  # fmt: skip
    assert len(studies_prepared) == 4


def test_a_study_that_stops_the_program_is_a_line_of_the_report_and_tried_again(centre, tmp_path, monkeypatch):
    """One that is refused is not."""
    first, second, _ = names(centre)

    def load(folder, **_):
        if folder.name == first:
            raise MemoryError
        raise UnreadableStudyError(found=Message("a"), needed=Message("b"), advice=Message("c"))

    monkeypatch.setattr("training.data.prepare.load_study", load)
    private = PrivateFiles(tmp_path / "private")
    report = prepare(centre, tmp_path / "n", private=private)
    codes = {one.pseudonym: one.code for one in report.left_out}
    assert (codes[pseudonym(first, KEY)], codes[pseudonym(second, KEY)]) == ("study_failed", "study_refused")
    noted = private.journal(tmp_path / "n").read_text()
    assert pseudonym(first, KEY) not in noted
    assert pseudonym(second, KEY) in noted


def test_nobody_usable_is_refused():
    left_out = tuple(ExcludedPatient(f"P-{i}", "record_refused", ()) for i in range(9))
    with pytest.raises(NodeDataError, match=r"Nobody of 9 is usable; most often: record_refused \(9\)"):
        require_cases(PreparationReport("north", (), 0, left_out))


@pytest.fixture(scope="module")
def tables(centre, tmp_path_factory):
    """The same patients as node data of the lesion table, by rules with crops and on their masks without."""
    out = tmp_path_factory.mktemp("tables")
    prepare(centre, out / "rules", CROP_CONTRACT)
    prepare(centre, out / "masks", TABLE_CONTRACT, masks=centre / "truth")
    return {"rules": read_node(out / "rules", CROP_CONTRACT), "masks": read_node(out / "masks", TABLE_CONTRACT)}


def columns(node, name):
    """Quantities of a patient as cases.csv has them, and whether a mask was measured."""
    row = next(row for row in read_rows(node.folder) if row["case_id"] == pseudonym(name, KEY))
    values = {q: float(row[f"lesion:{q}"]) if row[f"lesion:{q}"] else None for q in QUANTITIES}
    return values, row["lesions_from_mask"]


def node_crops(study, labels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference.lesion_crops._near", lambda volume, _: volume)
        return lesion_crops(study, labels, CROP_CONTRACT).by_lesion


def test_the_inputs_are_those_of_a_prediction_on_the_same_study(centre, tables, tmp_path):
    name, node = names(centre)[0], tables["rules"]
    study = load_study(centre / "dicom" / name, pseudonym_key=KEY)
    row = next(row for row in read_table(centre / "clinical.csv") if row.patient_id == name)
    served = predict(study, row.record, table_bundle(tmp_path / "bundle"))
    case = node.case(pseudonym(name, KEY))
    np.testing.assert_array_equal(case.clinical, encode(row.record, TABLE_CONTRACT, served.table).values)
    crops = lesion_crops(study, served.lesion_labels, CROP_CONTRACT)
    np.testing.assert_array_equal(case.image, crops.bag(served.table).astype(np.float16))
    largest = max(served.table.lesions, key=lambda one: one.mtv_ml)
    assert largest.mtv_ml == pytest.approx(case.image[0, 2].sum(dtype=float) * 0.064, rel=0.02)
    assert case.image[0, 0].max() <= largest.suv_max
    whole = node_crops(study, served.lesion_labels)  # from the whole images, not from their part around the lesion
    np.testing.assert_allclose(crops.by_lesion[largest.id], whole[largest.id], atol=1e-3)
    assert served.contributions["lesion:tmtv_ml"] != 0.0
    values, from_mask = columns(node, name)
    assert values == pytest.approx(served.table.values(), rel=1e-5)
    assert from_mask == "0"


def test_quantities_can_be_encoded_again_by_another_contract(centre, tables):
    node, name = tables["rules"], names(centre)[1]
    values, _ = columns(node, name)
    at = len(CONTRACT.inputs)
    encoded = node.case(pseudonym(name, KEY)).clinical[at:]
    assert encode_quantities(values, TABLE_CONTRACT.quantities) == pytest.approx(encoded.tolist(), abs=1e-3)


def test_a_hospitals_mask_is_measured_without_its_necrosis(centre, tables):
    truth = json.loads((centre / "truth" / "truth.json").read_text())["patients"]
    for name, told in truth.items():
        values, from_mask = columns(tables["masks"], name)
        active = sum(one["volume_ml"] - one["necrosis_ml"] for one in told["lesions"])
        assert values["tmtv_ml"] == pytest.approx(active, rel=0.1)
        assert values["lesion_count"] == len(told["lesions"])
        assert from_mask == "1"


def test_node_data_of_the_table_is_small_and_plausible(tables):
    for name, largest in (("masks", 4000), ("rules", 400_000)):
        require_plausible(tables[name])
        assert max(path.stat().st_size for path in (tables[name].folder / "cases").iterdir()) < largest


def test_the_command_learns_the_uptake_of_the_centre_and_keeps_no_patient(centre, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path))
    monkeypatch.setattr(centre_uptake, "LEAST_STUDIES", 3)
    told = CliRunner().invoke(main, ["cohort", "uptake", str(centre / "dicom"), "--workers", "1"])
    assert told.exit_code == 0, told.output
    path = tmp_path / "centre-uptake.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    scanner = centre_uptake.own_uptake(Settings()).scanners[0]
    assert (scanner.scanner, scanner.studies) == ("SIEMENS BIOGRAPH VISION 600", 3)
    assert abs(scanner.scale) < 0.1
    text = path.read_text()
    assert not any(name in text or pseudonym(name, KEY) in text for name in names(centre))


def test_too_few_studies_teach_nothing_and_the_command_says_so():
    with pytest.raises(NodeDataError, match="could not be learned"):
        LearnedUptake(centre_uptake.CentreUptake(), {"unreadable": 2}).require()
