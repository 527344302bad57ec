"""What the pages, the routes and the computations of one server share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from app.access.accounts import Accounts
from app.access.sessions import SessionService
from app.audit.trail import AuditTrail
from app.cases.model_choice import Models
from app.cases.store import Store
from app.cases.workflow import Workflow
from app.jobs.editors import Editors
from app.jobs.scheduler import JobScheduler
from fedpet.core.settings import load_settings
from inference.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fedpet.core.settings import Settings
    from inference.bundle.storage import Bundle

FILES = "/files"  # /files/<case>/<name>: the route of the files of a case
ACTIVE = "/session/active"  # where a page says that its user is there, or asks whether they still are


@dataclass(frozen=True)
class Services:
    """Settings, cases, users, computations, and what a reader does with them."""

    settings: Settings
    store: Store
    accounts: Accounts
    access: SessionService
    jobs: JobScheduler
    workflow: Workflow

    @property
    def proofs(self) -> Path:
        """The folder of the proofs of erasures (`app.cases.erasure`)."""
        return self.settings.folder / "erasures"

    @cached_property
    def models(self) -> Models:
        """The registry of models."""
        return Models(Registry.of(self.settings), self.workflow.audit)

    @cached_property
    def editors(self) -> Editors:
        """The processes that measure lesions anew while readers correct them."""
        return Editors(self.settings)

    @property
    def bundle(self) -> Bundle:
        """The model in force now."""
        return self.models.registry.in_force()


def open_services(settings: Settings) -> Services:
    """Open the database and the keys."""
    store = Store.open(settings)
    audit, jobs = AuditTrail.of(store.engine, settings), JobScheduler(settings, store)
    accounts, workflow = Accounts(store.engine), Workflow(store, audit, jobs)
    return Services(settings, store, accounts, SessionService.open(settings, audit, accounts), jobs, workflow)


@dataclass
class _Pages:
    """What the pages of this process use: Streamlit runs them as scripts, to which nothing can be passed."""

    services: Services | None = None


_PAGES: Final = _Pages()


@contextmanager
def pages_use(services: Services) -> Iterator[Services]:
    """Let the pages of this process use these services, until the context is left."""
    before, _PAGES.services = _PAGES.services, services
    try:
        yield services
    finally:
        _PAGES.services = before


def services() -> Services:
    """The services of the pages: those of the server, or without one of the settings in force, opened once."""
    if _PAGES.services is None:
        _PAGES.services = open_services(load_settings())
    return _PAGES.services
