"""The year's turn: the old shard is closed and shown whole, the new one begins where the old one ended."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from registry.protocol.index import LOG_CHECKPOINT_PATH, index_proof_path, shard_checkpoint_path
from registry.protocol.intervals import interval_at
from registry.protocol.leaves import CloseLeaf, IndexLeaf, KeyLeaf, OpenLeaf, leaf_type
from registry.protocol.note import verifier_key
from registry.protocol.trust import decode_trust
from tests.publishing import DAY, HOUR, REGION, FailingStorage, Publishing, key_ending
from tests.transparency.public_log import PublicLog
from tests.transparency.witness_of_tests import Witnesses

MIDNIGHT = datetime(2027, 1, 1, tzinfo=UTC).timestamp()


def types(log: PublicLog, year: int) -> list[str]:
    return [leaf_type(leaf) for leaf in log.leaves(year)]


@pytest.fixture
def new_years_eve(stage: Publishing) -> Publishing:
    """The last window but one of the year is out."""
    stage.clock.now = MIDNIGHT - HOUR
    stage.collect([key_ending(interval_at(MIDNIGHT) - 200, 1)])
    stage.publish()
    return stage


def test_the_first_run_of_the_year_closes_one_shard_and_opens_the_next(
    new_years_eve: Publishing, public_log: PublicLog
) -> None:
    stage = new_years_eve
    stage.clock.now = MIDNIGHT - 1
    stage.publish()
    assert public_log.years() == [2026]
    size = public_log.checkpoint().size
    stage.clock.now = MIDNIGHT
    stage.collect([key_ending(interval_at(MIDNIGHT) - 100, 2)])
    stage.publish()
    public_log.check(REGION)
    assert public_log.years() == [2026, 2027]
    final = public_log.checkpoint(shard_checkpoint_path(2026))
    assert final.size == size + 1
    old, new = public_log.leaves(2026), public_log.leaves(2027)
    assert old[-1] == CloseLeaf("registry.example/keys/2027")
    assert isinstance(old[-2], IndexLeaf)
    assert new[0] == OpenLeaf("registry.example/keys/2026", final.size, final.root)
    assert types(public_log, 2027) == [
        *["open", "key", "key", "key", "key", "policy", "index"],
        *["batch", "index"],
    ]
    came = [(leaf.action, leaf.name) for leaf in new if isinstance(leaf, KeyLeaf)]
    assert (
        came
        == [("added", "registry.example/keys/2028")] * 2 + [("retired", "registry.example/keys/2026")] * 2
    )
    assert len(stage.published()) == 2
    assert [batch.sequence for batch in stage.batches()] == [1, 2]


def test_phones_know_the_new_years_keys_before_they_meet_them(
    new_years_eve: Publishing, public_log: PublicLog
) -> None:
    stage = new_years_eve
    stage.clock.now = MIDNIGHT - 1
    stage.publish()
    before = decode_trust(stage.fetch(".well-known/exposure-registry.json"))
    stage.clock.now = MIDNIGHT
    stage.publish()
    after = decode_trust(stage.fetch(".well-known/exposure-registry.json"))
    keys = {year: {verifier_key(one).vkey for one in stage.log.signers(year)} for year in (2026, 2027, 2028)}
    assert keys[2027] <= set(before.log_vkeys)
    assert set(after.log_vkeys) == keys[2026] | keys[2027] | keys[2028], "the past can be verified for ever"
    assert {log.key.vkey for log in after.policy().logs} == keys[2027] | keys[2028]
    assert public_log.checkpoint().origin.endswith("/2027")


def test_a_log_that_slept_for_years_goes_on_in_the_year_in_which_it_wakes(
    new_years_eve: Publishing, public_log: PublicLog
) -> None:
    stage = new_years_eve
    stage.clock.now = MIDNIGHT + 800 * DAY
    stage.publish()
    public_log.check(REGION)
    assert public_log.years() == [2026, 2029]
    assert public_log.leaves(2026)[-1] == CloseLeaf("registry.example/keys/2029")


@pytest.mark.parametrize("part", ["log/2026/", "log/2027/", "log/checkpoint", "tlog-proof"])
def test_a_publisher_that_dies_at_the_turn_goes_on_even_in_another_year(
    new_years_eve: Publishing, public_log: PublicLog, part: str
) -> None:
    stage = new_years_eve
    stage.clock.now = MIDNIGHT
    stage.collect([key_ending(interval_at(MIDNIGHT) - 100, 2)])

    def is_written(call: str, path: str) -> bool:
        return call in ("put_new", "replace") and part in path

    class Killed(BaseException):
        pass

    with pytest.raises(Killed):
        stage.publish(storage=FailingStorage(stage.storage, is_written, Killed()))
    public_log.check_phone(REGION)
    stage.clock.advance(366 * DAY)
    stage.publish()
    public_log.check(REGION)
    assert public_log.year == 2028
    assert public_log.years()[0] == 2026
    assert len({public_log.checkpoint(shard_checkpoint_path(year)).size for year in public_log.years()}) >= 2


def test_a_clock_that_goes_back_over_the_turn_opens_no_second_shard(
    new_years_eve: Publishing, public_log: PublicLog
) -> None:
    stage = new_years_eve
    stage.clock.now = MIDNIGHT
    stage.publish()
    stage.clock.advance(-2 * DAY)
    stage.publish()
    stage.clock.now = MIDNIGHT + HOUR
    stage.publish()
    public_log.check(REGION)
    assert public_log.years() == [2026, 2027]


def test_the_new_year_waits_until_the_old_ones_end_is_witnessed(
    new_years_eve: Publishing, public_log: PublicLog
) -> None:
    stage = new_years_eve
    witnesses = Witnesses(stage.clock, "one", quorum=1)
    stage.log = replace(stage.log, **witnesses.settings())
    stage.clock.now = MIDNIGHT - 1
    stage.publish()
    before = stage.fetch(LOG_CHECKPOINT_PATH)
    witnesses["one"].is_down = True
    stage.clock.now = MIDNIGHT
    outcome = stage.publish()
    assert outcome.unwitnessed is True
    assert outcome.windows_sealed == 0
    assert stage.fetch(LOG_CHECKPOINT_PATH) == before
    public_log.check_phone(REGION)
    stage.retire()
    assert stage.storage.names("log/2027/") == []
    witnesses["one"].is_down = False
    stage.clock.advance(2)
    assert stage.publish().unwitnessed is False
    public_log.check(REGION)
    assert public_log.years() == [2026, 2027]
    assert stage.storage.read(index_proof_path(REGION)) is not None
