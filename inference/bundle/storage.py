"""The model bundle: one folder that holds a model and its whole provenance. Nothing in it is pickled.

::

    model.onnx            the network; inputs `image`, `clinical`; outputs as `NetworkOutput`
    weights.safetensors   the same parameters, for Captum
    contract.json         preprocessing and clinical encoding (see `inference.input_contract`)
    calibration.json      score -> probability (see `inference.calibration`)
    card.json, card.md    provenance, metrics, limits
    overall_survival.json (optional) the same inputs fitted to death (see `inference.overall_survival`)
    SHA256SUMS            checksums of all of these, in the format of sha256sum(1)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fedpet.core.errors import CorruptBundleError, IncompatibleBundleError
from fedpet.core.messages import Message
from fedpet.core.notebook import html_table
from fedpet.imaging.lesions.lesion_table import TABLE_VERSION
from inference.bundle.model_card import card_markdown
from inference.calibration import RiskCalibration
from inference.input_contract import InputContract
from inference.overall_survival import OverallSurvivalModel

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "fedpet.bundle/1"
FILES: Final = ("calibration.json", "card.json", "card.md", "contract.json", "model.onnx", "weights.safetensors")
OVERALL_SURVIVAL: Final = "overall_survival.json"  # in the bundles that hold it


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: that holds its files.
        contract: preprocessing of the images and encoding of the record.
        calibration: from the network's score to probabilities with intervals.
        card: `card.json`: provenance, metrics, limits.
        digest: SHA-256 of SHA256SUMS, hexadecimal: it names every byte of the model.
        overall_survival: the fit of overall survival; None where the bundle has none.
    """

    folder: Path
    contract: InputContract
    calibration: RiskCalibration
    card: Mapping[str, Any]
    digest: str
    overall_survival: OverallSurvivalModel | None = None

    def __repr__(self) -> str:
        synthetic = ", SYNTHETIC" if self.card["synthetic"] else ""
        return f"Bundle({self.card['name']} {self.card['version']}{synthetic}, {self.digest[:12]})"

    def _repr_html_(self) -> str:
        """What the card says first, and the digests."""
        rows = [
            ("trained on", "synthetic patients only" if self.card["synthetic"] else "patients"),
            ("digest", self.digest),
            ("input contract", self.contract.fingerprint),
        ]
        return html_table(f"{self.card['name']} {self.card['version']}", rows)

    @property
    def onnx(self) -> Path:
        """The network for ONNX Runtime."""
        return self.folder / "model.onnx"

    @property
    def weights(self) -> Path:
        """The network's parameters for torch."""
        return self.folder / "weights.safetensors"

    def at(self, centre: str) -> Bundle:
        """The bundle with the calibration of a centre of its federation, see `RiskCalibration.at`."""
        return replace(self, calibration=self.calibration.at(centre))

    @staticmethod
    def load(folder: Path) -> Bundle:
        """Verify every checksum, then read the bundle.

        Raises:
            CorruptBundleError: a file is missing, unlisted or differs from its checksum, or a field cannot be read.
            IncompatibleBundleError: the folder is no fedpet bundle, or of another format or contract.
        """
        sums = _verify_checksums(folder)
        _require_self_contained(folder / "model.onnx")
        card = _read(folder / "card.json")
        if card.get("format") != FORMAT:
            raise _incompatible(Message("The bundle has the format “{format}”.", format=str(card.get("format"))))
        try:
            contract = InputContract.from_json(_read(folder / "contract.json"))
            calibration = RiskCalibration.from_json(_read(folder / "calibration.json"))
            overall = _overall_survival(folder, contract)
        except (KeyError, TypeError, ValueError) as error:
            raise _incompatible(
                Message("The contract or the calibration cannot be read: {why}.", why=str(error))
            ) from error
        if card.get("contract_fingerprint") != contract.fingerprint:
            raise _incompatible(Message("The card names another contract than the one in the bundle."))
        if contract.table_version not in {"", TABLE_VERSION}:
            found = Message("The model reads lesion tables of the rules “{version}”.", version=contract.table_version)
            raise IncompatibleBundleError(
                found=found,
                needed=Message("Those of this version of fedpet: “{version}”.", version=TABLE_VERSION),
                advice=Message("Retrain with this version, or run the version that the model was trained with."),
            )
        return Bundle(folder, contract, calibration, card, hashlib.sha256(sums).hexdigest(), overall)


