"""Who may come in: officials and auditors are invited, change what they may do, are let out and in again.

Whoever acts holds `officials`, gives only what they hold themselves, and makes links only for people who may
do no more than they: a link opens its person's session for whoever has it. Nobody removes themselves, and
somebody who looks after officials is always left. Each step is an act in the authority's chain, of ids and
names of permissions alone; all of it in the caller's transaction.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import OfficialsRefused, OfficialsRule
from registry.lifecycle.activity import actor_of, record_act
from registry.models import Authority, Official
from registry.models.official import (
    Permission,
    Role,
    forget_links,
    forget_ways_in,
    new_sign_in_link,
    permission_text,
)
from registry.protocol.activity import ActKind


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody to invite. `id` is the invitation's own, a UUID: the same one invites once."""

    id: str
    name: str
    permissions: frozenset[Permission]
    """Empty for an auditor, at least one for an official."""
    role: Role = Role.OFFICIAL


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time link for one person. Its token is known now or never."""

    official_id: str
    name: str
    role: Role
    token: str


@dataclass(frozen=True, slots=True)
class Caretaker:
    """Who acts, and when (unix seconds)."""

    official_id: str
    authority_id: str
    now: float


def officials_of(session: Session, authority_id: str) -> list[Official]:
    """Everybody of the authority, whoever may come in first, by name."""
    return list(
        session.scalars(
            select(Official)
            .where(Official.authority_id == authority_id)
            .order_by(Official.disabled, Official.name, Official.id)
        )
    )


def official_of(session: Session, official_id: str, authority_id: str) -> Official | None:
    """The person; None for one of another authority."""
    found = session.get(Official, official_id)
    return found if found is not None and found.authority_id == authority_id else None


def invite(session: Session, newcomers: Sequence[Newcomer], by: Caretaker) -> list[Invitation]:
    """Let all of them in, or none; their links, in the same order. Raises OfficialsRefused."""
    held = _caretaker(session, by).permissions
    for newcomer in newcomers:
        if not newcomer.permissions <= held:
            raise OfficialsRefused(OfficialsRule.BEYOND_OWN)
        if session.get(Official, newcomer.id) is not None:
            raise OfficialsRefused(OfficialsRule.KNOWN_ALREADY)
    session.add_all(
        Official(
            id=newcomer.id,
            authority_id=by.authority_id,
            name=newcomer.name,
            role=newcomer.role.value,
            permission_text=permission_text(newcomer.permissions),
        )
        for newcomer in newcomers
    )
    session.flush()
    invitations = [
        Invitation(each.id, each.name, each.role, new_sign_in_link(session, each.id, now=by.now))
        for each in newcomers
    ]
    for newcomer in newcomers:
        may = {"permissions": _on_record(newcomer.permissions)} if newcomer.permissions else {}
        _record(session, ActKind.OFFICIAL_ADDED, newcomer.id, by, role=newcomer.role.value, **may)
    return invitations


def link_again(session: Session, official_id: str, by: Caretaker) -> Invitation:
    """A fresh link for somebody who may come in; those from before open nothing. Raises OfficialsRefused."""
    person = _person(session, official_id, by)
    if person.disabled:
        raise OfficialsRefused(OfficialsRule.UNKNOWN)
    forget_links(session, person.id)
    token = new_sign_in_link(session, person.id, now=by.now)
    role = Role(person.role)
    kind = ActKind.AUDITOR_LINK if role is Role.AUDITOR else ActKind.SIGN_IN_LINK
    _record(session, kind, person.id, by)
    return Invitation(person.id, person.name, role, token)


def change_permissions(
    session: Session, official_id: str, permissions: Iterable[Permission], by: Caretaker
) -> None:
    """What the official may do from their next request on, as far as who acts has a say in it.

    What who acts does not hold stays as it is with the other. Raises OfficialsRefused.
    """
    held = _caretaker(session, by).permissions
    wanted = frozenset(permissions)
    person = official_of(session, official_id, by.authority_id)
    if person is None or person.role != Role.OFFICIAL.value:
        raise OfficialsRefused(OfficialsRule.UNKNOWN)
    if not wanted <= held:
        raise OfficialsRefused(OfficialsRule.BEYOND_OWN)
    after = wanted | (person.permissions - held)
    if after == person.permissions:
        return
    person.permission_text = permission_text(after)
    session.flush()
    _check_somebody_is_left(session, by.authority_id)
    _record(session, ActKind.OFFICIAL_CHANGED, person.id, by, permissions=_on_record(after))


def remove_officials(session: Session, official_ids: Iterable[str], by: Caretaker) -> int:
    """Let them out: sessions and links end with the commit; how many. Raises OfficialsRefused for any.

    What they stated stays theirs. Whoever is out already stays out, and is not counted.
    """
    _caretaker(session, by)
    removed = 0
    for official_id in official_ids:
        person = official_of(session, official_id, by.authority_id)
        if person is None:
            raise OfficialsRefused(OfficialsRule.UNKNOWN)
        if person.id == by.official_id:
            raise OfficialsRefused(OfficialsRule.ONESELF)
        if not person.disabled:
            person.disabled = True
            forget_ways_in(session, person.id)
            _record(session, ActKind.OFFICIAL_REMOVED, person.id, by)
            removed += 1
    return removed


def let_in_again(session: Session, official_id: str, by: Caretaker) -> Invitation:
    """Undo a removal, with what they could do before; their fresh link. Raises OfficialsRefused."""
    person = _person(session, official_id, by)
    if person.disabled:
        person.disabled = False
        _record(session, ActKind.OFFICIAL_LET_IN, person.id, by)
    return link_again(session, official_id, by)


def new_invitation_id() -> str:
    """For a form that may be sent twice."""
    return str(uuid.uuid4())


def _caretaker(session: Session, by: Caretaker) -> Official:
    """Who acts, as they stand now. Of two who act upon one another the second waits for the first's end."""
    session.execute(
        select(Authority.id).where(Authority.id == by.authority_id).with_for_update(key_share=True)
    )
    found = official_of(session, by.official_id, by.authority_id)
    if found is None or found.disabled or Permission.OFFICIALS not in found.permissions:
        raise OfficialsRefused(OfficialsRule.NOT_PERMITTED)
    return found


def _person(session: Session, official_id: str, by: Caretaker) -> Official:
    """Somebody whose link who acts may hold in their hands."""
    held = _caretaker(session, by).permissions
    person = official_of(session, official_id, by.authority_id)
    if person is None:
        raise OfficialsRefused(OfficialsRule.UNKNOWN)
    if person.role == Role.OFFICIAL.value and not person.permissions <= held:
        raise OfficialsRefused(OfficialsRule.BEYOND_OWN)
    return person


def _check_somebody_is_left(session: Session, authority_id: str) -> None:
    if not any(
        Permission.OFFICIALS in person.permissions
        for person in officials_of(session, authority_id)
        if not person.disabled and person.role == Role.OFFICIAL.value
    ):
        raise OfficialsRefused(OfficialsRule.LAST)


def _on_record(permissions: Iterable[Permission]) -> str:
    return permission_text(permissions).replace(" ", "+") or "none"


def _record(session: Session, kind: ActKind, official_id: str, by: Caretaker, **more: str) -> None:
    actor = actor_of(official_id=by.official_id, api_key_hash=None, authority_id=by.authority_id)
    detail: dict[str, str | int] = {"official": official_id, **more}
    record_act(session, chain=by.authority_id, kind=kind, actor=actor, detail=detail, now=by.now)
