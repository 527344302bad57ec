"""The model registry as the application uses it: which model answers a case, and audited changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cases.options import CaseOptions
from app.cases.store import require_shown
from app.cases.tables import digest_of
from inference.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.audit.trail import AuditTrail
    from app.cases.tables import Case
    from fedpet.core.settings import Settings
    from inference.bundle.storage import Bundle
    from inference.registry import RegisteredModel


def answering_model_digest(case: Case) -> str:
    """The digest of the model that answered a case; "" where none has yet."""
    result = case.stored_result
    return "" if result is None else result.prediction.model.digest


def bundle_for(case: Case, settings: Settings) -> Bundle:
    """The model of a case: the one chosen for it, else the one that answered it, else the one in force.

    A promotion thus changes no case that has an answer.

    Raises:
        BundleError: the bundle is no longer in the registry, or must not be used.
    """
    registry = Registry.of(settings)
    digest = CaseOptions.from_json(case.options).model or answering_model_digest(case)
    return (registry.find(digest) if digest else registry.in_force()).at(settings.model_centre)


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
