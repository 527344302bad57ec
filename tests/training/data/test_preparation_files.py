import csv

from fedpet.clinical.reading import TableRow
from training.data.eligibility import EligiblePatients, ExcludedPatient
from training.data.preparation_files import PrivateFiles


def test_the_key_of_the_pseudonyms_holds_nothing_that_a_spreadsheet_runs(tmp_path):
    private, out = PrivateFiles(tmp_path / "private"), tmp_path / "nice"
    names = ["=HYPERLINK(1)", "@SUM(1)", "+1+1", "007"]
    left_out = tuple(ExcludedPatient("ab", "no_study", (), TableRow(name, None, None, ())) for name in names)
    private.write_key(out, EligiblePatients((), left_out), [], b"key")
    with private.key(out).open(encoding="utf-8", newline="") as file:
        written = [row["patient_id"] for row in csv.DictReader(file, delimiter=";")]
    assert written == ["'=HYPERLINK(1)", "'@SUM(1)", "'+1+1", "007"]
