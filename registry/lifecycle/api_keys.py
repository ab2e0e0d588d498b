"""API keys: made and shown once, disabled and enabled; each an act on record, in the caller's transaction.

A key is looked up on every call, so what is done here counts on the next one. When a key was last used is not
kept: that would be a write in every call of every phone, cover traffic's too, for a day that says little.
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import NoSuchApiKey
from registry.lifecycle.activity import actor_of, record_act, record_operators_act
from registry.lifecycle.authorize import hash_api_key
from registry.models import ApiKey
from registry.protocol.activity import ActKind
from registry.protocol.intervals import utc_date

LONGEST_NAME = 100
_PREVIEW = 6


class ApiKeyKind(StrEnum):
    """What a key opens, and nothing else."""

    DEVICE = "device"
    """The phones' endpoints, for apps."""
    ADMIN = "admin"
    """Issuing codes, for labs and hospital systems."""
    STATS = "stats"
    """Figures, for dashboards."""


@dataclass(frozen=True, slots=True)
class ApiKeyWanted:
    """A key to be made: its kind, and whom it is for."""

    kind: ApiKeyKind
    name: str


def authority_of_key(session: Session, key_hash: bytes, kind: ApiKeyKind) -> str | None:
    """The authority of the enabled key with this hash; None unless there is one, of this kind."""
    return session.scalar(
        select(ApiKey.authority_id).filter_by(key_hash=key_hash, kind=kind.value, disabled=False)
    )


def make_api_key(
    session: Session,
    wanted: ApiKeyWanted,
    authority_id: str,
    *,
    lookup_key: bytes,
    by: str | None,
    now: float,
) -> str:
    """A fresh key, 64 URL-safe characters: known now or never. `by` is an official's id, none an operator."""
    api_key = secrets.token_urlsafe(48)
    row = ApiKey(
        key_hash=hash_api_key(lookup_key, api_key),
        authority_id=authority_id,
        kind=wanted.kind.value,
        preview=api_key[:_PREVIEW],
        name=wanted.name,
        made_on=utc_date(now),
    )
    session.add(row)
    session.flush()
    _record(session, ActKind.API_KEY_MADE, row, by, now)
    return api_key


def api_keys_of(session: Session, authority_id: str) -> list[ApiKey]:
    """All keys of the authority, those that work first, by kind and name."""
    return list(
        session.scalars(
            select(ApiKey)
            .where(ApiKey.authority_id == authority_id)
            .order_by(ApiKey.disabled, ApiKey.kind, ApiKey.name, ApiKey.preview)
        )
    )


def switch_api_key(
    session: Session, key_hash: bytes, authority_id: str, *, disabled: bool, by: str | None, now: float
) -> None:
    """From the next call on the key opens nothing, or what it did before. Raises NoSuchApiKey."""
    row = session.scalar(
        select(ApiKey)
        .where(ApiKey.key_hash == key_hash, ApiKey.authority_id == authority_id)
        .with_for_update()
    )
    if row is None:
        raise NoSuchApiKey("there is no such API key here")
    if row.disabled != disabled:
        row.disabled = disabled
        session.flush()
        _record(session, ActKind.API_KEY_DISABLED if disabled else ActKind.API_KEY_ENABLED, row, by, now)


def _record(session: Session, kind: ActKind, row: ApiKey, by: str | None, now: float) -> None:
    detail: dict[str, str | int] = {"api_key": row.key_hash.hex(), "kind": row.kind}
    if by is None:
        record_operators_act(session, kind, {"authority": row.authority_id, **detail}, now)
        return
    actor = actor_of(official_id=by, api_key_hash=None, authority_id=row.authority_id)
    record_act(session, chain=row.authority_id, kind=kind, actor=actor, detail=detail, now=now)
