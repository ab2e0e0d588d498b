"""`registry auditor`: who may see the receipts, by links that are good once and at one face."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.lifecycle.activity import acts_of
from registry.models import Official, open_database, transaction
from registry.models.official import Role, redeem_sign_in_link
from registry.protocol.activity import OPERATORS_CHAIN, decode_act

LINK = re.compile(r"http://127\.0\.0\.1:8000/audit/sign-in/([\w-]{43})\n")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder, and an environment that points at it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    made = read_settings()
    # The commands read the machine's clock.
    prepare(made, time.time)
    return made


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    """The command, on that registry."""
    return lambda *words: CliRunner().invoke(main, list(words))


def auditors(settings: Settings) -> dict[str, str]:
    """Id and name of every auditor."""
    with Session(open_database(settings.issuing_database_url)) as session:
        rows = session.scalars(select(Official).where(Official.role == Role.AUDITOR.value)).all()
        return {row.id: row.name for row in rows}


def test_the_first_link_makes_the_first_auditor_and_the_next_are_theirs(
    registry: Callable[..., Result], settings: Settings
) -> None:
    links = [LINK.fullmatch(registry("auditor", "link").output) for _ in range(2)]
    assert len(auditors(settings)) == 1
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        for link in links:
            assert link
            assert redeem_sign_in_link(session, link[1], time.time()) is None, "the portal lets nobody in"
            assert redeem_sign_in_link(session, link[1], time.time(), Role.AUDITOR)


def test_one_more_auditor_has_links_of_their_own(registry: Callable[..., Result], settings: Settings) -> None:
    added = registry("auditor", "add", "Zhao Min").output.strip()
    assert auditors(settings) == {added: "Zhao Min"}
    assert LINK.fullmatch(registry("auditor", "link", "--id", added).output)


def test_an_official_is_no_auditor_and_a_disabled_auditor_gets_no_link(
    registry: Callable[..., Result], settings: Settings
) -> None:
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        official = session.scalars(select(Official.id)).one()
    assert registry("auditor", "link", "--id", official).exit_code == 1
    added = registry("auditor", "add", "Zhao Min").output.strip()
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        session.execute(update(Official).where(Official.id == added).values(disabled=True))
    for words in (("auditor", "link"), ("auditor", "link", "--id", added)):
        said = registry(*words)
        assert said.exit_code == 1
        assert "no such auditor" in said.output


def test_each_link_is_an_act_of_the_operators(registry: Callable[..., Result], settings: Settings) -> None:
    registry("auditor", "link")
    (auditor_id,) = auditors(settings)
    with Session(open_database(settings.issuing_database_url)) as session:
        acts = [decode_act(event.content) for event in acts_of(session, OPERATORS_CHAIN)]
    assert (acts[-1].kind, acts[-1].detail) == ("auditor_link", {"auditor": auditor_id})
