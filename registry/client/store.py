"""The phone's memory: one SQLite file, readable by its owner alone.

Holds this phone's keys (14 days), sightings (21 days), what was read and matched, and an upload under way.
Whatever is past its time is deleted, and overwritten, each time the file is opened. It must never hold a
place, a name, or which sighting matched.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, fields
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from registry.client.failures import NotSetUp
from registry.client.match import Exposure, KnownKey, Outcome
from registry.client.remembered import (
    SCHEMA_STEPS,
    Evidence,
    KeptReceipt,
    LogHead,
    PendingUpload,
    PollState,
    Registration,
)
from registry.client.sightings import Sighting
from registry.protocol.intervals import INTERVALS_PER_DAY, day_start, interval_at, utc_date
from registry.protocol.keys import ReportType, TemporaryExposureKey

OWN_KEY_DAYS = 14
SIGHTING_DAYS = 21
RECEIPT_DAYS = 21
"""After the newest key's validity: as long as the registry keeps keys."""
PENDING_UPLOAD_SECONDS = 48 * 3600
"""No code, token or certificate lives that long: an older upload cannot be finished any more."""

MAX_EVIDENCE = 8
"""Of each kind: whoever answers in the registry's place must not fill the phone, nor push out the first."""

_SQLITE_HEADER = b"SQLite format 3\0"


