"""What its time has come for is gone, rows and files both, and nothing else."""

from dataclasses import asdict
from datetime import date, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import PublishingFailed
from registry.lifecycle.activity import acts_of, check_all_chains, due_anchor, record_operators_act
from registry.lifecycle.counts import CountKind, count_one, counts
from registry.lifecycle.retire import RECALL_DAYS, RetiredCollecting, retire_issuing
from registry.models import (
    Authority,
    Authorization,
    Batch,
    BatchShelf,
    BatchState,
    CollectedAnswer,
    CollectingChaff,
    DayFile,
    DiagnosisKey,
    ExportFile,
    IssuedAnswer,
    IssuingBase,
    IssuingChaff,
    Official,
    PortalSession,
    RecalledUpload,
    RecallOrder,
    Shelf,
    SignInLink,
    VerificationCode,
    VerificationToken,
    transaction,
)
from registry.models.lease import take_lease
from registry.protocol.activity import ActKind
from registry.protocol.index import EXPOSURES, index_path
from registry.protocol.intervals import utc_date
from tests.clock import NOON_OF_JUNE_15, FakeClock
from tests.publishing import DAY, HOUR, NOON, REGION, FailingStorage, Publishing, key_ending

END = int(NOON_OF_JUNE_15)

# -------------------------------------------------------------------- issuing half


def rows(session: Session) -> dict[str, int]:
    return {
        table.name: session.scalar(select(func.count()).select_from(table)) or 0
        for table in IssuingBase.metadata.sorted_tables
    }


def state_an_act(session: Session, number: int, *, on: date, expires_at: int) -> None:
    """An authorization, its code, and the token that a phone got for it."""
    act, day = f"act-{number}", date(2026, 6, 1)
    session.add(Authorization(id=act, authority_id="a", report_type="confirmed", stated_on=on))
    session.flush()
    session.add_all(
        [
            VerificationCode(
                uuid=f"code-{number}",
                authorization_id=act,
                authority_id="a",
                code_hash=sha256(b"%d" % number).digest(),
                report_type="confirmed",
                test_date=day,
                expires_at=expires_at,
            ),
            VerificationToken(
                token_id_hash=sha256(b"t%d" % number).digest(),
                authority_id="a",
                report_type="confirmed",
                test_date=day,
                expires_at=expires_at,
            ),
            IssuedAnswer(lookup_id=sha256(b"a%d" % number).digest(), sealed=b"", expires_at=expires_at),
        ]
    )


def test_codes_go_two_days_after_they_expired_tokens_and_answers_at_once(
    issuing_session: Session, clock: FakeClock
) -> None:
    today = utc_date(clock())
    with transaction(issuing_session) as session:
        session.add(Authority(id="a", name="A", certificate_issuer="i", certificate_audience="u"))
        session.flush()
        for number, expires_at in enumerate([END + 1, END, END - 48 * HOUR + 1, END - 48 * HOUR]):
            state_an_act(session, number, on=today, expires_at=expires_at)
    with transaction(issuing_session) as session:
        gone = retire_issuing(session, clock())
    assert (gone.codes, gone.tokens, gone.answers, gone.authorizations) == (1, 3, 3, 0)
    left = issuing_session.scalars(select(VerificationCode.uuid).order_by(VerificationCode.uuid)).all()
    assert left == ["code-0", "code-1", "code-2"]
    with transaction(issuing_session) as session:
        assert not any(asdict(retire_issuing(session, clock())).values()), "a second run finds nothing"


def test_links_and_sessions_go_when_used_or_over_and_chaff_always(
    issuing_session: Session, clock: FakeClock
) -> None:
    with transaction(issuing_session) as session:
        session.add(Authority(id="a", name="A", certificate_issuer="i", certificate_audience="u"))
        session.flush()
        session.add(Official(id="o", authority_id="a", name="A. Official"))
        session.flush()
        for number, (expires_at, used) in enumerate([(END + 1, False), (END + 1, True), (END, False)]):
            session.add(
                SignInLink(token_hash=b"l%d" % number, official_id="o", expires_at=expires_at, used=used)
            )
            session.add(PortalSession(token_hash=b"s%d" % number, official_id="o", expires_at=expires_at))
        session.add_all([IssuingChaff(noise=b"1"), IssuingChaff(noise=b"2")])
    with transaction(issuing_session) as session:
        gone = retire_issuing(session, clock())
    assert (gone.sign_in_links, gone.sessions, gone.chaff) == (2, 1, 2)
    left = rows(issuing_session)
    assert (left["sign_in_link"], left["portal_session"], left["issuing_chaff"], left["official"]) == (
        1,
        2,
        0,
        1,
    )


