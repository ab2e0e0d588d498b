"""Coming in by a one-time link, staying for a shift, and leaving: officials by it, and auditors.

Opening a link burns nothing, because mail scanners open links: its button does. The session lives in the
database and is looked up on every request, so whoever was disabled is out at once. Each face has its own
cookie and its own role: a link or a session of one opens nothing at the other.
"""

import hmac
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import flask
from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from registry.lifecycle.activity import actor_of, record_act
from registry.models import transaction
from registry.models.official import (
    SESSION_LIFE_SECONDS,
    Permission,
    Role,
    Way,
    end_session,
    holder_of_session,
    idle_from,
    keep_awake,
    redeem_sign_in_link,
)
from registry.protocol.activity import ActKind


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is signed in, for the length of a request."""

    official_id: str
    """Of the row in `official`, where auditors are too."""
    name: str
    authority_id: str
    permissions: frozenset[Permission]
    """In this session: by a printed code one may do less than otherwise."""
    way: Way
    is_fresh: bool
    """Whether they proved a moment ago who they are."""
    is_locked: bool
    """Whether nobody used the session for so long that they must prove it again."""
    secret: bytes = field(repr=False)
    """32 bytes that this browser's session alone can tell: the table holds another hash of its token."""


BY_PRINTED_CODE = frozenset({Permission.ISSUE})
"""What a session that a printed code opened is good for, whoever its holder is."""
_SECRET_LABEL = b"exposure-registry secret of a session"


@dataclass(frozen=True)
class Entrance:
    """The door of one face: its pages are /`face`/sign-in/…, its templates lie in the folder `face`."""

    face: str
    role: Role
    start: str
    """Endpoint of the page that one comes in to."""
    open_session: Callable[[], AbstractContextManager[Session]]
    """On the issuing half."""
    clock: Callable[[], float]
    """The time of the request under way, unix seconds."""
    idle_seconds: Callable[[], int] = lambda: 0
    """After how long without a request a session is locked; 0 for never."""

    def signed_in(self, *, used: bool = False) -> SignedIn | None:
        """Who came with the request under way; None for nobody, or one whose session has ended.

        `used` for a request that a script made because somebody is at work on its page.
        """
        token, now = self.token, self.clock()
        if not token:
            return None
        with self.open_session() as session:
            found = holder_of_session(session, token, now, self.role)
            if found is None:
                return None
            official, row = found
            way = Way(row.way)
            may = official.permissions
            signed_in = SignedIn(
                official_id=official.id,
                name=official.name,
                authority_id=official.authority_id,
                permissions=may & BY_PRINTED_CODE if way is Way.PRINTED else may,
                way=way,
                is_fresh=row.fresh_until > now,
                is_locked=self.idle_seconds() > 0 and 0 < row.idle_until <= now,
                secret=hmac.digest(token.encode("utf-8", "surrogatepass"), _SECRET_LABEL, "sha256"),
            )
            idle_until = idle_from(now, self.idle_seconds())
            # What a page asks by itself is nobody's use. One write in five minutes, not one a request.
            is_due = self.idle_seconds() > 0 and not signed_in.is_locked and idle_until != row.idle_until
            if is_due and (used or _is_used()):
                with transaction(session):
                    keep_awake(session, token, idle_until)
        return signed_in

    def offer(self, token: str) -> ResponseReturnValue:
        """A page with one button. Reads and writes nothing."""
        return render_template(f"{self.face}/sign_in.html", token=token)

    def come_in(self, token: str) -> ResponseReturnValue:
        """Burn the link and open a session."""
        with self.open_session() as session, transaction(session):
            # A crash after this commit leaves a burnt link and a session that nobody holds: a new link.
            session_token = redeem_sign_in_link(session, token, self.clock(), self.role)
            if session_token is not None:
                self.record(session, session_token)
        if session_token is None:
            if self.signed_in() is not None:
                # The button was pressed twice.
                return redirect(url_for(self.start), 303)
            return render_template(f"{self.face}/link_spent.html"), 410
        return self.welcome(session_token)

    def welcome(self, session_token: str) -> Response:
        """Lead whoever the fresh session belongs to inside, with its cookie."""
        before = self.token
        with self.open_session() as session:
            now = self.clock()
            known = holder_of_session(session, before, now, self.role) if before else None
            fresh = holder_of_session(session, session_token, now, self.role)
            is_same = known is not None and fresh is not None and known[0].id == fresh[0].id
        if not is_same:
            # Forms that the same person left open go on being good: a locked one may wait in another tab.
            flask.session.clear()
        return self.give_cookie(make_response(redirect(url_for(self.start), 303)), session_token)

    def give_cookie(self, response: Response, session_token: str) -> Response:
        """Let the browser hold the session."""
        response.set_cookie(
            self._cookie,
            session_token,
            max_age=SESSION_LIFE_SECONDS,
            path=f"/{self.face}",
            httponly=True,
            secure=request.is_secure,
            samesite="Strict",
        )
        return response

    def leave(self) -> ResponseReturnValue:
        """Forget the session, on both ends."""
        with self.open_session() as session, transaction(session):
            end_session(session, self.token)
        flask.session.clear()
        response = make_response(redirect(url_for("sign_in.left"), 303))
        response.delete_cookie(self._cookie, path=f"/{self.face}", httponly=True, samesite="Strict")
        return response

    def left(self) -> ResponseReturnValue:
        """Says that it is done."""
        return render_template(f"{self.face}/signed_out.html", by_choice=True)

    def pages(self, import_name: str) -> Blueprint:
        """All of the above but `signed_in`, as views."""
        pages = Blueprint("sign_in", import_name, url_prefix=f"/{self.face}")
        pages.get("/sign-in/<token>", endpoint="offer")(self.offer)
        pages.post("/sign-in/<token>", endpoint="come_in")(self.come_in)
        pages.post("/sign-out", endpoint="leave")(self.leave)
        pages.get("/signed-out", endpoint="left")(self.left)
        return pages

    @property
    def token(self) -> str:
        """Of the session that the request under way came with; empty for none."""
        return request.cookies.get(self._cookie, "")

    @property
    def _cookie(self) -> str:
        return f"{self.face}_session"

    def record(self, session: Session, session_token: str) -> None:
        """Put on record who came in, and how, in the caller's transaction."""
        found = holder_of_session(session, session_token, self.clock(), self.role)
        if found is None:
            raise RuntimeError("a session that was opened a moment ago is gone")
        official, row = found
        actor = actor_of(official_id=official.id, api_key_hash=None, authority_id=official.authority_id)
        record_act(
            session,
            chain=official.authority_id,
            kind=ActKind.SIGN_IN,
            actor=actor,
            detail={} if row.way == Way.LINK.value else {"way": row.way},
            now=self.clock(),
        )


def _is_used() -> bool:
    """Whether somebody asked for a page, and not a script for a part of one."""
    return request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
