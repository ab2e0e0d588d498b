"""People of the organisation's OpenID provider as officials: found or made as they sign in.

What they may do is what their groups give, anew at every sign-in; who is in no group any more loses every
session, link and passkey. Whoever was removed at the portal stays out, whatever the provider says. In the
caller's transaction.
"""

import uuid

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import ProofRefused
from registry.lifecycle.activity import actor_of, record_act
from registry.models import Authority, Official, OpenIdIdentity
from registry.models.official import Permission, Role, forget_ways_in, permission_text
from registry.protocol.activity import ActKind


def official_by_openid(
    session: Session,
    *,
    issuer: str,
    subject: str,
    name: str,
    permissions: frozenset[Permission],
    authority_id: str,
    now: float,
) -> Official | None:
    """Who comes in, with what their groups give now. None for somebody in no group: to be committed too.

    Raises ProofRefused for somebody who was removed here.
    """
    # Of two first sign-ins of one person the second waits here, and finds the row.
    session.execute(select(Authority.id).where(Authority.id == authority_id).with_for_update(key_share=True))
    known = session.get(OpenIdIdentity, (issuer, subject))
    if known is None:
        return _made(session, issuer, subject, name, permissions, authority_id, now) if permissions else None
    official = session.get_one(Official, known.official_id)
    if official.disabled or official.role != Role.OFFICIAL.value:
        raise ProofRefused("this person was removed here")
    official.name = name
    if official.permissions != permissions:
        official.permission_text = permission_text(permissions)
        if not permissions:
            forget_ways_in(session, official.id)
        session.flush()
        _record(session, ActKind.OFFICIAL_CHANGED, official, now)
    return official if permissions else None


def is_by_openid(session: Session, official_id: str) -> bool:
    """Whether the official comes in by the provider, which says at each sign-in what they may do."""
    wanted = select(func.count()).select_from(OpenIdIdentity).where(OpenIdIdentity.official_id == official_id)
    return bool(session.scalar(wanted))


def _made(
    session: Session,
    issuer: str,
    subject: str,
    name: str,
    permissions: frozenset[Permission],
    authority_id: str,
    now: float,
) -> Official:
    official = Official(
        id=str(uuid.uuid4()),
        authority_id=authority_id,
        name=name,
        role=Role.OFFICIAL.value,
        permission_text=permission_text(permissions),
    )
    session.add(official)
    session.flush()
    session.add(OpenIdIdentity(issuer=issuer, subject=subject, official_id=official.id))
    session.flush()
    _record(session, ActKind.OFFICIAL_ADDED, official, now)
    return official


def _record(session: Session, kind: ActKind, official: Official, now: float) -> None:
    """The provider did it, by the person's coming in: so they are the actor."""
    actor = actor_of(official_id=official.id, api_key_hash=None, authority_id=official.authority_id)
    detail: dict[str, str | int] = {
        "official": official.id,
        "permissions": official.permission_text.replace(" ", "+") or "none",
        "by": "oidc",
    }
    record_act(session, chain=official.authority_id, kind=kind, actor=actor, detail=detail, now=now)