def test_acts_are_on_record_for_a_year(issuing_session: Session, clock: FakeClock) -> None:
    today = utc_date(clock())
    with transaction(issuing_session) as session:
        session.add(Authority(id="a", name="A", certificate_issuer="i", certificate_audience="u"))
        session.flush()
        state_an_act(session, 1, on=today - timedelta(days=364), expires_at=0)
        state_an_act(session, 2, on=today - timedelta(days=365), expires_at=0)
    with transaction(issuing_session) as session:
        assert retire_issuing(session, clock()).authorizations == 1
    assert issuing_session.scalars(select(Authorization.id)).all() == ["act-1"]


def test_sealed_handles_go_when_no_key_can_be_left_and_orders_after_a_year(
    issuing_session: Session, clock: FakeClock
) -> None:
    today = utc_date(clock())
    with transaction(issuing_session) as session:
        session.add(Authority(id="a", name="A", certificate_issuer="i", certificate_audience="u"))
        session.flush()
        for days in (RECALL_DAYS - 1, RECALL_DAYS):
            stated_on = today - timedelta(days=days)
            session.add(
                Authorization(
                    id=f"{days}",
                    authority_id="a",
                    report_type="confirmed",
                    stated_on=stated_on,
                    recall_sealed=bytes(64),
                )
            )
        for days in (364, 365):
            session.add(
                RecallOrder(
                    id=f"{days}",
                    authority_id="a",
                    authorization_id="x",
                    reason="mistake",
                    state="done",
                    asked_on=today - timedelta(days=days),
                )
            )
    with transaction(issuing_session) as session:
        gone = retire_issuing(session, clock())
    assert (gone.recall_handles, gone.recall_orders) == (1, 1)
    sealed = select(Authorization.id).where(Authorization.recall_sealed.is_not(None))
    assert issuing_session.scalars(sealed).all() == [f"{RECALL_DAYS - 1}"]
    assert issuing_session.scalars(select(RecallOrder.id)).all() == ["364"]


def test_chains_anchors_and_counts_go_after_a_year_and_a_chain_goes_on_from_its_head(
    issuing_session: Session, clock: FakeClock
) -> None:
    for days_ago in (400, 366, 365, 364, 1):
        at = clock() - days_ago * DAY
        with transaction(issuing_session) as session:
            count_one(session, CountKind.ISSUED, at)
            record_operators_act(session, ActKind.KEY_ROTATED, {"key": f"k-{days_ago}"}, at)
            due_anchor(session, at)
    with transaction(issuing_session) as session:
        gone = retire_issuing(session, clock())
    assert (gone.acts, gone.anchors, gone.counts) == (3, 3, 3)
    assert [row.number for row in acts_of(issuing_session, "registry")] == [4, 5]
    check_all_chains(issuing_session)
    assert len(counts(issuing_session, date(2000, 1, 1))) == 2
    clock.advance(400 * DAY)
    with transaction(issuing_session) as session:
        assert retire_issuing(session, clock()).acts == 2
    check_all_chains(issuing_session)
    with transaction(issuing_session) as session:
        record_operators_act(session, ActKind.KEY_ROTATED, {"key": "k"}, clock())
    assert [row.number for row in acts_of(issuing_session, "registry")] == [6]
    check_all_chains(issuing_session)


def test_a_clock_that_went_back_leaves_no_gap_in_a_chain(issuing_session: Session, clock: FakeClock) -> None:
    for days_ago in (366, 300, 366):
        with transaction(issuing_session) as session:
            record_operators_act(session, ActKind.KEY_ROTATED, {"key": "k"}, clock() - days_ago * DAY)
    with transaction(issuing_session) as session:
        assert retire_issuing(session, clock()).acts == 1
    assert [row.number for row in acts_of(issuing_session, "registry")] == [2, 3]
    check_all_chains(issuing_session)


# ----------------------------------------------------------------- collecting half


def counts_of(stage: Publishing) -> tuple[int, int, int]:
    """(keys, files, batches)."""
    with stage.new_session() as session:
        keys, files, batches = (
            session.scalar(select(func.count()).select_from(model)) or 0
            for model in (DiagnosisKey, ExportFile, Batch)
        )
    return keys, files, batches


def test_a_file_leaves_the_index_a_day_before_it_and_its_key_are_gone(stage: Publishing) -> None:
    key = key_ending(NOON - 12, 1)
    stage.collect([key])
    (published,) = stage.publish().batches
    path = f"{EXPOSURES}/{published.files[0]}"
    ended = (NOON - 12) * 600

    stage.clock.now = ended + 20 * DAY - 1
    stage.retire()
    assert stage.names() == list(published.files)
    stage.clock.now = ended + 20 * DAY
    stage.retire()
    assert stage.names() == []
    assert [window.files for window in stage.index().windows] == [()]
    stage.clock.now = ended + 21 * DAY - 1
    assert stage.retire().files == 0
    assert stage.storage.read(path) is not None, "a phone with yesterday's index still finds it"
    stage.clock.now = ended + 21 * DAY
    outcome = stage.retire()
    assert (outcome.files, outcome.keys) == (2, 1)
    assert stage.storage.read(path) is None
    assert counts_of(stage) == (0, 0, 1), "the newest batch stays, for windows go on from it"


