"""What the pages, the routes and the computations of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from app.access import Access
from app.audit import Audit
from app.jobs import Jobs
from app.store import Store
from app.workflow import Workflow
from fedpet.settings import load_settings
from inference.bundle import Bundle

if TYPE_CHECKING:
    from fedpet.settings import Settings

FILES = "/files"  # /files/<case>/<name>: the route of the files of a case


@dataclass(frozen=True)
class Services:
    """Settings, cases, sessions, computations, and what a reader does with them."""

    settings: Settings
    store: Store
    access: Access
    jobs: Jobs
    workflow: Workflow

    @cached_property
    def bundle(self) -> Bundle:
        """The model in force."""
        return Bundle.chosen(self.settings.model)


def open_services(settings: Settings) -> Services:
    """Open the database and the keys; from now on they are the ones `services` returns."""
    store = Store.open(settings)
    audit, jobs = Audit(store.engine, settings.folder), Jobs(settings, store)
    workflow = Workflow(store, audit, jobs)
    opened = Services(settings, store, Access.open(settings.folder), jobs, workflow)
    _opened.append(opened)
    return opened


def services() -> Services:
    """The services of this process, opened with the settings in force where no server did before."""
    return _opened[-1] if _opened else open_services(load_settings())


_opened: list[Services] = []
