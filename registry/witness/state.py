"""What a witness remembers, in a SQLite file of its own: logs, the head of each, every size it cosigned.

Each commit is on the disk before it returns (WAL, synchronous=FULL). A file that is missing is never made
anew by opening it: a witness that forgot what it cosigned could cosign a fork. Only `create_state` makes
one, and only who knows that nothing was cosigned yet may call that.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from registry.errors import ConfigurationError, Unavailable
from registry.protocol.checkpoint import Checkpoint, encode_checkpoint
from registry.protocol.note import VerifierKey, decode_vkey
from registry.protocol.witness_request import origin_hash

BUSY_SECONDS = 30.0
MAX_EVIDENCE = 1_000
"""Of one kind and log. What comes after adds nothing, and must not fill the disk."""

_SCHEMA = (
    """CREATE TABLE witness (
        one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, keys TEXT NOT NULL
    )""",
    """CREATE TABLE log (
        origin TEXT, vkey TEXT, contact TEXT NOT NULL, PRIMARY KEY (origin, vkey)
    )""",
    """CREATE TABLE head (
        origin TEXT PRIMARY KEY, origin_hash TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL, note BLOB NOT NULL
    )""",
    # The primary key says it for the database: one size of an origin has one root, ever.
    """CREATE TABLE cosigned (
        origin TEXT, size INTEGER, root BLOB NOT NULL, note BLOB NOT NULL, PRIMARY KEY (origin, size)
    ) WITHOUT ROWID""",
    """CREATE TABLE evidence (
        number INTEGER PRIMARY KEY, origin TEXT NOT NULL, kind TEXT NOT NULL, digest BLOB NOT NULL,
        time INTEGER NOT NULL, request BLOB NOT NULL, held BLOB, UNIQUE (origin, kind, digest)
    )""",
)


class EvidenceKind(StrEnum):
    """What a refused request shows."""

    FORK = "fork"
    """Two roots for one size, both signed by the log: that alone convicts it."""
    UNPROVEN = "unproven"
    """A larger checkpoint, signed by the log, whose proof does not hold: a fork, or only a wrong proof."""


@dataclass(frozen=True, slots=True)
class Head:
    """What was cosigned last for a log: `time` in unix seconds, `note` with the log's and our signatures."""

    size: int
    root: bytes
    time: int
    note: bytes


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log that is cosigned, with every key that may sign for it."""

    origin: str
    keys: tuple[VerifierKey, ...]
    contact: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A request that was refused, whole, and the log's note that it goes against (None without one)."""

    origin: str
    kind: EvidenceKind
    time: int
    request: bytes
    held: bytes | None


def has_state(path: Path) -> bool:
    """Whether a witness's state lies in `path`. An empty file, left by a crash, is none."""
    if not path.is_file():
        return False
    with _faults_told(path), closing(_connect(path)) as connection:
        return _has_tables(connection)


def create_state(path: Path, name: str) -> None:
    """Make the file of a new witness called `name`, whose keys are not known yet.

    Two who do so at once make one. Only for whoever knows that nothing was cosigned yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with _faults_told(path), closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        with exclusive(connection):
            if not _has_tables(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO witness VALUES (1, ?, '')", (name,))


def bind_keys(path: Path, keys: str) -> None:
    """Write down, once, whose state this is: the vkeys of the witness, a line each."""
    with open_state(path) as connection, exclusive(connection):
        connection.execute("UPDATE witness SET keys = ? WHERE keys = ''", (keys,))


def read_identity(path: Path) -> tuple[str, str]:
    """The witness's name, and its vkeys as `bind_keys` was given them; empty before that."""
    with open_state(path) as connection:
        name, keys = connection.execute("SELECT name, keys FROM witness").fetchone()
        return str(name), str(keys)


@contextmanager
def open_state(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of one's own for one piece of work, so that threads and forked processes share none.

    Raises ConfigurationError if there is no state; every fault of the database is Unavailable.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"{path} is missing. A new witness begins with `registry witness init`. One that lost its state "
            "must never cosign again: it could cosign a fork. Tell the logs, and begin anew with other keys"
        )
    with _faults_told(path), closing(_connect(path)) as connection:
        if not _has_tables(connection):
            raise ConfigurationError(f"{path} is no witness's state: `registry witness init` makes one")
        yield connection


