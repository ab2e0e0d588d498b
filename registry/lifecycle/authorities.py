"""Part of collecting: whose certificates are taken now, and which feeds there are.

Read with each upload, or believed: a process remembers word for word what the database last said, and the
statement that stores an upload compares. So a key, an authority or a feed that was changed counts from the
next upload on, in every process, and nobody pays a round trip to hear that nothing has changed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.models import HealthAuthority, HealthAuthorityKey, committing_each
from registry.protocol.certificate import load_public_key
from registry.protocol.feeds import Feed

_public_key = lru_cache(maxsize=256)(load_public_key)

# Made once: putting a statement together costs more than running it.
_AUTHORITY_AND_KEYS = (
    select(
        HealthAuthority.id,
        HealthAuthority.certificate_issuer,
        HealthAuthority.certificate_audience,
        HealthAuthority.regions,
        HealthAuthorityKey.key_id,
        HealthAuthorityKey.public_key_pem,
        HealthAuthorityKey.not_before,
        HealthAuthorityKey.not_after,
    )
    .outerjoin(HealthAuthorityKey, HealthAuthorityKey.health_authority_id == HealthAuthority.id)
    # Existing servers make ids small, so apps write them as they like. Databases differ in what they do to
    # letters beyond ASCII: hence also the id exactly as it was registered.
    .where(
        or_(
            HealthAuthority.id == bindparam("authority_id"),
            func.lower(HealthAuthority.id) == bindparam("lower_id"),
        )
    )
)

STANDING = """json_build_array(
    (SELECT json_agg(json_build_array(a.id, a.certificate_issuer, a.certificate_audience, a.regions,
            k.key_id, k.public_key_pem, k.not_before, k.not_after) ORDER BY a.id, k.key_id)
        FROM health_authority a LEFT JOIN health_authority_key k ON k.health_authority_id = a.id
        WHERE a.id = %(authority_id)s OR lower(a.id) = %(lower_id)s),
    (SELECT json_agg(json_build_array(region, include, exclude, include_travelers) ORDER BY region)
        FROM region_feed))::text"""
"""PostgreSQL's expression for what it has to say of an authority and of the feeds, as a JSON text."""

_MOST_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Authority:
    """A registered authority: what its certificates say, its regions, its public keys that are live now."""

    id: str
    issuer: str
    audience: str
    regions: tuple[str, ...]
    public_keys: Mapping[str, EllipticCurvePublicKey]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database said of an authority and of the feeds: `text` is its very words (`STANDING`)."""

    text: str
    authorities: tuple[Sequence[Any], ...]
    feeds: tuple[Feed, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """What the words mean."""
        authorities, feeds = json.loads(text)
        return cls(
            text,
            tuple(authorities or ()),
            tuple(
                Feed(region, frozenset(include), frozenset(exclude), travelers)
                for region, include, exclude, travelers in feeds or ()
            ),
        )

    def authority(self, authority_id: str, now: float) -> Authority:
        """As `authority_now`."""
        return _choose(self.authorities, authority_id, now)


class Believed:
    """What this process last heard, by the id that was asked for. Never acted upon without comparing."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}

    def of(self, session: Session, authority_id: str) -> Standing:
        """What was heard of the authority before; the first time, what PostgreSQL says now."""
        known = self._standings.get(authority_id)
        if known is None:
            asked = {"authority_id": authority_id, "lower_id": authority_id.lower()}
            with committing_each(session) as connection:
                known = Standing.read(connection.exec_driver_sql(f"SELECT {STANDING}", asked).scalar_one())
            # Strangers choose what is asked for: they must not be able to fill the memory.
            if len(self._standings) >= _MOST_REMEMBERED:
                self._standings.clear()
            self._standings[authority_id] = known
        return known

    def forget(self, authority_id: str) -> None:
        """Ask again the next time."""
        self._standings.pop(authority_id, None)


def authority_now(session: Session, authority_id: str, now: float) -> Authority:
    """The authority, in large letters or small.

    Refuses with `unknown_health_authority_id` and `health_authority_missing_region_config`.
    """
    asked = {"authority_id": authority_id, "lower_id": authority_id.lower()}
    return _choose(session.execute(_AUTHORITY_AND_KEYS, asked).all(), authority_id, now)


def _choose(found: Iterable[Sequence[Any]], authority_id: str, now: float) -> Authority:
    # Should two ids differ in nothing but their case, each is found by its own spelling alone.
    found = list(found)
    rows = [row for row in found if row[0] == authority_id] or found
    if len({row[0] for row in rows}) != 1:
        raise Refusal(RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID, "the healthAuthorityID is not registered here")
    registered_id, issuer, audience, regions = rows[0][:4]
    if not regions:
        raise Refusal(
            RefusalCode.HEALTH_AUTHORITY_MISSING_REGION_CONFIG,
            "the health authority has no region: its operator must give it one",
        )
    keys = {
        key_id: _public_key(pem)
        for *_authority, key_id, pem, not_before, not_after in rows
        if key_id is not None and not_before <= now < not_after
    }
    return Authority(registered_id, issuer, audience, tuple(sorted(set(regions))), keys)
