"""What a phone remembers: the tables of its store, and the three rows of which there is one each.

Must never gain a column for a place, a name, or which sighting matched. A changed table needs a new
`SCHEMA_VERSION`.
"""

from dataclasses import dataclass

SCHEMA_VERSION = 1

SCHEMA = """
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
"""


@dataclass(frozen=True, slots=True)
class Registration:
    """Where this phone belongs.

    `base_url` serves the public files, `device_url` takes uploads; `trust` is the pinned trust material as it
    was fetched. Without `health_authority_id` and `device_api_key` the phone polls but cannot upload.
    """

    base_url: str
    device_url: str
    region: str
    trust: bytes
    health_authority_id: str | None
    device_api_key: str | None
    demonstration: bool
    staged: bool

    def __repr__(self) -> str:
        # The key of the app must not reach a log by way of a traceback.
        return f"Registration({self.base_url!r}, {self.region!r})"


@dataclass(frozen=True, slots=True)
class PollState:
    """`index_content` is the newest index as fetched; times in unix seconds.

    `last_good_poll` is the last one that left nothing unread, `failed_polls` counts those since.
    """

    index_content: bytes | None = None
    last_good_poll: float | None = None
    retry_at: float | None = None
    failed_polls: int = 0


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that is not finished: the bytes of every request are kept before they are first sent.

    `keys` are 20 bytes each (key, big-endian start). The first request that is set and has no successor is
    the one to send, again if need be: the registry answers a repetition as it answered the first.
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

    def __repr__(self) -> str:
        return "PendingUpload(...)"
