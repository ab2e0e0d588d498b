"""`registry recall` and `registry official add`: what an operator can ask for, and cannot do alone."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.lifecycle.activity import acts_of, check_all_chains
from registry.models import ApiKey, Authorization, Official, RecallOrder, open_database, transaction
from registry.models.official import Role
from registry.protocol.activity import OPERATORS_CHAIN, decode_act
from registry.protocol.intervals import utc_date

DAYS = ("--from", "2026-06-01", "--to", "2026-06-15", "--reason", "mistake")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder with statements of an official, an API key and an outside issuer."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    made = read_settings()
    # The commands read the machine's clock.
    prepare(made, time.time)
    with Session(open_database(made.issuing_database_url)) as session, transaction(session):
        official = session.scalars(select(Official.id)).one()
        key = session.scalars(select(ApiKey.key_hash).filter_by(kind="admin")).one()
        whose = ({"official_id": official}, {"api_key_hash": key, "external_issuer_id": "lab 7"})
        session.add_all(
            Authorization(
                id=f"statement-{number}",
                authority_id=made.health_authority_id,
                report_type="confirmed",
                stated_on=utc_date(1_781_000_000),
                **who,
            )
            for number, who in enumerate(whose)
        )
    return made


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    """The command, on that registry."""
    return lambda *words: CliRunner().invoke(main, list(words))


def orders(settings: Settings) -> list[RecallOrder]:
    """What was asked for."""
    with Session(open_database(settings.issuing_database_url)) as session:
        return list(session.scalars(select(RecallOrder)))


def named(settings: Settings) -> dict[str, str]:
    """Who can be named, by option."""
    with Session(open_database(settings.issuing_database_url)) as session:
        key = session.scalars(select(ApiKey).filter_by(kind="admin")).one()
        return {
            "--official": session.scalars(select(Official.id)).one(),
            "--api-key": key.preview,
            "--issuer": "lab 7",
        }


@pytest.mark.parametrize("option", ["--official", "--api-key", "--issuer"])
def test_a_command_asks_and_an_official_must_approve(
    registry: Callable[..., Result], settings: Settings, option: str
) -> None:
    said = registry("recall", "all", option, named(settings)[option], *DAYS)
    assert said.exit_code == 0, said.output
    (order,) = orders(settings)
    assert f"{settings.base_url}/portal/recalls/{order.id}" in said.output
    assert (order.state, order.asked_by, order.handles) == ("asked", None, None)
    assert (str(order.stated_from), str(order.stated_to)) == ("2026-06-01", "2026-06-15")
    with Session(open_database(settings.issuing_database_url)) as session:
        check_all_chains(session)
        (act,) = [decode_act(event.content) for event in acts_of(session, settings.health_authority_id)]
    assert (act.kind, act.actor) == ("recall_asked", "operator")
    assert "lab 7" not in str(act.detail), "an outside issuer's name is free text"


def test_an_api_key_is_named_by_its_hash_too(registry: Callable[..., Result], settings: Settings) -> None:
    with Session(open_database(settings.issuing_database_url)) as session:
        key_hash = session.scalars(select(ApiKey.key_hash).filter_by(kind="admin")).one()
    assert registry("recall", "all", "--api-key", key_hash.hex(), *DAYS).exit_code == 0
    assert orders(settings)[0].api_key_hash == key_hash


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (DAYS, "give one of"),
        (("--official", "nobody", *DAYS), "no such official"),
        (("--api-key", "nobody", *DAYS), "0 API keys"),
        (("--issuer", "nobody", *DAYS), "no such statement"),
        (("--issuer", "lab 7", "--official", "x", *DAYS), "give one of"),
        (("--issuer", "lab 7", *DAYS[:3], "2026-05-01", *DAYS[4:]), "--to is before --from"),
        (("--issuer", "lab 7", *DAYS[:1], "2026-06-14", *DAYS[2:]), "no such statement"),
    ],
)
def test_what_cannot_be_asked_for(
    registry: Callable[..., Result], settings: Settings, words: tuple[str, ...], why: str
) -> None:
    said = registry("recall", "all", *words)
    assert said.exit_code != 0
    assert why in said.output
    assert orders(settings) == []


def test_one_more_official_signs_in_and_that_is_on_record(
    registry: Callable[..., Result], settings: Settings
) -> None:
    added = registry("official", "add", "Li Na").output.strip()
    assert registry("official", "link", "--id", added).exit_code == 0
    with Session(open_database(settings.issuing_database_url)) as session:
        official = session.get_one(Official, added)
        assert (official.name, official.role) == ("Li Na", Role.OFFICIAL)
        acts = [decode_act(event.content) for event in acts_of(session, OPERATORS_CHAIN)]
    assert ("official_added", {"official": added}) in [(act.kind, act.detail) for act in acts]


def test_the_key_that_opens_handles_is_made_once_and_only_its_public_half_is_anothers(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    private, public = (settings.keys_dir / name for name in ("recall.key", "recall.pub"))
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_text(), public.read_text()
    assert before[0] != before[1]
    prepare(settings, time.time)
    assert (private.read_text(), public.read_text()) == before
    for path in (private, public):
        path.unlink()
    prepare(settings, time.time)
    assert private.exists(), "a folder of an older release gets one"
    assert "is lost" not in caplog.text
    private.unlink()
    prepare(settings, time.time)
    assert "recall.key is lost" in caplog.text
