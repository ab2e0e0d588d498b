"""What a phone remembers: the tables of its store, and the rows of which there is one each.

Must never gain a column for a place, a name, or which sighting matched. A changed table is a new step at the
end of `SCHEMA_STEPS`; a step that was ever released stays as it is.
"""

from dataclasses import dataclass

_FIRST_TABLES = """
CREATE TABLE registration (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    base_url TEXT NOT NULL, device_url TEXT NOT NULL, region TEXT NOT NULL, trust BLOB NOT NULL,
    health_authority_id TEXT, device_api_key TEXT,
    demonstration INTEGER NOT NULL, staged INTEGER NOT NULL);
CREATE TABLE poll_state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    index_content BLOB, last_good_poll REAL, retry_at REAL, failed_polls INTEGER NOT NULL);
CREATE TABLE own_key (rolling_start_interval_number INTEGER PRIMARY KEY, key_data BLOB NOT NULL);
CREATE TABLE sighting (
    rpi BLOB NOT NULL, aem BLOB NOT NULL, minute INTEGER NOT NULL, rssi INTEGER NOT NULL,
    PRIMARY KEY (rpi, minute, rssi, aem)) WITHOUT ROWID;
CREATE INDEX sighting_minute ON sighting (minute);
CREATE TABLE read_file (sha256 TEXT PRIMARY KEY, window_end INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE known_key (
    key_data BLOB PRIMARY KEY, rolling_start_interval_number INTEGER NOT NULL,
    rolling_period INTEGER NOT NULL, revoked INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE exposure (
    key_data BLOB NOT NULL, day TEXT NOT NULL, report_type INTEGER NOT NULL,
    sightings INTEGER NOT NULL, withdrawn INTEGER NOT NULL, PRIMARY KEY (key_data, day)) WITHOUT ROWID;
CREATE TABLE pending_upload (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    agreed_at INTEGER NOT NULL, code TEXT NOT NULL, hmac_key BLOB NOT NULL, keys BLOB NOT NULL,
    verify_request BLOB NOT NULL, report_type TEXT, symptom_date TEXT,
    certificate_request BLOB, publish_request BLOB);
CREATE TABLE revision_token (only INTEGER PRIMARY KEY CHECK (only = 1), token TEXT NOT NULL);
INSERT INTO poll_state (only, failed_polls) VALUES (1, 0);
"""

_RECEIPTS = """
CREATE TABLE receipt (
    commitment BLOB PRIMARY KEY, content BLOB NOT NULL, consent_record BLOB, consent_salt BLOB,
    newest_key_end INTEGER NOT NULL) WITHOUT ROWID;
ALTER TABLE pending_upload ADD COLUMN consent_record BLOB;
ALTER TABLE pending_upload ADD COLUMN consent_salt BLOB;
ALTER TABLE pending_upload ADD COLUMN receipt BLOB;
"""

_PROOFS = """
ALTER TABLE registration ADD COLUMN trust_note BLOB;
ALTER TABLE poll_state ADD COLUMN proof BLOB;
ALTER TABLE poll_state ADD COLUMN proven_index BLOB;
ALTER TABLE poll_state ADD COLUMN proven_at REAL;
CREATE TABLE log_head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, checkpoint BLOB NOT NULL,
    cosigned_at INTEGER);
CREATE TABLE unproven_file (sha256 TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE evidence (
    number INTEGER PRIMARY KEY, found_at REAL NOT NULL, kind TEXT NOT NULL, words TEXT NOT NULL,
    believed BLOB, offered BLOB NOT NULL);
"""

SCHEMA_STEPS = (_FIRST_TABLES, _RECEIPTS, _PROOFS)
"""Step n makes a store of version n out of one of version n - 1; an empty file has version 0."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Where this phone belongs.

    `base_url` serves the public files, `device_url` takes uploads; `trust` is the pinned trust material as it
    was fetched, `trust_note` the note by the root key that came with it, None if this phone was set up before
    there were notes. Without `health_authority_id` and `device_api_key` the phone polls but cannot upload.
    """

    base_url: str
    device_url: str
    region: str
    trust: bytes
    health_authority_id: str | None
    device_api_key: str | None
    demonstration: bool
    staged: bool
    trust_note: bytes | None

    def __repr__(self) -> str:
        # The key of the app must not reach a log by way of a traceback.
        return f"Registration({self.base_url!r}, {self.region!r})"


@dataclass(frozen=True, slots=True)
class PollState:
    """`index_content` is the newest index as fetched; times in unix seconds.

    `last_good_poll` is the last one that left nothing unread, `failed_polls` counts those since. `proof` is
    the newest full proof as fetched (None also if it holds more than was verified, and must not be told
    back), `proven_index` the index that it proves, `proven_at` when it was last checked and held.
    """

    index_content: bytes | None = None
    last_good_poll: float | None = None
    retry_at: float | None = None
    failed_polls: int = 0
    proof: bytes | None = None
    proven_index: bytes | None = None
    proven_at: float | None = None


@dataclass(frozen=True, slots=True)
class LogHead:
    """A tree head of the registry's log: `size` leaves of the shard `origin` hash to `root`.

    `checkpoint` is the signed note as it came. `cosigned_at` (unix seconds) is the latest time by which a
    quorum of witnesses had cosigned, None if there is no quorum or the policy asks for none.
    """

    origin: str
    size: int
    root: bytes
    checkpoint: bytes
    cosigned_at: int | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a phone was shown that must not be: `offered` (a proof or a note), and what it had believed.

    `kind` is the class of the failure, `words` its message, `found_at` unix seconds.
    """

    found_at: float
    kind: str
    words: str
    believed: bytes | None
    offered: bytes


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that is not finished: the bytes of every request are kept before they are first sent.

    `keys` are 20 bytes each (key, big-endian start). The first request that is set and has no successor is
    the one to send, again if need be: the registry answers a repetition as it answered the first.
    `consent_record` and its salt are what the person agreed to, `receipt` is what the registry will hold of
    this upload (`registry.client.receipts`).
    """

    agreed_at: int
    code: str
    hmac_key: bytes
    keys: bytes
    verify_request: bytes
    report_type: str | None = None
    symptom_date: str | None = None
    certificate_request: bytes | None = None
    publish_request: bytes | None = None
    consent_record: bytes | None = None
    consent_salt: bytes | None = None
    receipt: bytes | None = None

    def __repr__(self) -> str:
        return "PendingUpload(...)"


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """The receipt of a finished upload. `content` is what the registry commits to, `commitment` its SHA-256.

    Forgotten 21 days after `newest_key_end` (an interval number), as the registry forgets the keys.
    """

    commitment: bytes
    content: bytes
    consent_record: bytes | None
    consent_salt: bytes | None
    newest_key_end: int

    def __repr__(self) -> str:
        return "KeptReceipt(...)"