class PhoneStore:
    """An open store. Use as a context manager; not shared between threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, now: float) -> Self:
        """Opens `path`, or creates it with mode 0600, and forgets what is past its time.

        Raises `NotSetUp` if the file is something else or of another version of this program.
        """
        # Created by us and before SQLite writes to it, so that it is never readable by others for a moment;
        # SQLite gives its journal the same mode.
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
            beginning = file.read(len(_SQLITE_HEADER))
        # SQLite would take a short file of another kind for an empty database, and overwrite it.
        if beginning not in (b"", _SQLITE_HEADER):
            raise NotSetUp(f"{path} is not a phone's store; name another file with --store")
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            store = cls(connection)
            store._prepare(path)
            path.chmod(0o600)
            store.forget(now)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise NotSetUp(f"{path} cannot be used as a phone's store: {error}") from error
        except NotSetUp:
            connection.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _prepare(self, path: Path) -> None:
        with self.all_or_nothing():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if version > len(SCHEMA_STEPS) or (version == 0 and tables != (0,)):
                raise NotSetUp(f"{path} is not a phone's store of this version; name another with --store")
            # A crash between the steps leaves the store as it was: they are one transaction.
            for step in SCHEMA_STEPS[version:]:
                for statement in step.split(";"):
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {len(SCHEMA_STEPS)}")

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """All or nothing; a crash inside leaves the store as it was before."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def forget(self, now: float) -> None:
        """Deletes keys, sightings, matches, uploads and receipts whose time is over at `now`."""
        today = day_start(interval_at(now))
        oldest_day = utc_date(now) - timedelta(days=SIGHTING_DAYS)
        statements: list[tuple[str, float | str]] = [
            (
                "DELETE FROM own_key WHERE rolling_start_interval_number < ?",
                today - OWN_KEY_DAYS * INTERVALS_PER_DAY,
            ),
            ("DELETE FROM sighting WHERE minute < ?", (now - SIGHTING_DAYS * 86400) // 60),
            (
                "DELETE FROM known_key WHERE rolling_start_interval_number < ?",
                # A file may bring a key 15 days after its start and lie about for 21 more.
                today - 2 * SIGHTING_DAYS * INTERVALS_PER_DAY,
            ),
            ("DELETE FROM exposure WHERE day < ?", oldest_day.isoformat()),
            ("DELETE FROM pending_upload WHERE agreed_at < ?", now - PENDING_UPLOAD_SECONDS),
            (
                "DELETE FROM receipt WHERE newest_key_end <= ?",
                interval_at(now) - RECEIPT_DAYS * INTERVALS_PER_DAY,
            ),
        ]
        with self.all_or_nothing():
            for statement, limit in statements:
                self._connection.execute(statement, (limit,))

    # Where the phone belongs

    def registration(self) -> Registration:
        """Raises `NotSetUp` if the phone has not been set up."""
        row = self._row("registration", Registration)
        if row is None:
            raise NotSetUp("this phone is not set up: run `init ADDRESS` for it")
        return Registration(*row[:6], *(bool(mark) for mark in row[6:8]), *row[8:])

    def is_set_up(self) -> bool:
        """Whether `registration` would answer."""
        return self._row("registration", Registration) is not None

    def put_registration(self, registration: Registration) -> None:
        """Replaces what is there."""
        self._put("registration", registration)

    # This phone's keys

    def own_keys(self) -> list[TemporaryExposureKey]:
        """Oldest first; each is valid for its whole UTC day."""
        rows = self._connection.execute(
            "SELECT key_data, rolling_start_interval_number FROM own_key ORDER BY 2"
        )
        return [TemporaryExposureKey(key_data, start) for key_data, start in rows]

    def add_own_key(self, rolling_start_interval_number: int, key_data: bytes) -> None:
        """Does nothing if that day has its key already."""
        self._connection.execute(
            "INSERT OR IGNORE INTO own_key VALUES (?, ?)", (rolling_start_interval_number, key_data)
        )

    # Sightings

    def add_sightings(self, sightings: Iterable[Sighting]) -> int:
        """Adds those that are not there yet; returns how many."""
        before = self._connection.total_changes
        self._connection.executemany(
            "INSERT OR IGNORE INTO sighting (rpi, aem, minute, rssi) VALUES (?, ?, ?, ?)",
            map(astuple, sightings),
        )
        return self._connection.total_changes - before

    def sightings(self) -> list[Sighting]:
        """All that are kept."""
        rows = self._connection.execute("SELECT rpi, aem, minute, rssi FROM sighting ORDER BY minute")
        return [Sighting(*row) for row in rows]

    # What was read, and what it meant

    def poll_state(self) -> PollState:
        row = self._row("poll_state", PollState)
        return PollState(*row) if row else PollState()

    def put_poll_state(self, state: PollState) -> None:
        self._put("poll_state", state)

    def read_files(self) -> set[str]:
        """The cursor: SHA-256 (hex) of every file of whose keys the matches are stored."""
        return {sha256 for (sha256,) in self._connection.execute("SELECT sha256 FROM read_file")}

    def unproven_files(self) -> set[str]:
        """SHA-256 (hex) of every file that was read without a full proof, since there was one."""
        return {sha256 for (sha256,) in self._connection.execute("SELECT sha256 FROM unproven_file")}

    def forget_what_was_read(self) -> None:
        """Deletes cursor, known keys and matches: all that is listed is fetched and matched anew."""
        for table in ("read_file", "known_key", "exposure"):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608  # names from this line

    def forget_files(self, *, ending_after: float | None = None, except_for: Iterable[str] = ()) -> None:
        """Takes files out of the cursor: those of windows ending after a time, else all but those named."""
        if ending_after is not None:
            self._connection.execute("DELETE FROM read_file WHERE window_end > ?", (ending_after,))
            return
        gone = self.read_files() - set(except_for)
        self._connection.executemany("DELETE FROM read_file WHERE sha256 = ?", [(name,) for name in gone])

    def known_keys(self) -> dict[bytes, KnownKey]:
        """Published keys that matter here, by their key bytes."""
        rows = self._connection.execute("SELECT * FROM known_key")
        return {row[0]: KnownKey(row[0], row[1], row[2], revoked=bool(row[3])) for row in rows}

    def exposures(self) -> list[Exposure]:
        """All that are kept, withdrawn ones too, oldest first."""
        rows = self._connection.execute("SELECT * FROM exposure ORDER BY day, key_data")
        return [
            Exposure(key_data, date.fromisoformat(day), ReportType(report_type), count, bool(withdrawn))
            for key_data, day, report_type, count, withdrawn in rows
        ]

    def keep_outcome(
        self,
        outcome: Outcome,
        *,
        sha256: str,
        window_end: int,
        covers: Mapping[str, int] = MappingProxyType({}),
        is_proven: bool = True,
    ) -> None:
        """Stores what a file means and advances the cursor over it, in one transaction.

        `covers` are files that need not be read after it, with the end of their window; `is_proven` says
        whether the index that lists it had a full proof. A crash before the commit leaves nothing of it: the
        file is read again and means the same.
        """
        with self.all_or_nothing():
            self._connection.executemany(
                "INSERT OR REPLACE INTO known_key VALUES (?, ?, ?, ?)", map(astuple, outcome.known)
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO exposure VALUES (?, ?, ?, ?, ?)",
                [(e.key_data, e.day.isoformat(), e.report_type, e.sightings, 0) for e in outcome.exposures],
            )
            self._connection.executemany(
                "UPDATE exposure SET withdrawn = 1 WHERE key_data = ?",
                [(key_data,) for key_data in outcome.withdrawn],
            )
            self._connection.executemany(
                "UPDATE exposure SET report_type = ? WHERE key_data = ?",
                [(int(kind), key_data) for key_data, kind in outcome.report_types.items()],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO read_file VALUES (?, ?)", [*covers.items(), (sha256, window_end)]
            )
            if not is_proven:
                self._connection.execute("INSERT OR IGNORE INTO unproven_file VALUES (?)", (sha256,))

    # The log, and what must not have been shown

    def log_head(self) -> LogHead | None:
        """The newest one that had a full proof."""
        row = self._row("log_head", LogHead)
        return LogHead(*row) if row else None

    def put_log_head(self, head: LogHead) -> None:
        """Replaces what is there. From now on no read file counts as unproven."""
        self._put("log_head", head)
        self._connection.execute("DELETE FROM unproven_file")

    def forget_cosignature_time(self) -> None:
        """For when another policy says what a quorum is."""
        self._connection.execute("UPDATE log_head SET cosigned_at = NULL")

    def keep_evidence(self, evidence: Evidence) -> None:
        """Does nothing if the same was offered before, or if there are `MAX_EVIDENCE` of its kind."""
        self._connection.execute(
            "INSERT INTO evidence (found_at, kind, words, believed, offered) SELECT ?, ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM evidence WHERE kind = ? AND offered = ?) "
            "AND (SELECT count(*) FROM evidence WHERE kind = ?) < ?",
            (*astuple(evidence), evidence.kind, evidence.offered, evidence.kind, MAX_EVIDENCE),
        )

    def evidence(self) -> list[Evidence]:
        """All that is kept, in the order in which it was found."""
        rows = self._connection.execute(
            "SELECT found_at, kind, words, believed, offered FROM evidence ORDER BY number"
        )
        return [Evidence(*row) for row in rows]

    # Uploads

    def pending_upload(self) -> PendingUpload | None:
        row = self._row("pending_upload", PendingUpload)
        return PendingUpload(*row) if row else None

    def put_pending_upload(self, upload: PendingUpload) -> None:
        self._put("pending_upload", upload)

    def drop_pending_upload(self) -> None:
        self._connection.execute("DELETE FROM pending_upload")

    def revision_token(self) -> str | None:
        """What the registry gave with the last upload; the next upload carries it."""
        row = self._connection.execute("SELECT token FROM revision_token").fetchone()
        return str(row[0]) if row else None

    def put_revision_token(self, token: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO revision_token VALUES (1, ?)", (token,))

    def keep_receipt(self, receipt: KeptReceipt) -> None:
        """Does nothing if it is there already."""
        self._connection.execute("INSERT OR IGNORE INTO receipt VALUES (?, ?, ?, ?, ?)", astuple(receipt))

    def receipts(self) -> list[KeptReceipt]:
        """All that are kept, the one with the newest keys first."""
        rows = self._connection.execute("SELECT * FROM receipt ORDER BY newest_key_end DESC, commitment")
        return [KeptReceipt(*row) for row in rows]

    def forget_receipts(self) -> int:
        """Deletes them all; returns how many."""
        return self._connection.execute("DELETE FROM receipt").rowcount

    # The tables of one row. Names come from the dataclasses above, never from outside.

    def _row(self, table: str, kind: type[Any]) -> tuple[Any, ...] | None:
        names = ", ".join(field.name for field in fields(kind))
        row: tuple[Any, ...] | None = self._connection.execute(f"SELECT {names} FROM {table}").fetchone()  # noqa: S608
        return row

    def _put(self, table: str, value: Any) -> None:
        values: Mapping[str, object] = {
            field.name: getattr(value, field.name) for field in fields(type(value))
        }
        marks = ", ".join("?" * len(values))
        self._connection.execute(
            f"INSERT OR REPLACE INTO {table} (only, {', '.join(values)}) VALUES (1, {marks})",  # noqa: S608
            tuple(values.values()),
        )
