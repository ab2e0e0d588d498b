"""Where a key is, and why: on a shelf until when, or in which batch and file, by which signers."""

from dataclasses import replace
from hashlib import sha256

from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.publish.explain import Explanation, explain
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
    assert (published.region, published.sequence, published.path) == (REGION, 1, stage.names()[1])
    assert published.signers == ("310 v1",)
    assert published.log_number == stage.batches()[0].log_number
    assert (again.is_revision, again.publications[0].sequence) == (True, 2)


def test_an_upload_is_found_by_its_receipt(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    with transaction(stage.new_session()) as session:
        shelf = session.query(Shelf).one()
        session.add(Receipt(commitment=b"r" * 32, region=REGION, content=b"{}", shelf_id=shelf.id))
    stage.publish()
    found = asked(stage, b"r" * 32)
    assert found is not None
    assert found.what == "upload"
    assert found.stays[0].publications[0].path == stage.names()[0]


def test_a_key_that_was_taken_back_in_time_goes_nowhere_and_an_unknown_one_is_unknown(
    stage: Publishing,
) -> None:
    key = key_ending(NOON - 144, 1)
    stage.collect([key])
    stage.revise(key, ReportType.REVOKED)
    assert asked(stage, name_of(1)) == Explanation("key", ())
    assert asked(stage, name_of(2)) is None
