"""What the pages, the routes and the computations of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from app.access import Access
from app.accounts import Accounts
from app.audit import Audit
from app.jobs import Jobs
from app.models import Models
from app.store import Store
from app.workflow import Workflow
from fedpet.settings import load_settings
from inference.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.settings import Settings
    from inference.bundle import Bundle

FILES = "/files"  # /files/<case>/<name>: the route of the files of a case
ACTIVE = "/session/active"  # where a page says that its user is there, or asks whether they still are


@dataclass(frozen=True)
class Services:
    """Settings, cases, users, computations, and what a reader does with them."""

    settings: Settings
    store: Store
    accounts: Accounts
    access: Access
    jobs: Jobs
    workflow: Workflow

    @property
    def proofs(self) -> Path:
        """The folder of the proofs of erasures (`app.erasure`)."""
        return self.settings.folder / "erasures"

    @cached_property
    def models(self) -> Models:
        """The registry of models."""
        return Models(Registry.of(self.settings), self.workflow.audit)

    @property
    def bundle(self) -> Bundle:
        """The model in force now."""
        return self.models.registry.in_force()


def open_services(settings: Settings) -> Services:
    """Open the database and the keys; from now on they are the ones `services` returns."""
    store = Store.open(settings)
    audit, jobs = Audit(store.engine, settings.folder), Jobs(settings, store)
    accounts, workflow = Accounts(store.engine), Workflow(store, audit, jobs)
    opened = Services(settings, store, accounts, Access.open(settings, audit, accounts), jobs, workflow)
    _opened.append(opened)
    return opened


def services() -> Services:
    """The services of this process, opened with the settings in force where no server did before."""
    return _opened[-1] if _opened else open_services(load_settings())


_opened: list[Services] = []
