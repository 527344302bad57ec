"""The database of the application: SQLite in the settings' folder, or another one (PostgreSQL) by its URL."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import create_engine, event, func, inspect, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import DBAPIError as DatabaseError

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from fedpet.core.settings import Settings

__all__ = ["DATABASE", "DatabaseError", "forget_deleted", "open_database"]

DATABASE: Final = "cases.sqlite"  # in `home`
_MIGRATION: Final = 0x66656470  # advisory lock of PostgreSQL: servers that start together migrate one after the other


def open_database(settings: Settings) -> Engine:
    """Connect to the database and upgrade its tables to this version.

    Raises:
        SettingsError: the URL cannot be used, the database cannot be opened, or its tables are of a later version.
    """
    try:
        # pre-ping: connections to a database that was restarted are replaced; hide: records must not enter logs
        url = settings.database or f"sqlite:///{settings.folder / DATABASE}"
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (ArgumentError, ValueError, ImportError):  # not chained: the URL may hold a password
        raise _unusable(Message("The setting “database” is not the URL of a known database.")) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
    try:
        with _one_at_a_time(engine, settings):
            _refuse_foreign(engine)
            _migrate(engine)
    except DatabaseError as error:  # also a file that is damaged, or no database
        why = str(error.orig).partition("\n")[0]
        raise _unusable(Message("The database cannot be opened: {why}", why=why)) from error
    except CommandError as error:
        raise _unusable(Message("The database was used by a later version of fedpet.")) from error
    return engine


def forget_deleted(engine: Engine) -> bool:
    """Empty SQLite's write-ahead log, where rows that were deleted can still be read; other databases need nothing.

    Returns:
        False where another connection that reads an older state prevented it for ten seconds.
    """
    if engine.dialect.name != "sqlite":
        return True
    with engine.connect() as connection:
        return bool(connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0)


@contextmanager
def _one_at_a_time(engine: Engine, settings: Settings) -> Iterator[None]:
    """Let processes that start together migrate SQLite one after the other; PostgreSQL has a lock of its own."""
    if engine.dialect.name != "sqlite":
        yield
        return
    try:
        file = (settings.folder / "migration.lock").open("w")
    except OSError as error:
        raise _unusable(Message("The folder {home} cannot be written to.", home=str(settings.folder))) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_foreign(engine: Engine) -> None:
    """Refuse a database that holds tables of another program, before any is made.

    Raises:
        SettingsError: it does.
    """
    names = set(inspect(engine).get_table_names())
    if names and "alembic_version" not in names:
        raise _unusable(Message("The database belongs to another program: it has tables that fedpet did not make."))


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _tune_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:  # noqa: ARG001  SQLAlchemy's
    """Let readers and one writer work side by side, a second writer wait; lose nothing; overwrite what is deleted."""
    for pragma in ("journal_mode=WAL", "busy_timeout=10000", "synchronous=FULL", "secure_delete=ON"):
        connection.cursor().execute(f"PRAGMA {pragma}")


def _unusable(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("A database that this version of fedpet can open: SQLite, or PostgreSQL by its URL."),
        advice=Message(
            "Run “fedpet doctor”; check the setting “database”; a damaged one comes back from its backup "
            "(docs/deployment.md)."
        ),
    )
