"""The model bundle: one folder that holds a model and its whole provenance. Nothing in it is pickled.

::

    model.onnx            the network; inputs `image`, `clinical`; outputs as `NetworkOutput`
    weights.safetensors   the same parameters, for Captum
    contract.json         preprocessing and clinical encoding (see `inference.contract`)
    calibration.json      score -> probability (see `inference.calibration`)
    card.json, card.md    provenance, metrics, limits
    SHA256SUMS            checksums of all of these, in the format of sha256sum(1)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpet.errors import BundleDamaged, BundleForeign
from fedpet.messages import Message
from inference.calibration import Calibration
from inference.card import card_markdown
from inference.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "fedpet.bundle/1"
FILES = ("calibration.json", "card.json", "card.md", "contract.json", "model.onnx", "weights.safetensors")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle. `digest` is the SHA-256 of SHA256SUMS: it names every byte of the model."""

    folder: Path
    contract: Contract
    calibration: Calibration
    card: Mapping[str, Any]
    digest: str

    @property
    def onnx(self) -> Path:
        """The network for ONNX Runtime."""
        return self.folder / "model.onnx"

    @property
    def weights(self) -> Path:
        """The network's parameters for torch."""
        return self.folder / "weights.safetensors"

    @staticmethod
    def load(folder: Path) -> Bundle:
        """Verify every checksum, then read the bundle.

        Raises:
            BundleDamaged: a file is missing, unlisted or differs from its checksum, or a field cannot be read.
            BundleForeign: the folder is no fedpet bundle, or of another format or contract.
        """
        sums = _verified_sums(folder)
        card = _read(folder / "card.json")
        if card.get("format") != FORMAT:
            raise _foreign(Message("The bundle has the format “{format}”.", format=str(card.get("format"))))
        try:
            contract = Contract.from_json(_read(folder / "contract.json"))
            calibration = Calibration.from_json(_read(folder / "calibration.json"))
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign(Message("The contract or the calibration cannot be read: {why}.", why=str(error))) from error
        if card.get("contract_fingerprint") != contract.fingerprint:
            raise _foreign(Message("The card names another contract than the one in the bundle."))
        return Bundle(folder, contract, calibration, card, hashlib.sha256(sums).hexdigest())

    @staticmethod
    def chosen(folder: Path | None) -> Bundle:
        """The bundle in `folder`; None takes the one that comes with fedpet, trained on synthetic patients."""
        return Bundle.load(folder or Path(str(resources.files("inference") / "demonstration")))


def write_bundle(
    folder: Path,
    *,
    onnx: bytes,
    weights: bytes,
    contract: Contract,
    calibration: Calibration,
    card: Mapping[str, Any],
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
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    lines = [f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in FILES]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return Bundle.load(folder)


def _verified_sums(folder: Path) -> bytes:
    """The content of SHA256SUMS, once every file agrees with it."""
    try:
        sums = (folder / "SHA256SUMS").read_bytes()
    except OSError as error:
        raise _foreign(Message("There is no SHA256SUMS in the folder.")) from error
    listed = {}
    for line in sums.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    if tuple(sorted(listed)) != FILES:
        raise _damaged(Message("SHA256SUMS does not list exactly the files of a bundle."))
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(Message("The file {name} is missing.", name=name))
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise _damaged(Message("The file {name} differs from its checksum.", name=name))
    return sums


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(Message("The file {name} is no JSON.", name=path.name)) from error
    if not isinstance(content, dict):
        raise _damaged(Message("The file {name} holds no JSON object.", name=path.name))
    return content


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _damaged(found: Message) -> BundleDamaged:
    return BundleDamaged(
        found=found,
        needed=Message("A bundle whose files all agree with SHA256SUMS."),
        advice=Message("Copy the bundle again from where it was made; do not edit its files."),
    )


def _foreign(found: Message) -> BundleForeign:
    return BundleForeign(
        found=found,
        needed=Message("A fedpet model bundle of the format {format}.", format=FORMAT),
        advice=Message("Give the folder that `fedpet train` wrote, or retrain with this version."),
    )
