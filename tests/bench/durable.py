"""A PostgreSQL that keeps what it has committed, for whatever is measured on one."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import URL, make_url

from tests.postgres import PostgresServer


@contextmanager
def durable_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that waits for the disk at each commit. Raises RuntimeError if the given one does not."""
    server = PostgresServer.prepare(durable=True)
    try:
        server.start()
        with psycopg.connect(libpq(server.administration_url)) as connection:
            for setting in ("fsync", "synchronous_commit"):
                (value,) = connection.execute(f"SHOW {setting}").fetchone() or ("",)
                if value != "on":
                    raise RuntimeError(f"PostgreSQL runs with {setting} = {value}: nothing would be durable")
        yield server
    finally:
        server.stop()


def libpq(url: str | URL) -> str:
    """The address of a database as PostgreSQL's own programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
