"""Campaigns of kills: `kill -9` of the registry's processes while phones upload, on either database."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import MetaData

from tests.crash.killing import Campaign as Fight
from tests.postgres import PostgresServer
from tests.running import Running
from tests.soak.campaigns import Campaign, Found, Slice

SLICES = 5
KILLS = 11
"""A slice. Now and then one finds its victim dead already; 50 are left in any case."""


@contextmanager
def _sqlite(folder: Path) -> Iterator[tuple[str, str]]:
    yield f"sqlite:///{folder / 'issuing.sqlite'}", f"sqlite:///{folder / 'collecting.sqlite'}"


@contextmanager
def _postgresql(_folder: Path) -> Iterator[tuple[str, str]]:
    server = PostgresServer.prepare()
    try:
        server.start()
        with ExitStack() as databases:
            empty = server.template(MetaData(), "empty")
            issuing, collecting = (databases.enter_context(server.fresh(empty)) for _ in range(2))
            yield issuing, collecting
    finally:
        server.stop()


DATABASES = {"sqlite": _sqlite, "postgresql": _postgresql}
"""Function from a folder to the URLs of two databases without any table, by kind."""


def _kill(backend: str, piece: Slice) -> Found:
    with DATABASES[backend](piece.folder) as (issuing, collecting):
        registry = Running(
            piece.log.with_suffix(""),  # its data folder; its log has the same name and ".log"
            REGISTRY_ISSUING_DATABASE_URL=issuing,
            REGISTRY_COLLECTING_DATABASE_URL=collecting,
            REGISTRY_WINDOW_SECONDS="1",
            REGISTRY_ANSWER_HOLD_MILLISECONDS="0",
        )
        fight = Fight(registry, random.Random(piece.seed))
        try:
            registry.start()
            fight.fight(piece.size)
            failures = fight.verdict()
        except AssertionError as error:
            failures = [f"did not recover: {error}"]
        finally:
            registry.stop()
    return Found(sum(fight.kills.values()), failures)


CAMPAIGNS = tuple(
    Campaign(f"kills_{backend}", "kills", SLICES, KILLS, partial(_kill, backend)) for backend in DATABASES
)
