"""An upload is taken back: by its handle or by its phone's token, before and after it left the house."""

import base64
import secrets
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.recall import recall_own_keys, recall_uploads
from registry.models import DiagnosisKey, KeyRevision, RecalledUpload, Shelf, ShelfUpload, transaction
from registry.protocol.keys import ReportType
from tests.authority import RING, made_key
from tests.clock import FakeClock
from tests.lifecycle.upload_desk import UploadDesk


class RecallDesk(UploadDesk):
    """A desk whose uploads can be recalled."""

    def upload_with(
        self, handle: bytes, keys: Sequence[dict[str, Any]], kind: str = "confirmed", **more: Any
    ) -> str:
        """Upload keys under a certificate with this handle; the revision token."""
        return self.upload(keys, kind, evidence={"recall_handle": handle}, **more).revision_token

    def recall(self, *handles: bytes) -> int:
        """Recall by handles."""
        with transaction(self.session):
            return recall_uploads(self.session, handles, self.clock())

    def withdraw(self, token: str) -> int:
        """Recall by the phone's token."""
        with transaction(self.session):
            return recall_own_keys(self.session, token, RING)

    def revisions(self) -> list[tuple[bytes, int]]:
        """(key, report type) of every revision, in order of shelves."""
        self.session.rollback()
        rows = self.session.scalars(select(KeyRevision).order_by(KeyRevision.shelf_id, KeyRevision.key_data))
        return [(row.key_data, row.report_type) for row in rows]

    def revised_uploads(self) -> list[int]:
        """How many uploads' revisions each shelf of revisions counts."""
        self.session.rollback()
        wanted = select(Shelf.revisions).where(Shelf.is_revision).order_by(Shelf.id)
        return list(self.session.scalars(wanted))

    def marks(self) -> int:
        """How many uploads count towards the floor."""
        self.session.rollback()
        return self.session.scalar(select(func.count()).select_from(ShelfUpload)) or 0


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> RecallDesk:
    """The authority's desk."""
    return RecallDesk(collecting_url, collecting_session, clock)


def handle() -> bytes:
    """A fresh one."""
    return secrets.token_bytes(16)


def raw(key: dict[str, Any]) -> bytes:
    return base64.b64decode(key["key"])


def test_before_its_release_a_recalled_key_never_leaves(desk: RecallDesk) -> None:
    mine, others = handle(), handle()
    recalled, stays = [made_key(desk.clock(), day) for day in (0, 2, 3)], made_key(desk.clock())
    desk.upload_with(mine, recalled)
    desk.upload_with(others, [stays])
    assert desk.marks() == 3
    assert desk.recall(mine) == 3
    left = {row.key_data: (row.report_type, row.shelf_id is None) for row in desk.rows()}
    assert left.pop(raw(stays)) == (ReportType.CONFIRMED_TEST, False)
    assert set(left.values()) == {(ReportType.REVOKED, True)}
    assert desk.revisions() == []
    assert desk.marks() == 1, "the floor counts nobody whose keys no longer go out"


def test_after_its_release_it_goes_out_again_as_revoked_where_it_went_out(desk: RecallDesk) -> None:
    mine = handle()
    keys = [made_key(desk.clock(), day) for day in range(1, 15)]
    desk.upload_with(mine, keys)
    desk.upload([made_key(desk.clock())])
    desk.seal()
    assert desk.recall(mine) == 14
    assert dict(desk.revisions()) == {raw(key): ReportType.REVOKED for key in keys}
    assert desk.revised_uploads() == [1], "fourteen keys, one person"
    assert desk.shelves() == [("XA,XB", False, 60), ("XA,XB", True, None)]
    assert {row.report_type for row in desk.rows()} == {ReportType.CONFIRMED_TEST}, "sealed rows never change"


def test_one_upload_of_which_a_part_has_left(desk: RecallDesk) -> None:
    mine = handle()
    past, today = made_key(desk.clock(), 2), made_key(desk.clock(), 0)
    desk.upload_with(mine, [past, today])
    with transaction(desk.session):
        shelf = desk.session.scalars(select(Shelf).where(Shelf.releasable_at == 0)).one()
        shelf.is_open, shelf.window_end = False, 60
    assert desk.recall(mine) == 2
    assert desk.revisions() == [(raw(past), ReportType.REVOKED)]
    assert [row.shelf_id for row in desk.rows() if row.key_data == raw(today)] == [None]


@pytest.mark.parametrize("way", ["handle", "token"])
@pytest.mark.parametrize("sealed", ["never", "before the revision", "after the revision"])
def test_a_recall_follows_an_earlier_revision(desk: RecallDesk, way: str, sealed: str) -> None:
    mine, key = handle(), made_key(desk.clock())
    token = desk.upload_with(mine, [key], "likely")
    if sealed != "never":
        desk.seal()
    token = desk.upload([key], "confirmed", revisionToken=token).revision_token
    if sealed == "after the revision":
        desk.seal()
    assert (desk.recall(mine) if way == "handle" else desk.withdraw(token)) == 1
    if sealed == "never":
        assert desk.shelves() == []
        assert desk.rows()[0].report_type == ReportType.REVOKED
    elif sealed == "before the revision":
        assert desk.revisions() == [(raw(key), ReportType.REVOKED)], "the revision that waits is changed"
        assert desk.revised_uploads() == [1], "and its person counted once"
    else:
        kinds = [kind for _key, kind in desk.revisions()]
        assert kinds == [ReportType.CONFIRMED_TEST, ReportType.REVOKED]