def test_three_weeks_of_keys_come_and_go_and_nothing_dangles(stage: Publishing) -> None:
    """A key every twelve hours, for 24 days; publisher and retirement run as they would."""
    for step in range(24 * 2):
        stage.collect([key_ending(NOON + 72 * step - 12, step)])
        stage.publish()
        if step % 2:
            stage.retire()
            listed = {file.path for window in stage.index().windows for file in window.files}
            with stage.new_session() as session:
                recorded = {*session.scalars(select(ExportFile.path)), *session.scalars(select(DayFile.path))}
                oldest = session.scalar(select(func.min(DiagnosisKey.end_interval_number))) or 0
                loose = session.scalars(
                    select(Shelf.id).where(
                        Shelf.window_end.is_not(None), Shelf.id.not_in(select(BatchShelf.shelf_id))
                    )
                ).all()
            ends = (".zip", ".compact")
            stored = {name for name in stage.storage.names(EXPOSURES) if name.endswith(ends)}
            assert stored == {f"{EXPOSURES}/{path}" for path in recorded}
            assert listed <= recorded
            assert oldest > NOON + 72 * step - 21 * 144
            assert not loose
        stage.clock.advance(12 * HOUR)
    sequences = [batch.sequence for batch in stage.batches()]
    assert sequences == list(range(sequences[0], 49))
    assert sequences[0] > 1, "old batches are gone"
    assert len(stage.published()) == pytest.approx(20 * 2, abs=2)
    # Old indexes expired with the day; a handful is left, the newest among them.
    indexes = stage.storage.names(f"{EXPOSURES}/{REGION}/index/")
    assert len(indexes) <= 10
    digest = sha256(stage.fetch(index_path(REGION))).hexdigest()
    assert f"{EXPOSURES}/{REGION}/index/{digest}.json" in indexes


def test_older_keys_of_a_batch_go_before_its_file_does(stage: Publishing) -> None:
    old, new = key_ending(NOON - 10 * 144, 1), key_ending(NOON - 12, 2)
    stage.collect([old, new])
    stage.publish()
    stage.clock.advance(DAY)
    stage.publish()  # the day's file too
    stage.clock.advance(10 * DAY)
    assert stage.retire().keys == 1
    assert counts_of(stage) == (1, 2, 2)
    assert stage.published() == {(old.key_data, False): 1, (new.key_data, False): 1}, "files never change"


def test_a_key_that_was_never_published_goes_too_and_is_not_published_late(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 12, 1), key_ending(NOON + 144, 2)])
    stage.clock.advance(21 * DAY)  # no publisher ran in all that time
    stage.publish()
    assert [batch.newest_key_end for batch in stage.batches()] == [NOON + 144]
    assert stage.retire().keys == 1
    assert counts_of(stage)[0] == 1


def test_keys_of_a_batch_whose_file_is_still_to_be_made_stay(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 12, 1)])
    with transaction(stage.new_session()) as session:
        batch = Batch(
            region=REGION, sequence=1, window_start=END - HOUR, window_end=END, state=BatchState.SEALED
        )
        batch.newest_key_end = NOON - 12
        session.add(batch)
        session.flush()
        shelf = session.scalars(select(Shelf)).one()
        shelf.is_open, shelf.window_end = False, END
        session.add(BatchShelf(batch_id=batch.id, shelf_id=shelf.id))
    stage.clock.advance(30 * DAY)
    assert stage.retire().keys == 0
    assert len(stage.publish().batches) == 1
    assert stage.names() == [], "too late for the index"
    outcome = stage.retire()
    assert (outcome.files, outcome.keys, outcome.batches) == (2, 1, 1)
    assert [batch.sequence for batch in stage.batches()] == [2]


def test_keys_of_a_day_whose_file_is_still_to_be_made_stay_while_they_are_listed(stage: Publishing) -> None:
    """The publisher is away for days; retirement goes on, and comes first when it is back."""
    old, new = key_ending(NOON - 14 * 144, 1), key_ending(NOON - 12, 2)
    stage.collect([old, new])
    stage.publish()
    stage.clock.advance(8 * DAY)
    assert stage.retire().keys == 0
    stage.publish()
    (day,) = stage.index().days
    held = {key.key_data for key, _ in stage.held(day.files)}
    assert held == {old.key_data, new.key_data}
    stage.check_agreement()
    assert stage.retire().keys == 1


