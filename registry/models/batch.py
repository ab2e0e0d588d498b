"""Collecting half: sealed batches, the files made of them, who may make them, and the index of it all.

Windows of a region are contiguous and gap-free: each batch's `window_start` is its predecessor's
`window_end`, `sequence` counts up by one, and a window without keys is a batch without a file.
"""

import secrets
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.protocol.index import GAEN_ZIP, IndexFile, IndexWindow

_RANDOM_BYTES = 32


def _random() -> bytes:
    return secrets.token_bytes(_RANDOM_BYTES)


class BatchState(StrEnum):
    """SEALED: its keys are decided, its files perhaps not written. PUBLISHED: files stored and recorded;
    public once a leaf of the log stands for it and the indexes point there.
    """

    SEALED = "sealed"
    PUBLISHED = "published"


class Batch(CollectingBase):
    """All keys published at once in one region. Sealed in one transaction, never changed afterwards."""

    __tablename__ = "batch"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), Identity(always=False), primary_key=True
    )
    region: Mapped[str] = mapped_column(String(6))
    sequence: Mapped[int]
    window_start: Mapped[int] = mapped_column(BigInteger)
    """Unix seconds, inclusive."""
    window_end: Mapped[int] = mapped_column(BigInteger)
    """Unix seconds, exclusive."""
    state: Mapped[str] = mapped_column(String(16))
    newest_key_end: Mapped[int | None]
    """Largest end interval number of its keys; its files are retired 21 days after it."""
    salt: Mapped[bytes] = mapped_column(LargeBinary(_RANDOM_BYTES), default=_random)
    """Stands in the manifest, so that its digest in the log tells nothing once the manifest is gone."""
    seed: Mapped[bytes] = mapped_column(LargeBinary(_RANDOM_BYTES), default=_random)
    """Decoy users and decoy receipts are made from it. Secret; its hash stands in the manifest."""
    decoys: Mapped[dict[str, int]] = mapped_column(default=dict)
    """How many decoy users were drawn from the seed, by the set of regions that their keys go out in."""
    decoys_since: Mapped[dict[str, int]] = mapped_column(default=dict)
    """From when on they uploaded, unix seconds, by set: since the last file of the set."""
    manifest_sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Of the manifest that lies in storage, from when it is recorded until it is retired or withdrawn."""
    is_withdrawn: Mapped[bool] = mapped_column(default=False)
    """Its files were taken away before their time; the window stays listed without them."""
    log_year: Mapped[int | None]
    log_number: Mapped[int | None] = mapped_column(BigInteger)
    """Where its leaf stands, once it is sequenced."""

    __table_args__ = (UniqueConstraint("region", "sequence"), UniqueConstraint("region", "window_end"))


class ExportFile(CollectingBase):
    """A file that lies in storage under a name that is written once."""

    __tablename__ = "export_file"
    __table_args__ = IN_KEY_ORDER

    path: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Relative to /exposures/, as index.txt lists it."""
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), index=True)
    file_number: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(String(16), default=GAEN_ZIP)


class ExportSigningKey(CollectingBase):
    """Public half of an export signing key. Live in [not_before, not_after); trusted until retired."""

    __tablename__ = "export_signing_key"
    __table_args__ = IN_KEY_ORDER

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    key_version: Mapped[str] = mapped_column(String(16), primary_key=True)
    public_key_pem: Mapped[str] = mapped_column(String(1000))
    not_before: Mapped[int] = mapped_column(BigInteger)
    not_after: Mapped[int] = mapped_column(BigInteger)


def newest_batch(session: Session, region: str) -> Batch | None:
    """The region's batch with the highest sequence; windows go on from its end."""
    return session.scalars(
        select(Batch).where(Batch.region == region).order_by(Batch.sequence.desc()).limit(1)
    ).one_or_none()


def sealed_batches(session: Session, region: str) -> list[Batch]:
    """Batches of the region whose files are not recorded yet, oldest first."""
    return list(
        session.scalars(
            select(Batch)
            .where(Batch.region == region, Batch.state == BatchState.SEALED)
            .order_by(Batch.sequence)
        )
    )


def unlogged_batches(session: Session, region: str) -> list[Batch]:
    """Batches of the region that are recorded and have no leaf yet, oldest first. None after a sealed one."""
    return list(
        session.scalars(
            select(Batch)
            .where(Batch.region == region, Batch.log_number.is_(None), _before_first_sealed(region))
            .order_by(Batch.sequence)
        )
    )


def newest_logged_batch(session: Session, region: str) -> Batch | None:
    """The region's newest batch that has a leaf."""
    return session.scalars(
        select(Batch)
        .where(Batch.region == region, Batch.log_number.is_not(None))
        .order_by(Batch.sequence.desc())
        .limit(1)
    ).one_or_none()


def index_windows(session: Session, region: str, *, files_newer_than: int) -> tuple[IndexWindow, ...]:
    """The region's published windows, oldest first and without a gap, as the index lists them.

    Files are left out whose newest key ended at or before the interval `files_newer_than`, and those of
    withdrawn batches. Neighbouring
    windows without files become one entry. Ends before the first batch that is not published yet.
    """
    files: dict[int, tuple[IndexFile, ...]] = {}
    for batch_id, path, digest, size, form in session.execute(
        select(ExportFile.batch_id, ExportFile.path, ExportFile.sha256, ExportFile.size, ExportFile.format)
        .join(Batch)
        .where(Batch.region == region, Batch.newest_key_end > files_newer_than, Batch.is_withdrawn.is_(False))
        .order_by(ExportFile.batch_id, ExportFile.format, ExportFile.file_number)
    ):
        files[batch_id] = (*files.get(batch_id, ()), IndexFile(path, digest, size, form))
    windows: list[IndexWindow] = []
    for batch_id, sequence, start, end in session.execute(
        select(Batch.id, Batch.sequence, Batch.window_start, Batch.window_end)
        .where(Batch.region == region, _before_first_sealed(region))
        .order_by(Batch.sequence)
    ):
        listed = files.get(batch_id, ())
        if windows and not windows[-1].files and not listed:
            run = windows[-1]
            windows[-1] = IndexWindow(run.sequence, sequence, run.start, end)
        else:
            windows.append(IndexWindow(sequence, sequence, start, end, listed))
    return tuple(windows)


def _before_first_sealed(region: str) -> ColumnElement[bool]:
    first = (
        select(func.min(Batch.sequence))
        .where(Batch.region == region, Batch.state == BatchState.SEALED)
        .scalar_subquery()
    )
    return or_(first.is_(None), Batch.sequence < first)
