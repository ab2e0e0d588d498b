"""Officials' and operators' acts as links of hash chains, and the salted commitment that anchors the heads.

Each act names the hash of the act before it in its chain, so that none can be changed, left out or slipped
in later without every following hash, and the anchored heads, giving it away. An act holds names of kinds
and ids of rows and keys, never free text, nothing of a patient's, and no time finer than the hour.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

from registry.errors import Distrusted, Malformed
from registry.protocol.encoding import (
    JsonObject,
    decode_base64,
    decode_json_object,
    encode_base64,
    encode_json,
)

OPERATOR = "operator"
"""The actor of whatever is done by command."""
OPERATORS_CHAIN = "registry"
"""The chain of the operator's acts; every other chain bears an authority's id."""

_VERSION = 1
_HASH_BYTES = 32
_ANCHOR_LABEL = b"positive-key-registry activity v1\n"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,200}")
_HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00Z")


class ActKind(StrEnum):
    """What can be on record."""

    SIGN_IN = "sign_in"
    SIGN_IN_LINK = "sign_in_link"
    CODE_ISSUED = "code_issued"
    CODE_EXPIRED = "code_expired"
    CODE_EXTENDED = "code_extended"
    CODE_UNDONE = "code_undone"
    CODE_SENT = "code_sent"
    KEY_ROTATED = "key_rotated"
    CERTIFICATE_KEY_ROTATED = "certificate_key_rotated"
    AUTHORITY_ADDED = "authority_added"
    AUTHORITY_CHANGED = "authority_changed"
    CODE_FORM_CHANGED = "code_form_changed"
    MAINTENANCE_CHANGED = "maintenance_changed"
    FEED_CHANGED = "feed_changed"
    BATCH_WITHDRAWN = "batch_withdrawn"
    POLICY_CHANGED = "policy_changed"
    LOG_KEYS_MADE = "log_keys_made"
    ANCHOR_LOST = "anchor_lost"
    AUDITOR_LINK = "auditor_link"
    OFFICIAL_ADDED = "official_added"
    LETTER_MADE = "letter_made"
    LETTER_USED = "letter_used"
    OFFICIAL_CHANGED = "official_changed"
    OFFICIAL_REMOVED = "official_removed"
    OFFICIAL_LET_IN = "official_let_in"
    API_KEY_MADE = "api_key_made"
    API_KEY_DISABLED = "api_key_disabled"
    API_KEY_ENABLED = "api_key_enabled"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    PASSKEY_COPIED = "passkey_copied"
    PRINTED_CODES_MADE = "printed_codes_made"
    RECALL_ASKED = "recall_asked"
    RECALL_APPROVED = "recall_approved"
    RECALL_REFUSED = "recall_refused"
    RECALL_DONE = "recall_done"
    SMS_KEY_MADE = "sms_key_made"
    SMS_TEXT_CHANGED = "sms_text_changed"
    SMS_TEXT_DROPPED = "sms_text_dropped"
    QUOTA_CHANGED = "quota_changed"
    SURGE_ASKED = "surge_asked"
    SURGE_APPROVED = "surge_approved"
    SURGE_REFUSED = "surge_refused"
    BULK_BEGUN = "bulk_begun"


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `number` counts from 1 in its chain; `hour` is UTC, like `2026-06-15T12:00Z`."""

    chain: str
    number: int
    kind: str
    actor: str
    """`official:` and an id, `api-key:` and the key's hash in hex, or `operator`."""
    hour: str
    detail: Mapping[str, str | int] = field(default_factory=dict)
    """Ids of what was acted upon, by their kind; and numbers."""
    previous: bytes | None = None
    """Hash of the act before; none for a chain's first."""