def load_model(folder: str | Path | None = None) -> Bundle:
    """Load a model bundle, after verifying every one of its files.

    Args:
        folder: of the bundle; without one, the demonstration bundle that comes with fedpet. It was trained on
            synthetic patients and predicts nothing about real ones.

    Returns:
        The verified bundle: what `fedpet.predict`, `fedpet.explain` and `fedpet.write_report` need.

    Raises:
        CorruptBundleError: a file is missing, unlisted or differs from its checksum, or a field cannot be read.
        IncompatibleBundleError: the folder is no fedpet bundle, or of another format or contract.
    """
    return Bundle.load(Path(folder or str(resources.files("inference.bundle") / "demonstration")))


def write_bundle(
    folder: Path,
    *,
    onnx: bytes,
    weights: bytes,
    contract: InputContract,
    calibration: RiskCalibration,
    card: Mapping[str, Any],
    overall_survival: OverallSurvivalModel | None = None,
) -> Bundle:
    """Write a bundle into a new or empty folder and load it back.

    Raises:
        FileExistsError: the folder is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(folder)
    full_card = {**card, "format": FORMAT, "contract_fingerprint": contract.fingerprint}
    contents = {
        "model.onnx": onnx,
        "weights.safetensors": weights,
        "contract.json": _json(contract.to_json()),
        "calibration.json": _json(calibration.to_json()),
        "card.json": _json(full_card),
        "card.md": card_markdown(full_card).encode(),
    }
    if overall_survival is not None:
        contents[OVERALL_SURVIVAL] = _json(overall_survival.to_json())
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    lines = [f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents)]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return Bundle.load(folder)


def write_recalibrated(
    folder: Path, bundle: Bundle, *, calibration: RiskCalibration, card: Mapping[str, Any]
) -> Bundle:
    """Write a bundle of the same network with another calibration and card; see `write_bundle`."""
    return write_bundle(
        folder,
        onnx=bundle.onnx.read_bytes(),
        weights=bundle.weights.read_bytes(),
        contract=bundle.contract,
        calibration=calibration,
        card=card,
        overall_survival=bundle.overall_survival,
    )


def _overall_survival(folder: Path, contract: InputContract) -> OverallSurvivalModel | None:
    path = folder / OVERALL_SURVIVAL
    return OverallSurvivalModel.from_json(_read(path), contract) if path.is_file() else None


def _verify_checksums(folder: Path) -> bytes:
    """The content of SHA256SUMS, once every file agrees with it."""
    try:
        sums = (folder / "SHA256SUMS").read_bytes()
    except OSError as error:
        found = (
            Message("There is no SHA256SUMS in the folder.") if folder.is_dir() else Message("There is no such folder.")
        )
        raise _incompatible(found) from error
    listed = {}
    for line in sums.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    if {*listed} != {*FILES, *((OVERALL_SURVIVAL,) if (folder / OVERALL_SURVIVAL).exists() else ())}:
        raise _corrupt(Message("SHA256SUMS does not list exactly the files of a bundle."))
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            raise _corrupt(Message("The file {name} is missing.", name=name))
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise _corrupt(Message("The file {name} differs from its checksum.", name=name))
    return sums


def _require_self_contained(onnx: Path) -> None:
    """Refuse a network whose parameters lie in another file, which no checksum covers.

    ONNX names such a file under the key "location" (TensorProto.external_data), wherever in the graph the tensor is; no
    network that fedpet writes holds that word.
    """
    if b"location" in onnx.read_bytes():
        raise _corrupt(Message("The network keeps parameters in another file, outside the bundle."))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _corrupt(Message("The file {name} is no JSON.", name=path.name)) from error
    if not isinstance(content, dict):
        raise _corrupt(Message("The file {name} holds no JSON object.", name=path.name))
    return content


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _corrupt(found: Message) -> CorruptBundleError:
    return CorruptBundleError(
        found=found,
        needed=Message("A bundle whose files all agree with SHA256SUMS."),
        advice=Message("Copy the bundle again from where it was made; do not edit its files."),
    )


def _incompatible(found: Message) -> IncompatibleBundleError:
    return IncompatibleBundleError(
        found=found,
        needed=Message("A fedpet model bundle of the format {format}.", format=FORMAT),
        advice=Message("Give the folder that `fedpet train` wrote, or retrain with this version."),
    )
