"""The model registry of one installation: the bundles it holds, and the one that is in force.

::

    models/<digest>/        a bundle, as it was added; never changed
        evaluation.json     its evaluation report, where the card holds none
    models/registry.json    what was promoted, the last in force, and who did what, when and why

A bundle is verified when it is added and again when it is promoted. Without a promotion the bundle that comes with
fedpet is in force. `registry.json` is replaced as a whole, under a lock, so that a reader sees the model before or the
model after, never neither.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from fedpet.errors import BundleDamaged, BundleRefused
from fedpet.messages import Message
from inference.bundle import FILES, Bundle
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fedpet.settings import Settings

EVALUATION = "evaluation.json"
Kind = Literal["added", "promoted", "rolled_back"]


@dataclass(frozen=True)
class Act:
    """A line of the history; `moment` is UTC, ISO 8601."""

    moment: str
    by: str
    act: Kind
    digest: str  # of the bundle added, or in force from then on
    why: str


@dataclass(frozen=True)
class Held:
    """A model of the registry.

    Attributes:
        digest: of its bundle.
        in_force: whether it predicts now.
        name, version: as on its card.
        patients: of its evaluation report; 0 where it has none.
        synthetic: trained on simulated patients.
        refused: why it must not be used.
    """

    digest: str
    in_force: bool
    name: str = ""
    version: str = ""
    patients: int = 0
    synthetic: bool = False
    refused: BundleRefused | None = None


@dataclass(frozen=True)
class Registry:
    """The bundles in `folder`; `fixed` is the setting `model`, which goes before what is promoted."""

    folder: Path
    fixed: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """The registry of these settings."""
        return cls(settings.folder / "models", settings.model)

    def in_force(self) -> Bundle:
        """The bundle that predicts: of the setting, else the one promoted last, else the one that comes with fedpet.

        Raises:
            BundleRefused: it must not be used.
        """
        promoted = self._state()["promoted"]
        return self._load(promoted[-1]) if promoted and self.fixed is None else Bundle.chosen(self.fixed)

    def find(self, digest: str) -> Bundle:
        """The bundle whose digest begins so.

        Raises:
            BundleRefused: there is none, there are several, or it must not be used.
        """
        found = [one for one in self._digests() if one.startswith(digest)] if digest else []
        if len(found) == 1:
            return self._load(found[0])
        raise BundleRefused(
            found=Message("{n} models have a fingerprint that begins with “{digest}”.", n=len(found), digest=digest),
            needed=Message("The fingerprint of one model of the registry, or its beginning."),
            advice=Message("See `fedpet model list`; take a bundle in with `fedpet model add`."),
        )

    def held(self) -> tuple[Held, ...]:
        """Every model: that of fedpet, that of the setting, then those added, by age."""
        now = self._digest_in_force()
        return tuple(self._described(digest, in_force=digest == now) for digest in self._digests())

    def _described(self, digest: str, *, in_force: bool) -> Held:
        try:
            bundle = self._load(digest)
            report = evaluation_of(bundle) or {}
        except BundleRefused as refused:
            return Held(digest, in_force, refused=refused)
        name, version = (str(bundle.card[one]) for one in ("name", "version"))
        return Held(digest, in_force, name, version, report.get("patients", 0), bundle.card["synthetic"])

    def _digest_in_force(self) -> str:
        promoted = self._state()["promoted"]
        return str(promoted[-1]) if promoted and self.fixed is None else Bundle.chosen(self.fixed).digest

    def _digests(self) -> list[str]:
        known = [Bundle.chosen(None).digest, *([Bundle.load(self.fixed).digest] if self.fixed else [])]
        return list(dict.fromkeys([*known, *(act.digest for act in self.history() if act.act == "added")]))

    def _load(self, digest: str) -> Bundle:
        if (self.folder / digest).is_dir():
            bundle = Bundle.load(self.folder / digest)
        else:
            chosen = Bundle.chosen(None)
            bundle = Bundle.load(self.fixed) if self.fixed and chosen.digest != digest else chosen
        if bundle.digest != digest:
            raise BundleDamaged(
                found=Message("A model of the registry was changed: its fingerprint is another one."),
                needed=Message("A bundle whose files all agree with SHA256SUMS."),
                advice=Message("Copy the bundle again from where it was made; do not edit its files."),
            )
        return bundle

    def history(self) -> tuple[Act, ...]:
        """What was done, oldest first."""
        return tuple(Act(**act) for act in self._state()["history"])

    def add(self, source: Path, *, by: str, why: str = "", evaluation: Path | None = None) -> Bundle:
        """Take a verified copy of a bundle in, with its evaluation report if there is one.

        Args:
            source: folder of the bundle.
            by: who does it.
            why: the reason.
            evaluation: report as JSON; by default `evaluation.json` in the folder or `<folder>.evaluation.json`
                beside it, where there is one.

        Raises:
            BundleRefused: the bundle or the report cannot be used, or the bundle is here already.
        """
        Bundle.load(source)
        beside = (source / EVALUATION, source.with_name(f"{source.name}.{EVALUATION}"))
        report = evaluation or next((path for path in beside if path.is_file()), None)
        with self._changing() as state:
            draft = self.folder / f".{uuid.uuid4().hex}"
            draft.mkdir()
            try:
                for name in (*FILES, "SHA256SUMS"):
                    shutil.copyfile(source / name, draft / name)
                if report is not None:
                    shutil.copyfile(report, draft / EVALUATION)
                bundle = _verified(draft)
                if report is not None:
                    evaluation_of(bundle)
                if (self.folder / bundle.digest).exists():
                    raise _refused(Message("This bundle is in the registry already."))
                draft.rename(self.folder / bundle.digest)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            _note(state, "added", bundle.digest, by, why)
        return Bundle.load(self.folder / bundle.digest)

    def promote(self, digest: str, *, by: str, why: str) -> Bundle:
        """Put a bundle in force, once it is verified and has an evaluation report.

        Raises:
            BundleRefused: it is not verified, not evaluated, in force already, or the setting `model` goes before.
        """
        self._require_free()
        with self._changing() as state:
            bundle = _verified(self.find(digest).folder)
            if evaluation_of(bundle) is None:
                raise BundleRefused(
                    found=Message("The model has no evaluation report."),
                    needed=Message("A report on patients that the training did not see: the card's, or a JSON file."),
                    advice=Message("Evaluate the model, then add it with its report: fedpet model add --evaluation."),
                )
            if bundle.digest == (state["promoted"] or [Bundle.chosen(None).digest])[-1]:
                raise _refused(Message("This model is in force already."))
            state["promoted"].append(bundle.digest)
            _note(state, "promoted", bundle.digest, by, why)
        return bundle

    def roll_back(self, *, by: str, why: str) -> Bundle:
        """Put the bundle in force again that was so before the last promotion.

        Raises:
            BundleRefused: there was no promotion, the bundle is damaged, or the setting `model` goes before.
        """
        self._require_free()
        with self._changing() as state:
            if not state["promoted"]:
                raise _refused(Message("No model was promoted: there is none to go back to."))
            state["promoted"].pop()
            before = _verified((self._load(state["promoted"][-1]) if state["promoted"] else Bundle.chosen(None)).folder)
            _note(state, "rolled_back", before.digest, by, why)
        return before

    def _require_free(self) -> None:
        if self.fixed is not None:
            raise BundleRefused(
                found=Message("The setting “model” names the model in force."),
                needed=Message("No such setting, for the registry to choose."),
                advice=Message("Remove it from fedpet.toml or the environment, and start the application again."),
            )

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.folder / "registry.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"promoted": [], "history": []}
        return state

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The state, to be changed by one process at a time; kept only if nothing was raised."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._state()
            yield state
            draft = self.folder / ".registry.json"
            draft.write_text(json.dumps(state, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(self.folder / "registry.json")


def evaluation_of(bundle: Bundle) -> dict[str, Any] | None:
    """The evaluation report of a bundle: the file beside it, else the one in its card; None where there is neither.

    Raises:
        BundleRefused: the file is no report, or that of another bundle.
    """
    try:
        report = json.loads((bundle.folder / EVALUATION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        card = bundle.card.get("evaluation")
        return card if _is_report(card) else None
    except ValueError:
        report = None
    if not _is_report(report) or report.get("bundle", bundle.digest) != bundle.digest:
        raise BundleRefused(
            found=Message("The file given as evaluation is no report on this model."),
            needed=Message("A JSON object with the number of “patients” (1 or more) and at least one measure."),
            advice=Message("Give the JSON report of the evaluation of this very bundle."),
        )
    return dict(report)


def _is_report(report: object) -> bool:
    if not isinstance(report, dict):
        return False
    patients = report.get("patients")
    measured = any(isinstance(value, dict | float) and value for name, value in report.items() if name != "patients")
    return isinstance(patients, int) and patients > 0 and measured


def _verified(folder: Path) -> Bundle:
    """The bundle with every checksum verified, and its network open."""
    bundle = Bundle.load(folder)
    Engine(bundle, provider="cpu")
    return bundle


def _note(state: dict[str, Any], act: Kind, digest: str, by: str, why: str) -> None:
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    state["history"].append(asdict(Act(moment, by, act, digest, why.strip())))


def _refused(found: Message) -> BundleRefused:
    return BundleRefused(
        found=found,
        needed=Message("A model that can be put in force and is not yet."),
        advice=Message("See `fedpet model list`."),
    )
