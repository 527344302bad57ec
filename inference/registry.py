"""The model registry of one installation: its bundles, and which of them is in force.

::

    models/<digest>/        a bundle, as it was added; never changed
        evaluation.json     its evaluation report, bound to its digest and signed (`fedpet train evaluate --bundle`)
    models/registry.json    what was promoted, the last in force; who did what, when and why

A report counts if it was signed by the coordinating centre that the bundle's card names, or by this installation
(`inference.report_signature`). A bundle is verified when it is added and again when it is promoted. Without a promotion
the bundle that comes with fedpet is in force. `registry.json` is replaced as a whole, under a lock, so that a reader
always sees one model in force: the previous or the new one.
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

from fedpet.core.errors import BundleError, CorruptBundleError
from fedpet.core.messages import Message
from inference.bundle.storage import FILES, OVERALL_SURVIVAL, Bundle, load_model
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fedpet.core.settings import Settings
    from inference.report_signature import Signer

EVALUATION = "evaluation.json"
REPORT_FORMAT = "fedpet.bundle-evaluation/1"
RegistryAction = Literal["added", "evaluated", "promoted", "rolled_back"]


@dataclass(frozen=True)
class RegistryEvent:
    """A line of the history.

    Attributes:
        moment: UTC, ISO 8601.
        by: who did it.
        act: what was done.
        digest: of the bundle added, or in force from then on.
        why: the reason given.
    """

    moment: str
    by: str
    act: RegistryAction
    digest: str
    why: str


@dataclass(frozen=True)
class RegisteredModel:
    """A model of the registry.

    Attributes:
        digest: of its bundle.
        in_force: whether it predicts now.
        name: as on its card.
        version: as on its card.
        patients: number in its evaluation report; 0 where it has none.
        synthetic: whether it was trained on simulated patients.
        refused: why it must not be used; None where it may.
    """

    digest: str
    in_force: bool
    name: str = ""
    version: str = ""
    patients: int = 0
    synthetic: bool = False
    refused: BundleError | None = None


@dataclass(frozen=True)
class Registry:
    """The registry of one installation.

    Attributes:
        folder: of the bundles and of `registry.json`.
        fixed: bundle that the setting `model` names: it takes precedence over what is promoted; None without one.
    """

    folder: Path
    fixed: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """The registry of these settings."""
        return cls(settings.folder / "models", settings.model)

    def in_force(self) -> Bundle:
        """The bundle that predicts: that of the setting, else the last one promoted, else the one of fedpet itself.

        Raises:
            BundleError: it must not be used.
        """
        promoted = self._state()["promoted"]
        return self._load(promoted[-1]) if promoted and self.fixed is None else load_model(self.fixed)

    def holds(self, digest: str) -> bool:
        """Whether a bundle is here: the one of fedpet itself or of the setting, or one that was added."""
        return digest in self._built_in() or (digest in self._digests() and (self.folder / digest).is_dir())

    def find(self, digest: str) -> Bundle:
        """The bundle whose digest begins with `digest`.

        Raises:
            BundleError: there is none, there are several, or it must not be used.
        """
        found = [one for one in self._digests() if one.startswith(digest)] if digest else []
        if len(found) == 1:
            return self._load(found[0])
        raise BundleError(
            found=Message("{n} models have a fingerprint that begins with “{digest}”.", n=len(found), digest=digest),
            needed=Message("The fingerprint of one model of the registry, or its beginning."),
            advice=Message("See `fedpet model list`; take a bundle in with `fedpet model add`."),
        )

    def held(self) -> tuple[RegisteredModel, ...]:
        """Every model: the one that comes with fedpet, that of the setting, then those added, oldest first."""
        digest_in_force = self._digest_in_force()
        return tuple(self._describe(digest, in_force=digest == digest_in_force) for digest in self._digests())

    def _describe(self, digest: str, *, in_force: bool) -> RegisteredModel:
        try:
            bundle = self._load(digest)
            report = evaluation_of(bundle) or {}
        except BundleError as refused:
            return RegisteredModel(digest, in_force, refused=refused)
        name, version = (str(bundle.card[one]) for one in ("name", "version"))
        return RegisteredModel(digest, in_force, name, version, report.get("patients", 0), bundle.card["synthetic"])

    def _digest_in_force(self) -> str:
        promoted = self._state()["promoted"]
        return str(promoted[-1]) if promoted and self.fixed is None else load_model(self.fixed).digest

    def _built_in(self) -> list[str]:
        return [load_model().digest, *([Bundle.load(self.fixed).digest] if self.fixed else [])]

    def _digests(self) -> list[str]:
        return list(
            dict.fromkeys([*self._built_in(), *(event.digest for event in self.history() if event.act == "added")])
        )

    def _load(self, digest: str) -> Bundle:
        if (self.folder / digest).is_dir():
            bundle = Bundle.load(self.folder / digest)
        else:
            chosen = load_model()
            bundle = Bundle.load(self.fixed) if self.fixed and chosen.digest != digest else chosen
        if bundle.digest != digest:
            raise CorruptBundleError(
                found=Message("A model of the registry was changed: its fingerprint is another one."),
                needed=Message("A bundle whose files all agree with SHA256SUMS."),
                advice=Message("Copy the bundle again from where it was made; do not edit its files."),
            )
        return bundle

    def history(self) -> tuple[RegistryEvent, ...]:
        """All events, oldest first."""
        return tuple(RegistryEvent(**event) for event in self._state()["history"])

    def add(self, source: Path, *, by: str, why: str = "", evaluation: Path | None = None) -> Bundle:
        """Add a verified copy of a bundle, with its evaluation report if there is one.

        Args:
            source: folder of the bundle.
            by: who does it.
            why: the reason.
            evaluation: report as JSON; by default `evaluation.json` in the folder, or `<folder>.evaluation.json` next
                to it, where there is one.

        Raises:
            BundleError: the bundle or the report cannot be used, or the bundle is in the registry already.
        """
        Bundle.load(source)
        candidates = (source / EVALUATION, source.with_name(f"{source.name}.{EVALUATION}"))
        report = evaluation or next((path for path in candidates if path.is_file()), None)
        with self._transaction() as state:
            draft = self.folder / f".{uuid.uuid4().hex}"
            draft.mkdir()
            try:
                optional = [OVERALL_SURVIVAL] if (source / OVERALL_SURVIVAL).exists() else []
                for name in (*FILES, *optional, "SHA256SUMS"):
                    shutil.copyfile(source / name, draft / name)
                if report is not None:
                    shutil.copyfile(report, draft / EVALUATION)
                bundle = _verify(draft)
                if report is not None:
                    self._require_signed(report.read_text(encoding="utf-8"), bundle)
                if (self.folder / bundle.digest).exists():
                    raise _refusal(Message("This bundle is in the registry already."))
                draft.rename(self.folder / bundle.digest)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            _log_event(state, "added", bundle.digest, by, why)
        return Bundle.load(self.folder / bundle.digest)

    def attach(self, digest: str, evaluation: Path, *, by: str, why: str = "") -> Bundle:
        """Give a bundle of the registry its evaluation report, in place of the one that it had.

        Args:
            digest: of the bundle, or its beginning.
            evaluation: report as JSON.
            by: who does it.
            why: the reason.

        Raises:
            BundleError: the bundle was not added to the registry, or the report is none on this bundle.
        """
        with self._transaction() as state:
            bundle = self.find(digest)
            if bundle.folder.parent != self.folder:
                raise _refusal(Message("This model comes with fedpet or with the setting “model”, with its report."))
            text = evaluation.read_text(encoding="utf-8")
            self._require_signed(text, bundle)
            draft = bundle.folder / f".{EVALUATION}"
            draft.write_text(text, encoding="utf-8")
            draft.replace(bundle.folder / EVALUATION)
            _log_event(state, "evaluated", bundle.digest, by, why)
        return bundle

    def promote(self, digest: str, *, by: str, why: str) -> Bundle:
        """Put a bundle in force; it must have an evaluation report of its own, and is verified first.

        The report in a card is the training's own; it is enough for the model that comes with fedpet only.

        Raises:
            BundleError: it is damaged, not evaluated or in force already, or the setting `model` takes precedence.
        """
        self._require_unpinned()
        with self._transaction() as state:
            bundle = _verify(self.find(digest).folder)
            if evaluation_of(bundle) is None or not (_has_report(bundle) or bundle.digest == load_model().digest):
                raise BundleError(
                    found=Message("The model has no evaluation report."),
                    needed=Message("The report of “fedpet train evaluate --bundle” on patients new to the model."),
                    advice=Message("Evaluate the model, then give it the report: fedpet model evaluated."),
                )
            if _has_report(bundle):
                self._require_signed((bundle.folder / EVALUATION).read_text(encoding="utf-8"), bundle)
            if bundle.digest == (state["promoted"] or [load_model().digest])[-1]:
                raise _refusal(Message("This model is in force already."))
            state["promoted"].append(bundle.digest)
            _log_event(state, "promoted", bundle.digest, by, why)
        return bundle

    def roll_back(self, *, by: str, why: str) -> Bundle:
        """Put the bundle in force again that was in force before the last promotion.

        Raises:
            BundleError: there was no promotion, the bundle is damaged, or the setting `model` takes precedence.
        """
        self._require_unpinned()
        with self._transaction() as state:
            if not state["promoted"]:
                raise _refusal(Message("No model was promoted: there is none to go back to."))
            state["promoted"].pop()
            previous = _verify((self._load(state["promoted"][-1]) if state["promoted"] else load_model()).folder)
            _log_event(state, "rolled_back", previous.digest, by, why)
        return previous

    @property
    def signer(self) -> Signer:
        """Signs the evaluations of this installation."""
        from inference.report_signature import own_signer  # noqa: PLC0415  a prediction does without cryptography

        return own_signer(self.folder.parent)

    def _require_signed(self, text: str, bundle: Bundle) -> None:
        """Refuse a report that is none on this bundle, was changed, or is of somebody unknown.

        Raises:
            BundleError: it is one of these.
        """
        from inference.report_signature import signer_of  # noqa: PLC0415  a prediction does without cryptography

        signer = signer_of(_bound_report(text, bundle))
        if not signer:
            raise BundleError(
                found=Message("The evaluation report is not signed, or was changed after it was signed."),
                needed=Message("The report as “fedpet train evaluate --bundle” wrote it, byte for byte."),
                advice=Message("Copy the report again from where it was made, or evaluate the model again."),
            )
        if signer not in {bundle.card.get("coordinator_sha256"), self.signer.fingerprint}:
            raise BundleError(
                found=Message("The evaluation report was signed with the certificate {start}…", start=signer[:16]),
                needed=Message("The coordinating centre's that the model's card names, or this installation's."),
                advice=Message("Evaluate the model with the nodes of its federation, or on data of this machine."),
            )

    def _require_unpinned(self) -> None:
        if self.fixed is not None:
            raise BundleError(
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
    def _transaction(self) -> Iterator[dict[str, Any]]:
        """The state, for one process at a time to change; written only if nothing is raised."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._state()
            yield state
            draft = self.folder / ".registry.json"
            draft.write_text(json.dumps(state, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(self.folder / "registry.json")


def bundle_in(folder: Path | None, settings: Settings) -> Bundle:
    """The bundle in a folder; where no folder is named, the model in force.

    Raises:
        BundleError: the bundle must not be used.
    """
    bundle = Bundle.load(folder) if folder else Registry.of(settings).in_force()
    return bundle.at(settings.model_centre)


def evaluation_of(bundle: Bundle) -> dict[str, Any] | None:
    """The evaluation report of a bundle: the file in its folder, else the one in its card; None where there is neither.

    Raises:
        BundleError: the file is no report, or that of another bundle.
    """
    if _has_report(bundle):
        return _bound_report((bundle.folder / EVALUATION).read_text(encoding="utf-8"), bundle)
    card = bundle.card.get("evaluation")
    return card if _is_report(card) else None


def _has_report(bundle: Bundle) -> bool:
    return (bundle.folder / EVALUATION).is_file()


def _bound_report(text: str, bundle: Bundle) -> dict[str, Any]:
    """A report of `fedpet train evaluate --bundle` on this very bundle.

    Raises:
        BundleError: it is none.
    """
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    if not _is_report(report) or not _is_bound(report, bundle.digest):
        raise BundleError(
            found=Message("The file given as evaluation is no report on this model."),
            needed=Message("The report of “fedpet train evaluate --bundle” on this very bundle: it names its digest."),
            advice=Message("Evaluate this bundle and give the file report.json."),
        )
    return dict(report)


def _is_bound(report: Mapping[str, Any], digest: str) -> bool:
    """Format and digest are right, and the numbers of patients by site add up."""
    sites = report.get("sites")
    if not isinstance(sites, dict) or not all(isinstance(n, int) for n in sites.values()):
        return False
    named = (report.get("format"), report.get("bundle")) == (REPORT_FORMAT, digest)
    return named and bool(sum(sites.values()) == report["patients"])


def _is_report(report: object) -> bool:
    if not isinstance(report, dict):
        return False
    patients = report.get("patients")
    measured = any(isinstance(value, dict | float) and value for name, value in report.items() if name != "patients")
    return isinstance(patients, int) and patients > 0 and measured


def _verify(folder: Path) -> Bundle:
    """The bundle, once every checksum agrees and its network has been opened."""
    bundle = Bundle.load(folder)
    Engine(bundle, provider="cpu")
    return bundle


def _log_event(state: dict[str, Any], act: RegistryAction, digest: str, by: str, why: str) -> None:
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    state["history"].append(asdict(RegistryEvent(moment, by, act, digest, why.strip())))


def _refusal(found: Message) -> BundleError:
    return BundleError(
        found=found,
        needed=Message("A model that can be put in force and is not yet."),
        advice=Message("See `fedpet model list`."),
    )
