"""The database of the application: SQLite in the settings' folder, or another, PostgreSQL above all, by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import create_engine, event, func, select
from sqlalchemy.exc import ArgumentError, OperationalError

from fedpet.errors import SettingsError
from fedpet.messages import Message

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from fedpet.settings import Settings

_MIGRATION: Final = 0x66656470  # advisory lock of PostgreSQL: servers that start together migrate one after the other


def open_database(settings: Settings) -> Engine:
    """Connect, and bring the tables to the present version.

    Raises:
        SettingsError: the URL cannot be used, the database cannot be opened, or its tables are of a later version.
    """
    try:
        # pre-ping: the connections of a database that was restarted are made anew
        engine = create_engine(settings.database or f"sqlite:///{settings.folder / 'cases.sqlite'}", pool_pre_ping=True)
    except (ArgumentError, ValueError, ImportError):  # not chained: the URL may hold a password
        raise _unusable(Message("The setting “database” is not the URL of a known database.")) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
    try:
        _migrate(engine)
    except OperationalError as error:
        why = str(error.orig).partition("\n")[0]
        raise _unusable(Message("The database cannot be opened: {why}", why=why)) from error
    except CommandError as error:
        raise _unusable(Message("The database was used by a later version of fedpet.")) from error
    return engine


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _tune_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:  # noqa: ARG001  SQLAlchemy's
    """Readers and the one writer do not block each other; a second writer waits; what is deleted is overwritten."""
    for pragma in ("journal_mode=WAL", "busy_timeout=10000", "synchronous=NORMAL", "secure_delete=ON"):
        connection.cursor().execute(f"PRAGMA {pragma}")


def _unusable(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("A database that this version of fedpet can open: SQLite, or PostgreSQL by its URL."),
        advice=Message("Check the setting “database” and the server; docs/deployment.md describes both, and updates."),
    )
