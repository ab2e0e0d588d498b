"""Part of collecting: the public keys of an authority that signs its certificates itself, by its newest set.

An upload looks at them as it comes, so what is done here counts from the next one on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.errors import KeysRefused
from registry.models import HealthAuthority, HealthAuthorityKey

TAIL_SECONDS = 3600
"""For which a key that has vanished is still good: certificates of before are under way for a quarter."""


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """Key ids, each sorted."""

    new: list[str]
    kept: list[str]
    ended: list[str]


def replace_keys(
    session: Session, authority_id: str, public_keys: Mapping[str, str], *, now: int, not_after: int
) -> KeysChanged:
    """Let the authority's keys be these (PEM by key id), good until `not_after`; in the caller's transaction.

    Those that have vanished end after `TAIL_SECONDS`. Raises KeysRefused for an authority that is not here,
    for a set that would leave none, and for a known id with another key under it.
    """
    if (
        session.scalar(select(HealthAuthority.id).where(HealthAuthority.id == authority_id).with_for_update())
        is None
    ):
        raise KeysRefused(f"{authority_id} is not registered here: `registry authority add` comes first")
    if not public_keys:
        raise KeysRefused(
            f"the set holds no key that could sign certificates (P-256, ES256, with a 'kid'): the keys of "
            f"{authority_id} stay as they are"
        )
    # Who has ended is nobody's any more, and its id is free.
    session.execute(
        delete(HealthAuthorityKey).where(
            HealthAuthorityKey.health_authority_id == authority_id, HealthAuthorityKey.not_after <= now
        )
    )
    known = {
        key.key_id: key
        for key in session.scalars(
            select(HealthAuthorityKey).where(HealthAuthorityKey.health_authority_id == authority_id)
        )
    }
    for key_id, pem in public_keys.items():
        if key_id in known and known[key_id].public_key_pem.strip() != pem.strip():
            raise KeysRefused(
                f"the key id {key_id} names another key than before: ask {authority_id} whether that is "
                "meant; `registry authority add --replace` takes it"
            )
    for key_id, pem in public_keys.items():
        if key_id in known:
            known[key_id].not_after = not_after
        else:
            session.add(
                HealthAuthorityKey(
                    health_authority_id=authority_id,
                    key_id=key_id,
                    public_key_pem=pem,
                    not_before=now,
                    not_after=not_after,
                )
            )
    ended = sorted(known.keys() - public_keys.keys())
    for key_id in ended:
        known[key_id].not_after = min(known[key_id].not_after, now + TAIL_SECONDS)
    session.flush()
    return KeysChanged(
        sorted(public_keys.keys() - known.keys()), sorted(known.keys() & public_keys.keys()), ended
    )