@contextmanager
def exclusive(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that no other writer is in: what is read in it is still so when it is committed.

    A crash before the commit leaves nothing of the block, after it everything.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def read_log(connection: sqlite3.Connection, origin: str) -> KnownLog | None:
    """The log that speaks for `origin`, or None."""
    rows = connection.execute("SELECT vkey, contact FROM log WHERE origin = ? ORDER BY vkey", (origin,))
    found = [(decode_vkey(vkey), contact) for vkey, contact in rows]
    return KnownLog(origin, tuple(key for key, _ in found), found[0][1]) if found else None


def read_logs(connection: sqlite3.Connection) -> list[KnownLog]:
    """Every log that is cosigned, by origin."""
    origins = [row[0] for row in connection.execute("SELECT DISTINCT origin FROM log ORDER BY origin")]
    return [log for origin in origins if (log := read_log(connection, origin)) is not None]


def add_log(connection: sqlite3.Connection, origin: str, key: VerifierKey, contact: str) -> None:
    """Let `key` speak for `origin`, beside keys that do already."""
    connection.execute("INSERT OR REPLACE INTO log VALUES (?, ?, ?)", (origin, key.vkey, contact))


def remove_log(connection: sqlite3.Connection, origin: str) -> bool:
    """Cosign `origin` no longer; whether it was listed. What was cosigned stays known for ever."""
    return connection.execute("DELETE FROM log WHERE origin = ?", (origin,)).rowcount > 0


def read_head(connection: sqlite3.Connection, origin: str) -> Head | None:
    """What was cosigned last for `origin`."""
    row = connection.execute("SELECT size, root, time, note FROM head WHERE origin = ?", (origin,)).fetchone()
    return Head(*row) if row else None


def read_note(connection: sqlite3.Connection, digest: str) -> bytes | None:
    """The note cosigned last for the origin whose hash is `digest` (hexadecimal)."""
    row = connection.execute("SELECT note FROM head WHERE origin_hash = ?", (digest,)).fetchone()
    return bytes(row[0]) if row else None


def read_cosigned(connection: sqlite3.Connection, origin: str, size: int) -> tuple[bytes, bytes] | None:
    """The root that was cosigned for `size` and the log's own note about it, if that size was cosigned."""
    row = connection.execute(
        "SELECT root, note FROM cosigned WHERE origin = ? AND size = ?", (origin, size)
    ).fetchone()
    return (bytes(row[0]), bytes(row[1])) if row else None


def store_head(connection: sqlite3.Connection, checkpoint: Checkpoint, signed: bytes, head: Head) -> None:
    """Make `head` the head of the checkpoint's log; `signed` is the log's own note, for later evidence.

    Raises sqlite3.IntegrityError rather than give a size a second root.
    """
    origin, size, root = checkpoint.origin, checkpoint.size, checkpoint.root
    known = read_cosigned(connection, origin, size)
    if known is None or known[0] != root:
        connection.execute("INSERT INTO cosigned VALUES (?, ?, ?, ?)", (origin, size, root, signed))
    connection.execute(
        "INSERT OR REPLACE INTO head VALUES (?, ?, ?, ?, ?, ?)",
        (origin, origin_hash(origin), head.size, head.root, head.time, head.note),
    )


def store_evidence(connection: sqlite3.Connection, evidence: Evidence, checkpoint: Checkpoint) -> None:
    """Keep a refused request, once for each tree, up to `MAX_EVIDENCE` of a kind."""
    kept = connection.execute(
        "SELECT count(*) FROM evidence WHERE origin = ? AND kind = ?", (evidence.origin, evidence.kind)
    ).fetchone()[0]
    if kept < MAX_EVIDENCE:
        connection.execute(
            "INSERT OR IGNORE INTO evidence (origin, kind, digest, time, request, held)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                evidence.origin,
                evidence.kind,
                sha256(encode_checkpoint(checkpoint).encode()).digest(),
                evidence.time,
                evidence.request,
                evidence.held,
            ),
        )


def read_evidence(connection: sqlite3.Connection) -> list[Evidence]:
    """All that was kept, oldest first."""
    rows = connection.execute("SELECT origin, kind, time, request, held FROM evidence ORDER BY number")
    return [Evidence(origin, EvidenceKind(kind), *rest) for origin, kind, *rest in rows]


@contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the witness's database {path} cannot be used ({error})") from error


def _connect(path: Path) -> sqlite3.Connection:
    # Mode rw: a file that is not there is an error and not a new, forgetful state.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'witness'").fetchone()[0]
    return bool(found)
