"""A real PostgreSQL for the tests: a server of its own on a loopback port, with passwords as a hospital's has.

Use through the fixture `postgresql`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

INSTALL = "apt-get install -y --no-install-recommends postgresql"
USER, PASSWORD = "fedpet", "pass-W0rd/4:x"
_ACCOUNT = "postgres"  # of Debian's package; the server refuses to run as root
_CACHES = ("fsync=off", "full_page_writes=off", "max_wal_size=256MB")  # nothing to keep after the tests


class PostgreSql:
    """The server: its programs, its port and its databases."""

    def __init__(self, programs, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.programs = programs
        self._folder = folder
        self._process = None
        self._names = (f"test_{number}" for number in count())
        self._template = None
        self.password_file = folder / "pgpass"  # as libpq reads it: host:port:database:user:password
        self.password_file.write_text(f"127.0.0.1:{self.port}:*:{USER}:{PASSWORD.replace(':', chr(92) + ':')}\n")
        self.password_file.chmod(0o600)

    def url(self, database):
        """The setting `database`: the password stays in its file."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}?passfile={self.password_file}"

    def empty(self):
        """A new database without tables, as the setting `database`."""
        return self.url(self._new("template0"))

    def migrated(self):
        """A new database with the tables of the application, as the setting `database`."""
        if self._template is None:
            from app.database.connection import open_database
            from fedpet.core.settings import Settings

            self._template = self._new("template0")
            open_database(Settings(home=self._folder / "home", database=self.url(self._template))).dispose()
        return self.url(self._new(self._template))

    def _new(self, template):
        name = next(self._names)
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def initialise(self):
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        shutil.chown(secret, **self._owner)
        options = ["--username", USER, "--pwfile", secret, "--auth", "scram-sha-256", "--no-sync"]
        self._run("initdb", "-D", self._data, "--encoding=UTF8", "--locale=C.UTF-8", *options)

    def start(self):
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *_CACHES)
        options = [f"-c{setting}" for setting in settings]
        command = [self.programs / "postgres", "-D", self._data, *options]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._account)
        while self._process.poll() is None:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        pytest.fail("PostgreSQL did not start")

    def stop(self):
        """At once, without asking the clients."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)

    @property
    def _data(self):
        return self._folder / "data"

    @property
    def _owner(self):
        return {"user": _ACCOUNT, "group": _ACCOUNT} if os.geteuid() == 0 else {"user": os.geteuid()}

    @property
    def _account(self):
        return {**self._owner, "extra_groups": []} if os.geteuid() == 0 else {}

    def _run(self, program, *arguments):
        subprocess.run([self.programs / program, *arguments], check=True, capture_output=True, **self._account)


def _programs():
    """Debian keeps them off the path, by version."""
    found = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    return Path(found).resolve().parent if found else installed[-1].parent if installed else None


@contextmanager
def running():
    """Start a server, and stop it at the end; skips where it is not installed."""
    programs = _programs()
    if programs is None:
        message = f"PostgreSQL is missing: {INSTALL}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with tempfile.TemporaryDirectory(prefix="fedpet-postgresql-") as name:  # pytest's own is closed to other accounts
        folder = Path(name)
        server = PostgreSql(programs, folder)
        folder.chmod(0o755)
        (folder / "data").mkdir(mode=0o700)
        shutil.chown(folder / "data", **server._owner)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
