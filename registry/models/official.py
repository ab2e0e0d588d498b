"""Issuing half: officials and auditors, the one-time links that let them in, and their sessions.

A link, and the session that it opens, is good at one face alone: officials' at the portal, auditors' at the
receipts. Both are 256 random bits that only their holder has; the tables keep SHA-256 of them, which cannot
be turned back. The functions write in the caller's transaction.
"""

import hashlib
import math
import secrets
from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase

EXPIRY_GRAIN_SECONDS = 900
LINK_LIFE_SECONDS = 86_400
SESSION_LIFE_SECONDS = 8 * 3600
"""A shift. Ended earlier by signing out or by disabling the official."""


class Role(StrEnum):
    """Which face somebody may sign in at. Nobody has both roles: who states results does not check them."""

    OFFICIAL = "official"
    AUDITOR = "auditor"


class Permission(StrEnum):
    """What an official may do at the portal, each by itself. Whoever gives one must hold it."""

    ISSUE = "issue"
    """State a result, hand over a code, follow one's own codes."""
    BULK = "bulk"
    """The same for many at once, from a file."""
    RECALL = "recall"
    """Ask for a recall."""
    APPROVE = "approve"
    """Decide what another official asked for: a recall, more codes for a day."""
    OFFICIALS = "officials"
    """Invite officials, change what they may do, let them out."""
    SETTINGS = "settings"
    """The authority's settings: texts, gateways, quotas."""
    KEYS = "keys"
    """API keys, and the certificate keys of the authority."""
    STATISTICS = "statistics"
    """See the figures."""


USUAL_PERMISSIONS = frozenset({Permission.ISSUE, Permission.RECALL, Permission.APPROVE})
"""Of an official of whom nothing else was said, and of all from before there was a choice."""


def permission_text(permissions: Iterable[Permission]) -> str:
    """As a column keeps a set of permissions: in the order of `Permission`, a space between two."""
    held = frozenset(permissions)
    return " ".join(permission.value for permission in Permission if permission in held)


class Official(IssuingBase):
    """A person with a login. The only place where a person's name may stand."""

    __tablename__ = "official"
    __table_args__ = IN_KEY_ORDER

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    name: Mapped[str] = mapped_column(String(200))
    disabled: Mapped[bool] = mapped_column(default=False)
    role: Mapped[str] = mapped_column(String(16), default=Role.OFFICIAL.value, server_default="official")
    """A `Role`."""
    permission_text: Mapped[str] = mapped_column(
        String(120),
        default=permission_text(USUAL_PERMISSIONS),
        server_default=permission_text(USUAL_PERMISSIONS),
    )
    """As `permission_text` writes them; of no meaning for an auditor."""

    @property
    def permissions(self) -> frozenset[Permission]:
        """What they may do at the portal."""
        return frozenset(Permission(word) for word in self.permission_text.split())


class SignInLink(IssuingBase):
    """A link that signs one person in, once. Opening it burns nothing; its button does."""

    __tablename__ = "sign_in_link"
    __table_args__ = IN_KEY_ORDER

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """SHA-256 of the 256-bit token."""
    official_id: Mapped[str] = mapped_column(ForeignKey("official.id"))
    expires_at: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[bool] = mapped_column(default=False)


class PortalSession(IssuingBase):
    """A signed-in browser. Looked up on every request, so ending it works at once."""

    __tablename__ = "portal_session"
    __table_args__ = IN_KEY_ORDER

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    official_id: Mapped[str] = mapped_column(ForeignKey("official.id"), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)


def new_sign_in_link(
    session: Session, official_id: str, *, now: float, life_seconds: int = LINK_LIFE_SECONDS
) -> str:
    """Token of a fresh link for the official: 43 URL-safe characters, shown now or never."""
    token = secrets.token_urlsafe(32)
    expires_at = _rounded(now + life_seconds)
    session.add(SignInLink(token_hash=_token_hash(token), official_id=official_id, expires_at=expires_at))
    session.flush()
    return token


def redeem_sign_in_link(session: Session, token: str, now: float, role: Role = Role.OFFICIAL) -> str | None:
    """Burn the link and open a session of eight hours: its token, 43 characters.

    None, and nothing written, if the link is unknown, used, expired, or its person disabled or of another
    role.
    """
    link = SignInLink.token_hash == _token_hash(token)
    # One statement burns the link or finds it burnt: of two browsers at once, one gets in.
    official_id = session.scalar(
        update(SignInLink)
        .where(
            link,
            SignInLink.used.is_(False),
            SignInLink.expires_at > now,
            SignInLink.official_id.in_(
                select(Official.id).where(Official.disabled.is_(False), Official.role == role.value)
            ),
        )
        .values(used=True)
        .returning(SignInLink.official_id)
        .execution_options(synchronize_session=False)
    )
    if official_id is None:
        return None
    session_token = secrets.token_urlsafe(32)
    session.add(
        PortalSession(
            token_hash=_token_hash(session_token),
            official_id=official_id,
            expires_at=_rounded(now + SESSION_LIFE_SECONDS),
        )
    )
    session.flush()
    return session_token


def official_of_session(
    session: Session, token: str, now: float, role: Role = Role.OFFICIAL
) -> Official | None:
    """Who is signed in with this session's token, in this role; None if it ended or they are disabled."""
    return session.scalar(
        select(Official)
        .join(PortalSession, PortalSession.official_id == Official.id)
        .where(
            PortalSession.token_hash == _token_hash(token),
            PortalSession.expires_at > now,
            Official.disabled.is_(False),
            Official.role == role.value,
        )
    )


def end_session(session: Session, token: str) -> None:
    """Forget the session; unknown ones are no fault."""
    session.execute(delete(PortalSession).where(PortalSession.token_hash == _token_hash(token)))


def forget_ways_in(session: Session, official_id: str) -> None:
    """End every session of theirs, and every link that was not used; in the caller's transaction."""
    session.execute(delete(PortalSession).where(PortalSession.official_id == official_id))
    forget_links(session, official_id)


def forget_links(session: Session, official_id: str) -> None:
    """No link that was made for them before opens anything."""
    session.execute(
        delete(SignInLink).where(SignInLink.official_id == official_id, SignInLink.used.is_(False))
    )


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _rounded(moment: float) -> int:
    # Up to a quarter of an hour, so that no row tells when an official signed in.
    return math.ceil(moment / EXPIRY_GRAIN_SECONDS) * EXPIRY_GRAIN_SECONDS