def test_keys_of_a_day_that_comes_to_have_no_file_are_not_kept_for_it(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 14 * 144, 1)])
    stage.publish()
    stage.clock.advance(6 * DAY)  # not listed any more
    assert stage.retire().keys == 0
    stage.clock.advance(DAY)
    assert stage.retire().keys == 1


def test_answers_go_when_they_expire_and_chaff_always(stage: Publishing) -> None:
    with transaction(stage.new_session()) as session:
        session.add(CollectedAnswer(lookup_id=b"1", sealed=b"", expires_at_interval=NOON))
        session.add(CollectedAnswer(lookup_id=b"2", sealed=b"", expires_at_interval=NOON + 1))
        session.add(CollectingChaff(noise=b"x"))
        session.add(RecalledUpload(mark=b"1", expires_at_interval=NOON))
        session.add(RecalledUpload(mark=b"2", expires_at_interval=NOON + 1))
    outcome = stage.retire()
    assert (outcome.answers, outcome.chaff, outcome.recall_marks) == (1, 1, 1)
    outcome = stage.retire()
    assert (outcome.answers, outcome.chaff, outcome.recall_marks) == (0, 0, 0)


def test_retirement_waits_while_a_publisher_is_at_work(stage: Publishing) -> None:
    with transaction(stage.new_session()) as session:
        take_lease(session, "publish", "publisher", stage.clock(), ttl=60)
        session.add(CollectingChaff(noise=b"x"))
    assert stage.retire().busy is True
    stage.clock.advance(60)
    outcome = stage.retire()
    assert (outcome.busy, outcome.chaff) == (False, 1)
    assert stage.publish().busy is False, "its lease ends with its run"


def test_of_two_retirements_at_once_the_second_waits(stage: Publishing) -> None:
    stage.publish()
    others: list[RetiredCollecting] = []

    class Watched(FailingStorage):
        def names(self, prefix: str, *, deep: bool = True) -> list[str]:
            others.append(stage.retire(holder="command:retire"))
            return super().names(prefix, deep=deep)

    watched = Watched(stage.storage, lambda _call, _path: False, OSError())
    assert stage.retire(storage=watched, holder="loop:retire").busy is False
    assert {outcome.busy for outcome in others} == {True}
    assert stage.retire(holder="command:retire").busy is False


def test_a_region_in_trouble_keeps_no_key_no_answer_and_no_other_regions_file(stage: Publishing) -> None:
    regions = ["XA", "XB"]
    stage.publish(regions=regions)
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 12, 1)], regions=regions)
    stage.publish(regions=regions)
    with transaction(stage.new_session()) as session:
        session.add(CollectedAnswer(lookup_id=b"1", sealed=b"", expires_at_interval=NOON))
        session.add(CollectingChaff(noise=b"x"))
    index = stage.fetch(index_path("XA"))
    stage.clock.advance(21 * DAY)
    broken = FailingStorage(
        stage.storage, lambda _call, path: path.startswith(f"{EXPOSURES}/XA/"), OSError(5, "I/O")
    )
    with pytest.raises(PublishingFailed, match="XA: OSError") as caught:
        stage.retire(storage=broken)
    assert caught.value.reasons.keys() == {"XA"}
    outcome = caught.value.outcome
    assert (outcome.keys, outcome.answers, outcome.chaff, outcome.files) == (1, 1, 1, 2)
    assert stage.names("XB") == []
    assert not [name for name in stage.storage.names(f"{EXPOSURES}/XB/") if name.endswith(".zip")]
    assert stage.fetch(index_path("XA")) == index
    assert stage.publish(regions=["XB"]).busy is False, "the lease is free again"


def test_a_folder_that_cannot_be_written_keeps_no_key(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 12, 1)])
    stage.publish()
    stage.clock.advance(21 * DAY)
    broken = FailingStorage(stage.storage, lambda _call, _path: True, OSError(30, "Read-only file system"))
    with pytest.raises(PublishingFailed, match="XA: OSError") as caught:
        stage.retire(storage=broken)
    assert caught.value.outcome == RetiredCollecting(keys=1)
    assert counts_of(stage) == (0, 2, 1)
    assert stage.retire().files == 2


def test_a_file_stays_while_its_regions_index_cannot_be_written(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 12, 1)], regions=["XA", "XB"])
    stage.publish(regions=["XA", "XB"])
    stage.clock.advance(21 * DAY)
    broken = FailingStorage(stage.storage, lambda _call, path: path == index_path("XA"), OSError(5, "I/O"))
    with pytest.raises(PublishingFailed, match="XA: OSError"):
        stage.retire(storage=broken)
    for name in stage.names("XA"):
        assert stage.storage.read(f"{EXPOSURES}/{name}") is not None, "listed and gone"
    assert len(stage.names("XA")) == 1
    assert stage.names("XB") == []
