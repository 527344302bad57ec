"""`import fedpet`: the names it exports, and that it loads nothing before one of them is used."""

import ast
import json
import subprocess
import sys
from dataclasses import replace

import pikepdf
import pytest

import fedpet
from fedpet.core.settings import Settings
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study
from inference.record_concordance import RecordConfirmation
from reports.pdf.pdfa import CONTENT_NAME
from reports.verification import verify_report
from tests.support import ROOT
from tests.test_packages import PACKAGES

NAMES = [
    "__version__", "explain", "load_model", "load_study", "predict", "published_scores", "quantify", "read_record",
    "write_report",
]  # fmt: skip


def test_the_names_are_these():
    assert fedpet.__all__ == dir(fedpet) == NAMES


def test_the_types_are_declared_for_the_same_names():
    declared = ast.parse((ROOT / "fedpet" / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {
        alias.asname or alias.name: f"{one.module}:{alias.name}"
        for one in declared.body
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }
    assert homes == fedpet._HOMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert getattr(fedpet, name)


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match="module 'fedpet' has no attribute 'load_studies'"):
        _ = fedpet.load_studies


def test_the_explanation_of_a_table_needs_no_torch():
    code = "import sys, fedpet\nprint(fedpet.explain.__name__, {'torch', 'captum'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "explain_prediction set()"


def test_the_import_loads_nothing_else():
    code = (
        "import sys\nbefore = set(sys.modules)\nimport fedpet\ndir(fedpet), fedpet.__version__\n"
        "new = {name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names}\n"
        "print(*new)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["fedpet"]  # neither another module of ours nor a library


@pytest.mark.parametrize("package", sorted({*PACKAGES} - {"app", "training"}))
def test_the_package_says_that_it_is_typed(package):
    assert (ROOT / package / "py.typed").is_file()


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """Folder of the key of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPET_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def study(simulated_centre):
    (patient,) = (simulated_centre / "dicom").iterdir()
    return fedpet.load_study(str(patient))


def test_the_way_of_a_notebook(study, simulated_centre, tmp_path):
    """With paths and each other's results alone."""
    record = fedpet.read_record(simulated_centre / "clinical.csv")
    model = fedpet.load_model()
    prediction = fedpet.predict(study, record, model)
    assert prediction.abstained is None
    explanation = fedpet.explain(study, record, model, prediction, steps=2)
    assert {*explanation.lesion_share} == {0, *(lesion.id for lesion in prediction.quantities.lesions)}
    report = tmp_path / "report.pdf"
    digest = fedpet.write_report(report, study, record, prediction, explanation, model=model, language="en")
    found = verify_report(report)
    assert found.valid
    assert found.content_hash == digest
    with pikepdf.open(report) as pdf:
        content = json.loads(pdf.attachments[CONTENT_NAME].get_file().read_bytes())
    checks = {check["name"] for check in content["study"]["checks"]}
    own = {check.name for check in StudyAnalysis.of(study).checks}
    assert checks - own == {"record_fits", "organ_source"}  # as the application and the command have them


def test_the_record_of_another_patient_is_noticed(study, simulated_centre):
    model, analysis = fedpet.load_model(), StudyAnalysis.of(study)
    record = replace(fedpet.read_record(simulated_centre / "clinical.csv"), patient_id="4711")
    prediction = fedpet.predict(analysis, record, model)
    assert "identifier" in str(prediction.abstained)
    confirmed = fedpet.predict(analysis, record, model, confirmation=RecordConfirmation("renamed by the trial"))
    assert confirmed.abstained is None


def test_a_pseudonym_is_that_of_the_command(study, simulated_centre, tmp_path, monkeypatch):
    (patient,) = (simulated_centre / "dicom").iterdir()
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path))
    first, again = fedpet.load_study(patient), load_study(patient, pseudonym_key=Settings().pseudonym_key())
    assert first.pseudonym == again.pseudonym != study.pseudonym  # another home has another key
