"""Indexes and trust material follow from the rows, to the byte, and stand still when nothing changed."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.client.verify import check_index
from registry.errors import ConfigurationError, PublishingFailed
from registry.lifecycle.publish import PublicationPolicy, ensure_first_files
from registry.lifecycle.publish.policy import PHONES_TOLERATE_SECONDS
from registry.protocol.index import (
    COMPACT,
    EXPOSURES,
    GAEN_ZIP,
    LOG_POLICY_PATH,
    TRUST_PATH,
    Index,
    IndexFile,
    IndexWindow,
    index_path,
)
from registry.protocol.index import legacy_index_path as text_path
from registry.protocol.note import verifier_key
from registry.protocol.trust import decode_trust
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import DAY, HOUR, HOURLY, NOON, REGION, Publishing, key_ending, new_signer

END = int(NOON_OF_JUNE_15)


def ensure(stage: Publishing, *regions: str, policy: PublicationPolicy = HOURLY) -> None:
    ensure_first_files(
        stage.new_session,
        stage.storage,
        regions=regions or [REGION],
        policy=policy,
        profile="demo",
        log=stage.log,
        now=stage.clock(),
        holder="first start",
    )


def publish_one(stage: Publishing, number: int) -> None:
    stage.collect([key_ending(NOON - 144, number)])
    stage.publish()


def test_the_indexes_say_exactly_what_there_is(stage: Publishing) -> None:
    publish_one(stage, 1)
    for _ in range(2):
        stage.clock.advance(HOUR)
        stage.publish()
    stage.clock.advance(HOUR + 60)
    publish_one(stage, 2)
    first, second = f"XA/{END - HOUR}-{END}-00001.zip", f"XA/{END + 2 * HOUR}-{END + 3 * HOUR}-00001.zip"
    assert stage.fetch(text_path(REGION)) == f"{first}\n{second}".encode("ascii")
    entries = []
    for name in (first, second):
        files = []
        for path, form in ((name.replace(".zip", ".compact"), COMPACT), (name, GAEN_ZIP)):
            content = stage.fetch(f"{EXPOSURES}/{path}")
            files.append(IndexFile(path, sha256(content).hexdigest(), len(content), form))
        entries.append(tuple(files))
    index = stage.index()
    assert len(index.salt) == 32
    assert replace(index, salt=b"") == Index(
        region=REGION,
        sequence=4,
        issued_at=END + 3 * HOUR + 60,
        next_window_end=END + 4 * HOUR,
        expires_at=END + 3 * HOUR + 60 + DAY,
        windows=(
            IndexWindow(1, 1, END - HOUR, END, entries[0]),
            IndexWindow(2, 3, END, END + 2 * HOUR),
            IndexWindow(4, 4, END + 2 * HOUR, END + 3 * HOUR, entries[1]),
        ),
    )
    stage.check_agreement()


def test_an_index_stays_under_its_digest_when_the_next_one_comes(stage: Publishing) -> None:
    seen = []
    for number in range(3):
        publish_one(stage, number)
        seen.append(stage.fetch(index_path(REGION)))
        stage.clock.advance(HOUR)
    for content in seen:
        assert stage.fetch(f"{EXPOSURES}/{REGION}/index/{sha256(content).hexdigest()}.json") == content


def test_nothing_is_written_when_nothing_changed_until_half_the_life_is_over(stage: Publishing) -> None:
    policy = PublicationPolicy(window_seconds=DAY)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.clock.advance(12 * HOUR)
    stage.publish(policy=policy)
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    stage.clock.advance(12 * HOUR - 1)
    stage.publish(policy=policy)
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == before
    stage.clock.advance(1)  # also the end of no window
    stage.publish(policy=replace(policy, window_seconds=2 * DAY))
    index = stage.index()
    assert index.issued_at == stage.clock()
    assert index.expires_at == stage.clock() + DAY


def test_first_files_exist_before_anything_is_published(stage: Publishing) -> None:
    ensure(stage, "XA", "XB")
    for region in ("XA", "XB"):
        assert stage.fetch(text_path(region)) == b""
        index = stage.index(region)
        assert (index.sequence, index.windows, index.next_window_end) == (0, (), END + HOUR)
        stage.check_agreement(region)
    assert decode_trust(stage.fetch(TRUST_PATH)).regions == ("XA", "XB")


def test_first_files_never_replace_what_a_publisher_wrote(stage: Publishing) -> None:
    publish_one(stage, 1)
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    stage.clock.advance(60)
    ensure(stage)
    assert before.items() <= {name: stage.fetch(name) for name in stage.storage.names("")}.items()


def test_a_damaged_or_lost_index_is_written_anew_with_the_next_run(stage: Publishing) -> None:
    publish_one(stage, 1)
    intact = stage.index()
    for path in (index_path(REGION), text_path(REGION)):
        stage.storage.replace(path, b"\xff torn")
        stage.publish()
        stage.check_agreement()
        stage.storage.delete(path)
        stage.publish()
        stage.check_agreement()
    assert stage.index() == intact


def test_while_the_clock_is_far_behind_the_newest_index_none_is_issued(stage: Publishing) -> None:
    """Its leaf would say that time goes backwards, and monitors would fault the log for ever."""
    stage.clock.advance(DAY)
    stage.publish()
    ahead = stage.fetch(index_path(REGION))
    stage.clock.advance(-DAY)
    assert stage.publish().clock_behind is True
    assert stage.fetch(index_path(REGION)) == ahead
    stage.clock.advance(DAY)
    assert stage.publish().clock_behind is False


def test_after_a_small_step_back_no_index_looks_older_than_the_last(stage: Publishing) -> None:
    assert PHONES_TOLERATE_SECONDS == CLOCK_TOLERANCE_SECONDS
    publish_one(stage, 1)
    before = stage.fetch(index_path(REGION))
    seen = stage.index()
    stage.clock.advance(-PHONES_TOLERATE_SECONDS)
    stage.publish()
    assert stage.fetch(index_path(REGION)) == before
    stage.publish(policy=replace(HOURLY, window_seconds=2 * HOUR))  # the index has something new to say
    index = stage.index()
    assert index == replace(seen, next_window_end=END + 2 * HOUR, salt=index.salt)
    check_index(stage.index(), region=REGION, previous=seen, now=stage.clock())


def test_a_listed_file_that_is_gone_is_told_by_every_run_and_never_made_again(stage: Publishing) -> None:
    publish_one(stage, 1)
    (name,) = stage.names()
    content = stage.fetch(f"{EXPOSURES}/{name}")
    stage.storage.delete(f"{EXPOSURES}/{name}")
    for number in (2, 3):
        stage.clock.advance(HOUR)
        stage.collect([key_ending(NOON - 144, number)])
        with pytest.raises(PublishingFailed, match=f"{name}, listed and gone"):
            stage.publish()
        assert stage.storage.read(f"{EXPOSURES}/{name}") is None
        assert len(stage.names()) == number, "the windows go on"
    stage.storage.put_new(f"{EXPOSURES}/{name}", content)
    stage.publish()
    assert len(stage.published()) == 3


def test_trust_material_says_who_signs_and_by_which_policy(stage: Publishing) -> None:
    stage.publish(regions=["XB", "XA"])
    document = json.loads(stage.fetch(TRUST_PATH))
    signer = stage.signers[0]
    assert document["export_signing_keys"] == [
        {
            "key_id": signer.key_id,
            "key_version": signer.key_version,
            "public_key": signer.public_key_pem,
            "not_before": 0,
            "not_after": END + 10_000 * DAY,
        }
    ]
    assert (document["profile"], document["regions"]) == ("demo", ["XA", "XB"])
    keys = [verifier_key(signer).vkey for year in (2026, 2027) for signer in stage.log.signers(year)]
    assert document["log_vkeys"] == keys, "of this year and of the next"
    assert document["witness_policy"] == "".join(f"log {key}\n" for key in keys) + "quorum none\n"
    assert stage.fetch(LOG_POLICY_PATH).decode() == document["witness_policy"]
    assert document["trust_vkey"] == verifier_key(stage.log.trust_signer).vkey
    assert (document["log_origin"], document["sequence"]) == (stage.log.origin, 1)
    assert document["publication"] == {
        "window_seconds": HOUR,
        "slot_seconds": HOUR,
        "floor": 0,
        "embargo_seconds": 7200,
        "retention_days": 21,
        "index_life_seconds": DAY,
        "cosignature_warn_seconds": 6 * HOUR,
        "cosignature_fail_seconds": 48 * HOUR,
        "proof_grace_seconds": 48 * HOUR,
    }
    assert document["issued_at"] == END


def test_trust_material_changes_only_with_its_content(stage: Publishing) -> None:
    stage.publish()
    before = stage.fetch(TRUST_PATH)
    stage.clock.advance(DAY)
    stage.publish()
    assert stage.fetch(TRUST_PATH) == before
    stage.add_signer(new_signer("310", "v2"), since=END + 30 * DAY, until=END + 60 * DAY)
    stage.publish()
    after = decode_trust(stage.fetch(TRUST_PATH))
    # Before its time comes, so that phones know it when the first file needs it.
    assert [key.key_version for key in after.export_signing_keys] == ["v2", "v1"]
    assert after.issued_at == END + DAY


def test_a_key_stays_in_the_trust_material_until_its_last_file_is_gone(stage: Publishing) -> None:
    stage.add_signer(new_signer("310", "old"), since=1, until=END + HOUR)
    stage.clock.advance(HOUR + 22 * DAY - 1)
    stage.publish()
    versions = [key.key_version for key in decode_trust(stage.fetch(TRUST_PATH)).export_signing_keys]
    assert "old" in versions
    stage.clock.advance(1)
    stage.publish()
    versions = [key.key_version for key in decode_trust(stage.fetch(TRUST_PATH)).export_signing_keys]
    assert versions == ["v1"]


def register_a_key_that_ends_before_it_begins(stage: Publishing) -> None:
    stage.add_signer(new_signer("310", "v2"), since=END + DAY, until=END + HOUR)


def test_trust_material_that_phones_would_refuse_is_not_published(stage: Publishing) -> None:
    publish_one(stage, 1)
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    register_a_key_that_ends_before_it_begins(stage)
    stage.clock.advance(HOUR)
    with pytest.raises(ConfigurationError, match="310 v2 ends before it begins"):
        stage.publish()
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == before


def test_a_region_that_phones_would_refuse_is_not_published(stage: Publishing) -> None:
    with pytest.raises(ConfigurationError, match="'Xanadu' is not an ISO 3166 code"):
        stage.publish(regions=["XA", "Xanadu"])
    assert stage.storage.names("") == []


def test_trust_material_that_phones_would_refuse_is_not_the_first_either(stage: Publishing) -> None:
    register_a_key_that_ends_before_it_begins(stage)
    with pytest.raises(ConfigurationError, match="310 v2 ends before it begins"):
        ensure(stage)
    assert stage.storage.names("") == []
