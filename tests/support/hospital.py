"""A small hospital: patients of the synthetic population with a row of the table and a tiny PET/CT whose headers fit.

Use through the fixture `hospital`. The images hold headers worth reading and pixels of nothing.
"""

from __future__ import annotations

import csv
import io
import shutil

import numpy as np

from tests.support import dicom_factory as dicom
from training.simulation.cohort import table_row
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient

_PIXELS = np.ones((6, 4, 4))


class Hospital:
    """Folder with `dicom/<patient>/` and `clinical.csv`; `rows` are its rows as dictionaries, to be spoiled."""

    def __init__(self, folder, patients=4, seed=5):
        self.dicom, self.table = folder / "dicom", folder / "clinical.csv"
        drawn = [draw_patient(SITES[0], number, seed=seed) for number in range(patients)]
        self.rows = [table_row(patient, signal=0.85) for patient in drawn]
        for row in self.rows:
            self.study(row, row["patient_id"])
        self.write()

    def study(self, row, folder, *, ct=True, **tags):
        """Images that fit the row, with changed tags; without CT if told."""
        day = row["date_tep"].replace("-", "")
        headers = {
            "PatientID": row["patient_id"],
            "PatientName": f"NOM^{row['patient_id']}",
            "PatientSex": row["sexe"],
            "PatientAge": f"{int(float(row['age_immunotherapie'])):03d}Y",
            "PatientWeight": row["poids_kg"],
            "PatientSize": float(row["taille_cm"]) / 100,
            "StudyID": row["id_examen_tep"],
            **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate"), day),
            "StudyInstanceUID": f"1.2.3.{sum(map(ord, folder))}",
        }
        slices = dicom.pet(_PIXELS, series=f"{folder}-{len(tags)}", **(headers | tags))
        if ct:
            slices += dicom.ct(_PIXELS, spacing=(4.0, 4.0, 4.0), series=f"{folder}-{len(tags)}-ct", **(headers | tags))
        return dicom.save(slices, self.dicom / folder)

    def swap_folders(self, one, two):
        """The two folders change names."""
        shutil.move(self.dicom / one, self.dicom / "between")
        shutil.move(self.dicom / two, self.dicom / one)
        shutil.move(self.dicom / "between", self.dicom / two)

    def text(self, separator=";"):
        """The table as a French spreadsheet writes it."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.rows[0]), delimiter=separator, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()

    def write(self, text=None, encoding="utf-8"):
        """Write the table; returns its path."""
        self.table.write_bytes((self.text() if text is None else text).encode(encoding))
        return self.table

    def write_workbook(self, *above):
        """Write the table as xlsx, dates as dates and numbers as numbers, below some rows of a title."""
        from datetime import date

        from openpyxl import Workbook

        book = Workbook()
        book.active.title = "Notice"
        sheet = book.create_sheet("Patients")
        for row in (*above, list(self.rows[0])):
            sheet.append(list(row))
        for row in self.rows:
            sheet.append(
                [
                    date.fromisoformat(cell) if name.startswith("date_") and cell else _typed(cell)
                    for name, cell in row.items()
                ]
            )
        path = self.table.with_suffix(".xlsx")
        book.save(path)
        return path

    def column(self, name, change):
        """Change every stated cell of a column."""
        for row in self.rows:
            row[name] = change(row[name]) if row[name] else ""

    def rename(self, old, new):
        """Give a column another name."""
        self.rows = [{new if name == old else name: cell for name, cell in row.items()} for row in self.rows]


def french_day(iso):
    """2024-03-05 as 05/03/2024."""
    return "/".join(reversed(iso.split("-")))


def _typed(cell):
    try:
        return float(cell)
    except ValueError:
        return cell or None
