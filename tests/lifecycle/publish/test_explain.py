"""Where a key is, and why: on a shelf until when, or in which batch and file, by which signers."""

from dataclasses import replace
from hashlib import sha256

import pytest
from sqlalchemy import event, select

from registry.cli.inspection import explained
from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.publish.explain import Explanation, SignedFile, explain
from registry.lifecycle.recall import recall_uploads
from registry.models import Receipt, Shelf, transaction
from registry.protocol.keys import ReportType
from tests.publishing import HOUR, HOURLY, NOON, REGION, Publishing, key_ending

SLOTS = PublicationPolicy(window_seconds=HOUR, slot_seconds=4 * HOUR, floor=3)


def asked(stage: Publishing, name: bytes, policy: PublicationPolicy = HOURLY) -> Explanation | None:
    with stage.new_session() as session:
        return explain(session, stage.storage, name, policy=policy, now=stage.clock())


def name_of(number: int) -> bytes:
    return sha256(number.to_bytes(16)).digest()


def test_a_key_that_waits_says_for_what_and_how_long(stage: Publishing) -> None:
    stage.publish(policy=SLOTS)
    stage.collect([key_ending(NOON, 1)], regions=["XA", "XB"])
    found = asked(stage, name_of(1), SLOTS)
    assert found is not None
    (stay,) = found.stays
    now = int(stage.clock())
    assert (found.what, stay.regions, stay.publications) == ("key", ("XA", "XB"), ())
    assert stay.embargo_ends == now + 2 * HOUR
    assert (stay.earliest, stay.latest) == (now + 2 * HOUR, now + 4 * HOUR)


def test_a_key_that_is_out_says_where_and_who_signed(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, number) for number in range(5)])
    stage.publish(policy=replace(HOURLY, keys_per_file=2))
    stage.revise(key_ending(NOON - 144, 3), ReportType.REVOKED)
    stage.clock.advance(HOUR)
    stage.publish()
    found = asked(stage, name_of(3))
    assert found is not None
    first, again = found.stays
    (published,) = first.publications
    assert (published.region, published.sequence) == (REGION, 1)
    assert published.files == (SignedFile(stage.names()[1], ("310 v1",)),)
    assert published.log_number == stage.batches()[0].log_number
    assert (again.is_revision, again.publications[0].sequence) == (True, 2)


# ------------------------------------------------------------ uploads


def receipt(stage: Publishing, name: bytes, releasable_at: int = 0) -> None:
    """As an upload leaves it: on the shelf that its first keys wait on."""
    with transaction(stage.new_session()) as session:
        shelf = session.scalars(select(Shelf).filter_by(releasable_at=releasable_at, is_open=True)).one()
        session.add(Receipt(commitment=name, region=REGION, content=b"{}", shelf_id=shelf.id))


def test_an_upload_is_found_by_its_receipt_and_may_be_in_any_file_of_its_window(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, number) for number in range(1, 10)])
    receipt(stage, b"r" * 32)
    found = asked(stage, b"r" * 32)
    assert found is not None
    assert found.stays[0].earliest == int(stage.clock())
    stage.publish(policy=replace(HOURLY, keys_per_file=2))
    found = asked(stage, b"r" * 32)
    assert found is not None
    assert found.what == "upload"
    (stay,) = found.stays
    (published,) = stay.publications
    assert published.sequence == 1
    assert [file.path for file in published.files] == stage.names()
    assert len(published.files) == 5
    assert {file.signers for file in published.files} == {("310 v1",)}
    told = "\n".join(explained(found))
    assert "in some of these 5 files" in told
    assert "Its receipt went with window 1 of XA" in told
    assert "were to leave" in told


def test_of_an_upload_with_an_old_key_and_todays_the_first_is_told_and_the_other_named(
    stage: Publishing,
) -> None:
    stage.publish()
    stage.collect([key_ending(NOON - 144, 1), key_ending(NOON + 60, 2)])
    receipt(stage, b"r" * 32)
    stage.clock.advance(HOUR)
    stage.publish()
    found = asked(stage, b"r" * 32)
    assert found is not None
    assert [one.sequence for stay in found.stays for one in stay.publications] == [2]
    told = "\n".join(explained(found))
    assert "Keys that were valid still leave later" in told
    later = asked(stage, name_of(2))
    assert later is not None
    assert later.stays[0].publications == (), "which is told by its own name"


@pytest.mark.parametrize("others", [True, False])
def test_of_an_upload_that_was_recalled_before_it_left_nobody_says_that_it_is_out(
    stage: Publishing, *, others: bool
) -> None:
    stage.collect([key_ending(NOON - 144, 1)], handle=b"h" * 16)
    receipt(stage, b"r" * 32)
    if others:
        stage.collect([key_ending(NOON - 144, 2)])
    with transaction(stage.new_session()) as session:
        recall_uploads(session, [b"h" * 16], stage.clock())
    stage.publish()
    assert asked(stage, name_of(1)) == Explanation("key", ())
    found = asked(stage, b"r" * 32)
    assert found is not None
    told = "\n".join(explained(found))
    assert "left, or were to leave" in told
    assert "If they were recalled in time, they are in no file" in told
    assert ("in this file, unless recalled" in told) == others
    assert ("in no file: there is none" in told) == (not others)


# ------------------------------------------------------------ keys


def test_a_key_is_looked_for_where_the_keys_are(stage: Publishing) -> None:
    """Not by taking all of them into this process: a nation's fortnight is tens of millions."""
    stage.collect([key_ending(NOON - 144, number) for number in range(3000)])
    counts: list[int] = []
    event.listen(stage.engine, "after_cursor_execute", lambda *args: counts.append(args[1].rowcount))
    found = asked(stage, name_of(2999))
    assert found is not None
    assert found.stays[0].regions == (REGION,)
    assert asked(stage, name_of(3000)) is None
    # SQLite's driver counts no rows, and hands them over one by one.
    assert max(counts) <= 1


def test_a_key_that_was_taken_back_in_time_goes_nowhere_and_an_unknown_one_is_unknown(
    stage: Publishing,
) -> None:
    key = key_ending(NOON - 144, 1)
    stage.collect([key])
    stage.revise(key, ReportType.REVOKED)
    assert asked(stage, name_of(1)) == Explanation("key", ())
    assert asked(stage, name_of(2)) is None
