"""What a preparation keeps in the hospital beside the node data: remembered headers, work done, key of the pseudonyms.

All of it is private to its owner. The key lets the data manager look up whom a line of report.json is about.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fedpet import __version__
from fedpet.core.messages import Message
from fedpet.core.pseudonyms import pseudonym
from training.data.eligibility import ExcludedPatient
from training.data.node_data import PreparedCase
from training.data.private_files import open_private, private_folder
from training.data.spreadsheet_cells import safe_cell
from training.data.study_folders import files_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from fedpet.imaging.quality.centre_uptake import CentreUptake
    from training.data.eligibility import EligiblePatients, Pairing

    Result = PreparedCase | ExcludedPatient

KEY_COLUMNS = ("pseudonym", "patient_id", "folder", "line", "result", "reason")


@dataclass(frozen=True)
class PrivateFiles:
    """Where they lie, and what the hospital knows of its scanners.

    Attributes:
        folder: of this hospital, outside of the node data.
        usual: uptake of healthy tissue, from earlier studies; None for the published one.
    """

    folder: Path
    usual: CentreUptake | None = None

    @property
    def headers(self) -> Path:
        """What the headers of studies state, see `training.data.study_folders`."""
        return private_folder(self.folder) / "headers.jsonl"

    def journal(self, out: Path) -> Path:
        """The work done for one folder of node data."""
        return private_folder(self.folder) / f"{self._name(out)}.work.jsonl"

    def key(self, out: Path) -> Path:
        """The key of the pseudonyms of one folder of node data."""
        return private_folder(self.folder) / f"{self._name(out)}.pseudonyms.csv"

    def write_key(self, out: Path, patients: EligiblePatients, results: Sequence[Result], key: bytes) -> None:
        """Write whom each pseudonym of the node data and of its report is of.

        Args:
            out: folder of the node data.
            patients: of the centre.
            results: of `patients.pairs`, in their order.
            key: secret of the pseudonyms.
        """
        with open_private(self.key(out)) as file:
            writer = csv.writer(file, delimiter=";", lineterminator="\n")
            writer.writerow(KEY_COLUMNS)
            for pair, result in zip(patients.pairs, results, strict=True):
                line = pair.row.line if pair.row else ""
                name = pseudonym(pair.patient_id, key)
                writer.writerow(_safe(name, pair.patient_id, pair.folder.name, line, *_said(result)))
            for one in patients.left_out:
                patient = one.row.patient_id if one.row else one.study.patient_id if one.study else ""
                folder = one.study.folder.name if one.study else ""
                writer.writerow(_safe(one.pseudonym, patient, folder, one.row.line if one.row else "", *_said(one)))

    @staticmethod
    def _name(out: Path) -> str:
        """The site, and what tells two folders of one name apart."""
        whole = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()
        return f"{out.resolve().name}-{whole[:8]}"


class Journal:
    """Results of studies, by the digest of everything that they were made from; without a path it keeps nothing."""

    def __init__(self, path: Path | None, contract: str) -> None:
        self._path = path
        self._made_with = f"{__version__}/{contract}"

    def read(self, digests: Collection[str], out: Path) -> dict[str, Result]:
        """Earlier results that still hold: nothing changed, and a prepared case still has its file."""
        if self._path is None or not self._path.is_file():
            return {}
        wanted, found = set(digests), {}
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                data = json.loads(line)
                if data["made_with"] == self._made_with and data["of"] in wanted:
                    found[data["of"]] = _result(data)
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut off
        return {
            digest: result
            for digest, result in found.items()
            if isinstance(result, ExcludedPatient) or (out / "cases" / f"{result.case_id}.npz").is_file()
        }

    def add(self, digest: str, result: Result) -> None:
        """Note one result; a study that stopped the program is tried again the next time."""
        if self._path is None or (isinstance(result, ExcludedPatient) and result.code == "study_failed"):
            return
        with open_private(self._path, "a") as file:
            file.write(json.dumps({"of": digest, "made_with": self._made_with, **_written(result)}) + "\n")


def pairing_digest(pair: Pairing, masks: Path | None) -> str:
    """SHA-256 of everything a case is made from, but the software and its contract: images, row, masks."""
    delineation = masks / pair.folder.name if masks else None
    parts = (
        os.fsdecode(pair.folder.resolve()),
        pair.study.digest if pair.study else files_digest(pair.folder),
        repr((pair.patient_id, asdict(pair.record), pair.outcome, pair.reference, pair.by)),
        files_digest(delineation) if delineation is not None and delineation.is_dir() else "",
    )
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _written(result: Result) -> dict[str, Any]:
    if isinstance(result, PreparedCase):
        return {"prepared": asdict(result)}
    reasons = [reason.to_json() for reason in result.reasons]
    return {"excluded": {"pseudonym": result.pseudonym, "code": result.code, "reasons": reasons}}


def _result(data: dict[str, Any]) -> Result:
    if "prepared" in data:
        return PreparedCase(**data["prepared"])
    excluded = data["excluded"]
    return ExcludedPatient(excluded["pseudonym"], excluded["code"], tuple(map(Message.from_json, excluded["reasons"])))


def _safe(*cells: object) -> list[str]:
    """A row that a spreadsheet shows and does not run."""
    return [safe_cell(str(cell)) for cell in cells]


def _said(result: Result) -> tuple[str, str]:
    if isinstance(result, PreparedCase):
        return "prepared", ""
    return result.code, result.to_json()["reason"]["fr"]