def test_to_recall_twice_changes_nothing(desk: RecallDesk) -> None:
    mine, key = handle(), made_key(desk.clock())
    token = desk.upload_with(mine, [key, made_key(desk.clock(), 0)])
    desk.seal()
    desk.recall(mine)
    before = desk.picture()
    assert desk.recall(mine) == 0
    assert desk.withdraw(token) == 0
    desk.seal()
    before = desk.picture()
    assert desk.recall(mine, handle()) == desk.withdraw(token) == 0
    assert desk.picture() == before


def test_nothing_follows_a_recall(desk: RecallDesk) -> None:
    mine, key = handle(), made_key(desk.clock())
    token = desk.upload_with(mine, [key], "likely")
    desk.seal()
    desk.recall(mine)
    assert desk.refused([key], "confirmed", revisionToken=token) == RefusalCode.KEY_ALREADY_REVISED
    assert desk.upload([key], "negative", revisionToken=token).inserted_exposures == 0


def test_many_uploads_are_recalled_at_once_and_each_is_counted(desk: RecallDesk) -> None:
    handles = [handle() for _ in range(5)]
    kept = [made_key(desk.clock())]
    for number, mine in enumerate(handles):
        desk.upload_with(mine, [made_key(desk.clock(), day) for day in range(2, 4 + number)])
    desk.upload(kept)
    desk.seal()
    assert desk.recall(*handles[:4], handle()) == 2 + 3 + 4 + 5
    assert desk.revised_uploads() == [4]


def test_an_upload_that_was_recalled_before_it_came_is_refused(desk: RecallDesk) -> None:
    mine = handle()
    desk.recall(mine)
    body = desk.body([made_key(desk.clock())], evidence={"recall_handle": mine})
    assert desk.refused_body(body) == RefusalCode.CERTIFICATE_INVALID
    assert desk.upload([made_key(desk.clock())]).inserted_exposures == 1, "others are taken"


def test_a_lost_reply_is_repeated_even_after_the_recall(desk: RecallDesk) -> None:
    mine = handle()
    body = desk.body([made_key(desk.clock())], evidence={"recall_handle": mine})
    first = desk.collect(body)
    desk.recall(mine)
    assert desk.collect(body) == first


def test_of_a_handle_nothing_is_kept_but_a_mark(desk: RecallDesk) -> None:
    mine = handle()
    desk.upload_with(mine, [made_key(desk.clock())])
    desk.recall(mine)
    desk.session.rollback()
    (mark,) = desk.session.scalars(select(RecalledUpload))
    assert mine not in mark.mark
    assert mark.expires_at_interval % 6 == 0, "no time finer than the hour"


def test_a_token_takes_back_its_own_keys_only(desk: RecallDesk) -> None:
    mine, others = made_key(desk.clock()), made_key(desk.clock())
    token = desk.upload([mine]).revision_token
    desk.upload([others])
    assert desk.withdraw(token) == 1
    assert {row.key_data: row.report_type for row in desk.rows()} == {
        raw(mine): ReportType.REVOKED,
        raw(others): ReportType.CONFIRMED_TEST,
    }


def test_a_token_of_two_uploads_takes_back_both(desk: RecallDesk) -> None:
    first, second = made_key(desk.clock(), 5), made_key(desk.clock(), 4)
    token = desk.upload([first]).revision_token
    token = desk.upload([second], revisionToken=token).revision_token
    desk.seal()
    assert desk.withdraw(token) == 2
    assert desk.revised_uploads() == [1], "one person, whatever came when"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", RefusalCode.MISSING_REVISION_TOKEN),
        ("not base64!", RefusalCode.MISSING_REVISION_TOKEN),
        ("AAAA", RefusalCode.INVALID_REVISION_TOKEN),
    ],
)
def test_without_a_token_of_ours_nothing_is_taken_back(
    desk: RecallDesk, token: str, code: RefusalCode
) -> None:
    desk.upload([made_key(desk.clock())])
    with pytest.raises(Refusal) as refused:
        desk.withdraw(token)
    assert refused.value.code == code


def test_a_key_that_goes_out_nowhere_is_revoked_too(desk: RecallDesk) -> None:
    mine = handle()
    desk.upload_with(mine, [made_key(desk.clock())])
    with transaction(desk.session):
        desk.session.query(DiagnosisKey).update({"shelf_id": None})
    assert desk.recall(mine) == 1
    assert desk.recall(mine) == 0


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happened_before_a_recall_each_key_ends_revoked_and_others_stay(
    desk: RecallDesk, data: st.DataObject
) -> None:
    uploads = []
    for _ in range(data.draw(st.integers(1, 4), "uploads")):
        mine = handle()
        kind = data.draw(st.sampled_from(["confirmed", "likely"]), "kind")
        keys = [made_key(desk.clock(), day) for day in range(data.draw(st.integers(1, 3), "keys"))]
        token = desk.upload_with(mine, keys, kind)
        for step in data.draw(st.lists(st.sampled_from(["seal", "revise"]), max_size=3), "steps"):
            if step == "seal":
                desk.seal()
            elif kind == "likely":
                kind = "confirmed"
                token = desk.upload(keys, kind, revisionToken=token).revision_token
        uploads.append((mine, keys))
    recalled = data.draw(st.sets(st.sampled_from(range(len(uploads)))), "recalled")
    desk.recall(*(uploads[number][0] for number in sorted(recalled)))
    revoked = {key for key, kind in desk.revisions() if kind == ReportType.REVOKED}
    never = {
        row.key_data for row in desk.rows() if row.report_type == ReportType.REVOKED and row.shelf_id is None
    }
    for number, (_mine, keys) in enumerate(uploads):
        for key in map(raw, keys):
            assert (key in revoked) + (key in never) == (number in recalled)