def hour_of(now: float) -> str:
    """The UTC hour of a moment in unix seconds."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:00Z")


def act_hash(content: bytes) -> bytes:
    """SHA-256 of an encoded act, 32 bytes: what the next one calls `previous`."""
    return sha256(content).digest()


def encode_act(act: Act) -> bytes:
    """Canonical JSON. Raises Malformed for what no act may hold: see `Act`, and the note above."""
    _check(act)
    members: dict[str, object] = {
        "v": _VERSION,
        "chain": act.chain,
        "number": act.number,
        "kind": act.kind,
        "actor": act.actor,
        "hour": act.hour,
        "detail": dict(act.detail),
    }
    if act.previous is not None:
        members["previous"] = encode_base64(act.previous)
    return encode_json(members)


def decode_act(content: bytes) -> Act:
    """What `encode_act` wrote. Raises Malformed for anything else, another spelling of it included."""
    members = decode_json_object(content, "act")
    members.integer("v", least=_VERSION, most=_VERSION)
    act = Act(
        chain=members.text("chain"),
        number=members.integer("number", least=1),
        kind=members.text("kind"),
        actor=members.text("actor"),
        hour=members.text("hour"),
        detail=_detail(members.child("detail")),
        previous=decode_base64(members.text("previous")) if "previous" in members else None,
    )
    if encode_act(act) != content:
        raise Malformed("act: not in its one spelling (canonical JSON, no other members)")
    return act


def check_acts(contents: Iterable[bytes]) -> bytes | None:
    """Hash of the last of these acts of one chain, oldest first; None for none.

    The first may have any number, for acts are kept for a year and then go. Raises Distrusted at the first
    act that is not the one after its predecessor, and for one that cannot be read.
    """
    before: Act | None = None
    head: bytes | None = None
    for content in contents:
        try:
            act = decode_act(content)
        except Malformed as error:
            after = "" if before is None else f" after number {before.number}"
            raise Distrusted(f"activity chain broken{after}: {error}") from error
        if before is not None:
            _check_follows(act, before, head)
        before, head = act, act_hash(content)
    return head


def encode_heads(heads: Mapping[str, bytes]) -> bytes:
    """Canonical JSON of the chains' newest hashes, in hex by chain."""
    return encode_json({chain: head.hex() for chain, head in heads.items()})


def decode_heads(content: bytes) -> dict[str, bytes]:
    """What `encode_heads` wrote. Raises Malformed."""
    members = decode_json_object(content, "heads")
    try:
        heads = {chain: bytes.fromhex(members.text(chain)) for chain in members.as_dict()}
    except ValueError as error:
        raise Malformed("heads: not in hex") from error
    if encode_heads(heads) != content:
        raise Malformed("heads: not in their one spelling")
    return heads


def activity_commitment(salt: bytes, heads: bytes) -> bytes:
    """SHA-256 over label, salt (32 random bytes of the day's own) and encoded heads: what the log anchors.

    Raises Malformed for a salt of another length.
    """
    if len(salt) != _HASH_BYTES:
        raise Malformed(f"the salt of an anchor must be {_HASH_BYTES} bytes")
    return sha256(_ANCHOR_LABEL + salt + heads).digest()


def _check_follows(act: Act, before: Act, head: bytes | None) -> None:
    if (act.chain, act.number) != (before.chain, before.number + 1):
        raise Distrusted(
            f"activity chain broken: {before.chain} {before.number} is followed by {act.chain} {act.number}"
        )
    if act.previous != head:
        raise Distrusted(
            f"activity chain broken: {act.chain} {act.number} does not name the hash of the act before it"
        )


def _detail(members: JsonObject) -> dict[str, str | int]:
    return {
        name: members.text(name) if isinstance(value, str) else members.integer(name)
        for name, value in members.as_dict().items()
    }


def _check(act: Act) -> None:
    if not _NAME.fullmatch(act.chain) or not _NAME.fullmatch(act.kind) or not _ID.fullmatch(act.actor):
        raise Malformed("act: chain, kind and actor must be names without spaces")
    if not _HOUR.fullmatch(act.hour):
        raise Malformed("act: 'hour' must be a full hour of UTC")
    # Ids and numbers alone: where no words go in, no patient's name does.
    for name, value in act.detail.items():
        good = _ID.fullmatch(value) if isinstance(value, str) else type(value) is int and value >= 0
        if not _NAME.fullmatch(name) or not good:
            raise Malformed("act: 'detail' may hold ids and numbers only")
    if (act.previous is None) != (act.number == 1) or len(act.previous or bytes(32)) != _HASH_BYTES:
        raise Malformed("act: 'previous' must be the hash before, in every act but the first")
