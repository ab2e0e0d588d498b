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
from registry.models.passkey import Passkey
from registry.models.printed_code import PrintedCode

EXPIRY_GRAIN_SECONDS = 900
IDLE_GRAIN_SECONDS = 300
LINK_LIFE_SECONDS = 86_400
SESSION_LIFE_SECONDS = 8 * 3600
"""A shift. Ended earlier by signing out or by disabling the official."""
PRINTED_LIFE_SECONDS = 2 * 3600
"""Of a session that a printed code opened: paper is read by others."""
FRESH_SECONDS = 600
"""How long a proof counts as fresh, before rounding up to a quarter of an hour."""


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


class Way(StrEnum):
    """How somebody came in."""

    LINK = "link"
    PASSKEY = "passkey"
    OIDC = "oidc"
    """By their organisation's OpenID provider."""
    PRINTED = "printed"
    """By a printed code: for handing over codes, and nothing else."""


STEP_UP = frozenset(
    {
        Permission.BULK,
        Permission.RECALL,
        Permission.APPROVE,
        Permission.OFFICIALS,
        Permission.SETTINGS,
        Permission.KEYS,
    }
)
"""What takes a fresh proof of who sits there, whenever something is done; looking takes none."""

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
    way: Mapped[str] = mapped_column(String(8), default="link", server_default="link")
    """A `Way`: the best proof that this browser gave of who sits at it."""
    fresh_until: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Until when the last proof counts for what takes a fresh one; 0 for never."""
    idle_until: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """From then on the session is locked until its holder proves again who they are, unless a request comes
    before; 0 until the first. Rounded up to five minutes: no row tells when an official did something."""


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
    return open_portal_session(session, official_id, Way.LINK, now)


def open_portal_session(
    session: Session, official_id: str, way: Way, now: float, *, fresh: bool = False
) -> str:
    """Token, 43 characters, of a fresh session of somebody who proved in this way who they are.

    `fresh` for a proof that counts for what takes a fresh one.
    """
    token = secrets.token_urlsafe(32)
    life_seconds = PRINTED_LIFE_SECONDS if way is Way.PRINTED else SESSION_LIFE_SECONDS
    session.add(
        PortalSession(
            token_hash=_token_hash(token),
            official_id=official_id,
            expires_at=_rounded(now + life_seconds),
            way=way.value,
            fresh_until=_rounded(now + FRESH_SECONDS) if fresh else 0,
        )
    )
    session.flush()
    return token


def refresh_portal_session(
    session: Session, token_hash: bytes, way: Way, now: float, *, fresh: bool = True
) -> None:
    """Whoever holds the session proved again, in this way, who they are."""
    until = _rounded(now + FRESH_SECONDS) if fresh else PortalSession.fresh_until
    session.execute(
        update(PortalSession)
        .where(PortalSession.token_hash == token_hash)
        .values(way=way.value, fresh_until=until, idle_until=0)
        .execution_options(synchronize_session=False)
    )


def session_key(token: str) -> bytes:
    """Under which the session of this token is kept."""
    return _token_hash(token)


def idle_from(now: float, idle_seconds: int) -> int:
    """When a session is locked that somebody used now."""
    return math.ceil((now + idle_seconds) / IDLE_GRAIN_SECONDS) * IDLE_GRAIN_SECONDS


def keep_awake(session: Session, token: str, idle_until: int) -> None:
    """Note that the session is in use."""
    session.execute(
        update(PortalSession)
        .where(PortalSession.token_hash == _token_hash(token))
        .values(idle_until=idle_until)
        .execution_options(synchronize_session=False)
    )


def holder_of_session(
    session: Session, token: str, now: float, role: Role = Role.OFFICIAL
) -> tuple[Official, PortalSession] | None:
    """Who is signed in with this session's token, in this role, and the session itself.

    None if it ended or they are disabled.
    """
    found = session.execute(
        select(Official, PortalSession)
        .join(PortalSession, PortalSession.official_id == Official.id)
        .where(
            PortalSession.token_hash == _token_hash(token),
            PortalSession.expires_at > now,
            Official.disabled.is_(False),
            Official.role == role.value,
        )
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def end_session(session: Session, token: str) -> None:
    """Forget the session; unknown ones are no fault."""
    session.execute(delete(PortalSession).where(PortalSession.token_hash == _token_hash(token)))


def forget_ways_in(session: Session, official_id: str) -> None:
    """End every session, passkey, printed code and unused link of theirs; by the caller."""
    # Passkeys first, as whoever proves by one and refreshes a session does: no two wait for each other.
    session.execute(delete(Passkey).where(Passkey.official_id == official_id))
    session.execute(delete(PortalSession).where(PortalSession.official_id == official_id))
    session.execute(delete(PrintedCode).where(PrintedCode.official_id == official_id))
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
