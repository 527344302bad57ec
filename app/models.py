"""The model registry as the application uses it: which model answers a case, and who changed what is in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.options import CaseOptions
from inference.bundle import Bundle
from inference.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from app.audit import Audit
    from app.tables import Case
    from fedpet.settings import Settings


def answered_by(case: Case) -> str:
    """The digest of the model that gave the answer of a case; "" where there is none yet."""
    digest: str = (case.result or {}).get("prediction", {}).get("model", {}).get("digest", "")
    return digest


def bundle_in(folder: Path | None, settings: Settings) -> Bundle:
    """The bundle in a folder; without one, the model in force.

    Raises:
        BundleRefused: it must not be used.
    """
    return Bundle.load(folder) if folder else Registry.of(settings).in_force()


def bundle_for(case: Case, settings: Settings) -> Bundle:
    """The model of a case: the one chosen for it, else the one that answered it, else the one in force.

    A promotion thus changes no case that has an answer.

    Raises:
        BundleRefused: it is no longer here, or must not be used.
    """
    registry = Registry.of(settings)
    digest = CaseOptions.from_json(case.options).model or answered_by(case)
    return registry.find(digest) if digest else registry.in_force()


@dataclass(frozen=True)
class Models:
    """Changes of the registry, each with its line in the audit trail. `actor` is who does it."""

    registry: Registry
    audit: Audit

    def add(self, source: Path, *, actor: str, reason: str = "", evaluation: Path | None = None) -> Bundle:
        """Take a bundle in (`Registry.add`)."""
        added = self.registry.add(source, by=actor, why=reason, evaluation=evaluation)
        return self._recorded("model.added", added, actor, reason)

    def promote(self, digest: str, *, actor: str, reason: str) -> Bundle:
        """Put a bundle in force (`Registry.promote`)."""
        promoted = self.registry.promote(digest, by=actor, why=reason)
        return self._recorded("model.promoted", promoted, actor, reason)

    def roll_back(self, *, actor: str, reason: str) -> Bundle:
        """Put the bundle before in force again (`Registry.roll_back`)."""
        before = self.registry.roll_back(by=actor, why=reason)
        return self._recorded("model.rolled_back", before, actor, reason)

    def _recorded(self, action: str, bundle: Bundle, actor: str, reason: str) -> Bundle:
        named = {"name": bundle.card["name"], "version": bundle.card["version"], "reason": reason}
        self.audit.record(actor, action, model=bundle.digest, detail=named)
        return bundle
