"""Uploads to the collecting half without HTTP, and a picture of what they leave there."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.authorities import Believed
from registry.lifecycle.collect import (
    CollectedUpload,
    CollectionPolicy,
    Upload,
    UploadedKey,
    collect_at_once,
    collect_upload,
)
from registry.models import (
    CollectedAnswer,
    DiagnosisKey,
    KeyRevision,
    Receipt,
    Shelf,
    ShelfUpload,
    transaction,
)
from tests.authority import RING, MadeSigner, found_collecting, made_upload
from tests.clock import FakeClock

Keys = Sequence[dict[str, Any]]


def upload_of(body: dict[str, Any]) -> Upload:
    """The upload that a face makes of this body."""
    return Upload(
        health_authority_id=body["healthAuthorityID"],
        keys=tuple(
            UploadedKey(
                key["key"], key["rollingStartNumber"], key["rollingPeriod"], key.get("transmissionRisk", 0)
            )
            for key in body["temporaryExposureKeys"]
        ),
        certificate=body["verificationPayload"],
        hmac_key_text=body["hmacKey"],
        symptom_onset_interval=body.get("symptomOnsetInterval"),
        traveler=body["traveler"],
        revision_token=body.get("revisionToken", ""),
    )


class UploadDesk:
    """The collecting half with one authority, and uploads to it."""

    def __init__(self, url: str, session: Session, clock: FakeClock) -> None:
        self.url, self.session, self.clock = url, session, clock
        self.believed = Believed()
        self.at_once = 0
        """How many uploads went in as one statement."""
        self.signer = MadeSigner("c1")
        found_collecting(session, self.signer, clock())

    def collect(self, body: dict[str, Any], session: Session | None = None) -> CollectedUpload:
        """Collect a whole body, as the face does."""
        session, upload = session or self.session, upload_of(body)
        policy, now = CollectionPolicy(), self.clock()
        collected = collect_at_once(
            session, upload, believed=self.believed, policy=policy, revision_keys=RING, now=now
        )
        if collected is not None:
            self.at_once += 1
            return collected
        return self.collect_the_long_way(body, session)

    def collect_the_long_way(self, body: dict[str, Any], session: Session | None = None) -> CollectedUpload:
        """Collect a whole body as if it were not ordinary."""
        session, upload, policy = session or self.session, upload_of(body), CollectionPolicy()
        with transaction(session):
            return collect_upload(session, upload, policy=policy, revision_keys=RING, now=self.clock())

    def body(self, keys: Keys, report_type: str = "confirmed", **more: Any) -> dict[str, Any]:
        """An upload of `keys` with a certificate that names them."""
        return made_upload(self.signer, list(keys), self.clock(), report_type=report_type, **more)

    def upload(self, keys: Keys, report_type: str = "confirmed", **more: Any) -> CollectedUpload:
        """Make and collect an upload."""
        return self.collect(self.body(keys, report_type, **more))

    def refused(self, keys: Keys, report_type: str = "confirmed", **more: Any) -> RefusalCode:
        """The code that an upload is refused with; it must have stored nothing."""
        return self.refused_body(self.body(keys, report_type, **more))

    def refused_body(self, body: dict[str, Any]) -> RefusalCode:
        """As `refused`, for a whole body."""
        before = self.picture()
        with pytest.raises(Refusal) as refused:
            self.collect(body)
        assert self.picture() == before
        return refused.value.code

    def picture(self) -> list[Any]:
        """Everything that is stored."""
        self.session.rollback()
        tables = (DiagnosisKey, Shelf, KeyRevision, CollectedAnswer, Receipt, ShelfUpload)
        return [self.session.execute(select(table.__table__)).all() for table in tables]

    def rows(self) -> list[DiagnosisKey]:
        """Stored keys, oldest first."""
        self.session.rollback()
        in_time = (DiagnosisKey.rolling_start_interval_number, DiagnosisKey.rolling_period)
        return list(self.session.scalars(select(DiagnosisKey).order_by(*in_time)))

    def shelves(self) -> list[tuple[str, bool, int | None]]:
        """(regions, is_revision, window's end) of every shelf that something lies on, in order."""
        self.session.rollback()
        used = select(DiagnosisKey.shelf_id).union(select(KeyRevision.shelf_id))
        rows = self.session.scalars(select(Shelf).where(Shelf.id.in_(used)).order_by(Shelf.id))
        return [(row.region_set, row.is_revision, row.window_end) for row in rows]

    def receipts(self) -> list[Receipt]:
        """Stored receipts."""
        self.session.rollback()
        return list(self.session.scalars(select(Receipt)))

    def seal(self) -> None:
        """Let all that is pending leave, whatever its embargo."""
        with transaction(self.session):
            self.session.execute(update(Shelf).values(is_open=False, window_end=60))
