"""The publishing process's own root: which log keys it makes, and which it never makes again."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.app import publisher
from registry.errors import ConfigurationError
from registry.models import VerificationCode, open_database
from tests.transparency.backup import wipe
from tests.world import World

TURN_OF_2027 = 1_798_761_600.0


def key_files(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (world.settings.keys_dir / "log").iterdir()}


def public_files(world: World) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in world.settings.public_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lost", ["2026.pem", "2026-mldsa44.pem"])
@pytest.mark.parametrize("is_wiped", [False, True], ids=["with its database", "without its database"])
def test_lost_log_keys_of_a_shard_that_has_begun_are_not_made_anew(
    world: World, tmp_path: Path, lost: str, *, is_wiped: bool
) -> None:
    world.next_window()
    path = world.settings.keys_dir / "log" / lost
    shutil.move(path, tmp_path / lost)
    keys, files = key_files(world), public_files(world)
    if is_wiped:
        engine = open_database(world.settings.collecting_database_url)
        wipe(engine)
        engine.dispose()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"log keys of 2026 are gone.*bring them back"):
            world.next_window()
        with pytest.raises(ConfigurationError):
            publisher(world.settings, world.clock).ensure_first_files()
    assert key_files(world) == keys
    assert public_files(world) == files
    if not is_wiped:
        shutil.move(tmp_path / lost, path)
        assert world.next_window().windows_sealed == 1


def test_at_the_years_turn_the_keys_of_the_year_after_next_are_made(world: World) -> None:
    assert sorted(key_files(world)) == ["2026-mldsa44.pem", "2026.pem", "2027-mldsa44.pem", "2027.pem"]
    before = key_files(world)
    world.clock.now = TURN_OF_2027
    world.next_window()
    assert before.items() <= key_files(world).items()
    assert sorted(key_files(world).keys() - before.keys()) == ["2028-mldsa44.pem", "2028.pem"]


def test_officials_are_told_of_used_codes_by_the_publisher_and_not_by_a_phones_call(world: World) -> None:
    used, unused = (world.issue()["code"] for _ in range(2))
    assert used != unused
    world.app().verify(used)

    def told() -> list[tuple[bool, bool]]:
        engine = open_database(world.settings.issuing_database_url)
        with Session(engine) as session:
            rows = session.execute(select(VerificationCode.claimed, VerificationCode.claim_told))
            found = sorted((claimed, is_told) for claimed, is_told in rows)
        engine.dispose()
        return found

    world.next_window()
    assert told() == [(False, False), (True, False)]
    publisher(world.settings, world.clock).tell_claims()
    assert told() == [(False, False), (True, False)]
    world.clock.advance(900)
    publisher(world.settings, world.clock).tell_claims()
    assert told() == [(False, False), (True, True)]
