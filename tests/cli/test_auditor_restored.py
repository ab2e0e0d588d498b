"""What auditors are told after a clock was corrected or a database came back from a backup."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.cli.auditor import audit
from registry.cli.auditor_surroundings import Auditing
from registry.errors import LogSetBack
from registry.lifecycle.activity import acts_of
from registry.models import IssuingBase, open_database
from registry.protocol.activity import OPERATORS_CHAIN, Act, decode_act
from registry.protocol.encoding import decode_json_object
from tests.app_of_old import fresh_keys
from tests.client.monitor.web import Web
from tests.clock import FakeClock
from tests.transparency.backup import Backup
from tests.world import World

DAY = 86_400


@dataclass
class Desk:
    """An auditor of `world` at a terminal, with access to both databases."""

    world: World
    state: Path

    def _run(self, *words: object) -> dict[str, Any]:
        auditing = Auditing(Web({}), self.world.clock, lambda seconds: None)
        said = CliRunner().invoke(audit, [*map(str, words), "--json"], obj=auditing)
        found: dict[str, Any] = decode_json_object(said.stdout.encode(), "report").as_dict()
        assert said.exit_code == 0 or found["faults"] or found["not_proven"], said.output
        return found

    def follow(self) -> dict[str, Any]:
        """What the public files alone tell."""
        return self._run("follow", self.world.settings.public_dir, "--state", self.state)

    def reconcile(self) -> dict[str, Any]:
        """What both databases tell too."""
        settings = self.world.settings
        urls = ("--issuing", settings.issuing_database_url, "--collecting", settings.collecting_database_url)
        return self._run("reconcile", settings.public_dir, *urls)


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Desk:
    return Desk(world, tmp_path / "state")


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


def operators_acts(world: World) -> list[Act]:
    with engine_of(world.settings.issuing_database_url) as engine, Session(engine) as session:
        return [decode_act(row.content) for row in acts_of(session, OPERATORS_CHAIN)]


def test_a_clock_that_is_corrected_by_minutes_leaves_no_fault(
    world: World, desk: Desk, clock: FakeClock
) -> None:
    clock.advance(20 * 60)  # it was ahead
    world.next_window()
    clock.advance(-20 * 60)
    world.app().upload(world.issue()["code"], fresh_keys(world.clock(), today=False))
    for _ in range(3):
        world.next_window()
    clock.advance(DAY)
    world.next_window()
    assert desk.follow()["faults"] == []


def test_acts_that_were_lost_with_a_backup_of_the_same_day_are_named_and_no_day_is_anchored_twice(
    world: World, desk: Desk, clock: FakeClock
) -> None:
    clock.advance(DAY)  # the day before has its anchor
    with engine_of(world.settings.issuing_database_url) as engine:
        backup = Backup(engine, IssuingBase)
        world.issue()
        world.next_window()
        backup.restore(engine)
    for _ in range(2):
        world.next_window()
    (lost,) = [act for act in operators_acts(world) if act.kind == "anchor_lost"]
    assert lost.detail["day"] == "2026-06-16"
    clock.advance(DAY)
    world.next_window()
    assert desk.follow()["faults"] == []
    found = desk.reconcile()
    assert [fault for fault in found["faults"] if fault["kind"] == "activity"] == []
    (told,) = [text for text in found["not_proven"] if "anchors acts that the database has lost" in text]
    assert f"by act {lost.number} of the operator's chain a backup was restored" in told


def test_a_batch_whose_seed_was_lost_is_not_checkable_and_no_fault(world: World, desk: Desk) -> None:
    world.next_window()
    with engine_of(world.settings.collecting_database_url) as engine:
        backup = Backup(engine)
        world.app().upload(world.issue()["code"], fresh_keys(world.clock(), today=False))
        world.next_window()
        backup.restore(engine)
    with pytest.raises(LogSetBack, match="are back from our own tiles"):
        world.publish()
    world.next_window()
    found = desk.reconcile()
    assert (found["faults"], found["exit_code"]) == ([], 1), "nothing is wrong, and not all can be told"
    (told,) = [text for text in found["not_proven"] if "its seed, and perhaps some of its receipts" in text]
    assert "manifest" in told


def test_new_policies_and_log_keys_are_on_record(world: World, clock: FakeClock) -> None:
    made = [(act.kind, json.dumps(act.detail)) for act in operators_acts(world)]
    assert ("log_keys_made", '{"year": 2026}') in made
    assert ("log_keys_made", '{"year": 2027}') in made
    assert ("policy_changed", '{"sequence": 1}') in made
    for _ in range(3):
        world.next_window()
    assert len(operators_acts(world)) == len(made)
    clock.now = 1_798_761_600.0  # 2027 begins
    world.next_window()
    added = [(act.kind, json.dumps(act.detail)) for act in operators_acts(world)[len(made) :]]
    assert ("log_keys_made", '{"year": 2028}') in added
    assert [kind for kind, _ in added].count("policy_changed") >= 1
