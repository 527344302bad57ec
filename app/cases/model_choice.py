"""The model registry as the application uses it: which model answers a case, and audited changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from app.cases.options import CaseOptions
from app.cases.store import require_shown
from app.cases.tables import Status, digest_of
from explain.methods import choose_method, fitting_method
from fedpet.core.errors import ModelGoneError
from fedpet.core.messages import Message
from inference.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.audit.trail import AuditTrail
    from app.cases.store import Store
    from app.cases.tables import Case
    from explain.methods import MethodName
    from fedpet.core.settings import Settings
    from inference.bundle.storage import Bundle
    from inference.registry import RegisteredModel

ACTS: Final = {
    "added": Message("added"),
    "evaluated": Message("evaluated"),
    "promoted": Message("promoted"),
    "rolled_back": Message("rolled back to"),
}


def answering_model_digest(case: Case) -> str:
    """The digest of the model that answered a case; "" where none has yet."""
    result = case.stored_result
    return "" if result is None else result.prediction.model.digest


def bundle_for(case: Case, settings: Settings) -> Bundle:
    """The model of a case: the one chosen for it, else the one that answered it, else the one in force.

    A promotion thus changes no case that has an answer.

    Raises:
        ModelGoneError: the bundle is not here any more.
        BundleError: it must not be used.
    """
    registry = Registry.of(settings)
    digest = CaseOptions.from_json(case.options).model or answering_model_digest(case)
    if digest and not registry.holds(digest):
        raise _gone(case, digest)
    return (registry.find(digest) if digest else registry.in_force()).at(settings.model_centre)


def _gone(case: Case, digest: str) -> ModelGoneError:
    """What is kept of a case whose model is not here any more, and what can be done."""
    result = case.stored_result
    known = result is not None and result.prediction.model.digest == digest
    name = f"{result.prediction.model.name} {result.prediction.model.version}" if result and known else "–"
    return ModelGoneError(
        found=Message(
            "The model of this case is not on this machine any more: {name}, fingerprint {digest}. Images, record, "
            "lesions, the stored answer and signed versions are kept.",
            name=name,
            digest=digest[:16],
        ),
        needed=Message("That model, to compute, correct or sign the case with it."),
        advice=Message("Take it in again with fedpet model add, or compute the case with the model in force."),
    )


def without_model(store: Store, settings: Settings) -> int:
    """Number of answered cases, not signed yet, whose model is not here any more."""
    registry = Registry.of(settings)
    waiting = [one for one in store.with_results() if one.status is not Status.SIGNED]
    cases = Counter(digest for one in waiting if (digest := answering_model_digest(one)))
    return sum(count for digest, count in cases.items() if not registry.holds(digest))


def method_of(options: CaseOptions, bundle: Bundle, settings: Settings) -> MethodName:
    """How the answer of a case is explained: as chosen for it, else by the setting, else as suits the model."""
    reads = kind_of(bundle)
    asked = fitting_method(options.explain_method, reads) or fitting_method(settings.explain_method, reads)
    return choose_method(asked, reads)


def kind_of(bundle: Bundle) -> Literal["table", "images"]:
    """What a model reads, and so by which methods it is explained."""
    return "images" if bundle.contract.reads_images else "table"


def digest_of_models(held: Sequence[RegisteredModel]) -> str:
    """Digest of what a list of the models displays: which there are, how each was evaluated, and which is in force."""
    return digest_of([(one.digest, one.in_force, one.patients, one.refused is None) for one in held])


@dataclass(frozen=True)
class Models:
    """Changes of the registry, each with its entry in the audit trail. `actor` is the user who makes it."""

    registry: Registry
    audit: AuditTrail

    def add(self, source: Path, *, actor: str, reason: str = "", evaluation: Path | None = None) -> Bundle:
        """Add a bundle to the registry (`Registry.add`)."""
        added = self.registry.add(source, by=actor, why=reason, evaluation=evaluation)
        return self._record("model.added", added, actor, reason)

    def attach(self, digest: str, evaluation: Path, *, actor: str, reason: str = "") -> Bundle:
        """Give a bundle of the registry its evaluation report (`Registry.attach`)."""
        evaluated = self.registry.attach(digest, evaluation, by=actor, why=reason)
        return self._record("model.evaluated", evaluated, actor, reason)

    def promote(self, digest: str, *, actor: str, reason: str, shown: str | None = None) -> Bundle:
        """Put a bundle in force (`Registry.promote`).

        Raises:
            OutdatedError: the models are not those that were `shown` (`digest_of_models`) any more.
        """
        self._require_shown(shown)
        promoted = self.registry.promote(digest, by=actor, why=reason)
        return self._record("model.promoted", promoted, actor, reason, shown)

    def roll_back(self, *, actor: str, reason: str, shown: str | None = None) -> Bundle:
        """Put the previous bundle in force again (`Registry.roll_back`).

        Raises:
            OutdatedError: the models are not those that were `shown` (`digest_of_models`) any more.
        """
        self._require_shown(shown)
        before = self.registry.roll_back(by=actor, why=reason)
        return self._record("model.rolled_back", before, actor, reason, shown)

    def _require_shown(self, shown: str | None) -> None:
        if shown is not None:
            require_shown(shown, digest_of_models(self.registry.held()))

    def _record(self, action: str, bundle: Bundle, actor: str, reason: str, shown: str | None = None) -> Bundle:
        facts = {"name": bundle.card["name"], "version": bundle.card["version"], "reason": reason}
        facts |= {} if shown is None else {"shown": shown}
        self.audit.record(actor, action, model=bundle.digest, detail=facts)
        return bundle
